-- What the systems themselves tell about the daily request budget of a tenant's company.
-- What: each tenant's newest statement, and when the budget returns.
-- Reads: nothing.
-- Needs: 0001_roles.sql, 0002_tenants_and_settings.sql, 0003_history.sql.

create table integration.budget_statements (
    tenant_id text not null,
    system text not null,
    company_id text not null,
    daily_limit bigint,
    daily_left bigint not null,
    told_at timestamptz not null,
    tokens_booked bigint not null,
    resets_at timestamptz not null,
    constraint budget_statements_pkey primary key (tenant_id, system),
    constraint budget_statements_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint budget_statements_daily_limit_check check (daily_limit > 0),
    constraint budget_statements_daily_left_check check (daily_left >= 0)
);
create index budget_statements_company_id_idx
    on integration.budget_statements (system, company_id, told_at desc);
comment on table integration.budget_statements is
    'What a tenant''s source last told about the daily request budget of its company, which all '
    'tenants, users and apps of the company share; the newest of a company counts.';
comment on column integration.budget_statements.tenant_id is
    'The tenant whose call was told.';
comment on column integration.budget_statements.system is
    'The CRM: pipedrive.';
comment on column integration.budget_statements.company_id is
    'Id of the company in the system.';
comment on column integration.budget_statements.daily_limit is
    'Request tokens a day, as last told; empty while it was never told.';
comment on column integration.budget_statements.daily_left is
    'Request tokens left, as last told.';
comment on column integration.budget_statements.told_at is
    'When that was.';
comment on column integration.budget_statements.tokens_booked is
    'What api_usage held of the company and that UTC day then; what it holds more is spent since.';
comment on column integration.budget_statements.resets_at is
    'When the budget returns: as told with a refusal, else the next midnight in UTC.';
comment on column integration.sync_settings.budget_share is
    'Share of what is left of the company''s daily request budget that one run may spend, above 0, '
    'at most 1.';
comment on column integration.sync_settings.daily_token_budget is
    'Request tokens a day of the company at most; empty leaves it to what the source tells.';

grant select, insert, update, delete on integration.budget_statements to pipeline_engine;
grant select on integration.budget_statements to pipeline_app;

alter table integration.budget_statements enable row level security;
alter table integration.budget_statements force row level security;
create policy engine on integration.budget_statements to pipeline_engine
    using (true) with check (true);
create policy app on integration.budget_statements to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));
