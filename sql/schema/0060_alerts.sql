-- What persons were told about, and whether it is over.
-- What: one row per cause that somebody must know of; at most one of a tenant and system is open.
-- Reads: nothing.
-- Needs: 0001_roles.sql, 0002_tenants_and_settings.sql.

create table integration.alerts (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    code text not null,
    sync_type text not null,
    message text not null,
    dagster_run_id text,
    began_at timestamptz not null default now(),
    sent_at timestamptz,
    healed_at timestamptz,
    constraint alerts_pkey primary key (id),
    constraint alerts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint alerts_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap')
    )
);
create unique index alerts_open_key
    on integration.alerts (tenant_id, system)
    where healed_at is null;
create index alerts_tenant_id_idx on integration.alerts (tenant_id, began_at desc);
comment on table integration.alerts is
    'What persons were told about: one row per cause, and whether it is over. At most one cause of '
    'a tenant and system is open at a time.';
comment on column integration.alerts.id is
    'Id of the alert.';
comment on column integration.alerts.tenant_id is
    'The tenant.';
comment on column integration.alerts.system is
    'The CRM: pipedrive.';
comment on column integration.alerts.code is
    'The cause, as in sync_logs.errors; killed: a run''s process died, and so did its retry''s; '
    'overdue: no run succeeded although one was due.';
comment on column integration.alerts.sync_type is
    'What kind of run found it, as in sync_logs.sync_type.';
comment on column integration.alerts.message is
    'What was said: what failed, and what to do; no tokens, no personal data.';
comment on column integration.alerts.dagster_run_id is
    'The Dagster run that found it first; empty where none did.';
comment on column integration.alerts.began_at is
    'When it was found.';
comment on column integration.alerts.sent_at is
    'When every address had been told; empty where none is set, or one could not be reached.';
comment on column integration.alerts.healed_at is
    'When a run showed that it is over; empty while it lasts.';

grant select, insert, update, delete on integration.alerts to pipeline_engine;
grant select on integration.alerts to pipeline_app;

alter table integration.alerts enable row level security;
alter table integration.alerts force row level security;
create policy engine on integration.alerts to pipeline_engine
    using (true) with check (true);
create policy app on integration.alerts to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));
