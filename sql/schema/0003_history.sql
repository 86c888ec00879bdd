-- What was asked for, what happened, what it cost.
-- What: history of syncs, requests for syncs, calls and tokens, refused values, the audit log, and
--       what the marts still have to read.
-- Reads: nothing.
-- Needs: 0002_tenants_and_settings.sql.

create table integration.sync_logs (
    id uuid not null default gen_random_uuid(),
    connection_id uuid,
    tenant_id text not null,
    system text not null,
    sync_type text not null,
    trigger text not null,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    status text not null default 'running',
    organizations_fetched bigint not null default 0,
    organizations_created bigint not null default 0,
    organizations_updated bigint not null default 0,
    organizations_unchanged bigint not null default 0,
    organizations_deleted bigint not null default 0,
    organizations_rejected bigint not null default 0,
    persons_fetched bigint not null default 0,
    persons_created bigint not null default 0,
    persons_updated bigint not null default 0,
    persons_unchanged bigint not null default 0,
    persons_deleted bigint not null default 0,
    persons_rejected bigint not null default 0,
    tokens_spent bigint not null default 0,
    api_calls bigint not null default 0,
    watermarks jsonb not null default '{}',
    completeness jsonb not null default '{}',
    progress jsonb,
    resume_at timestamptz,
    errors jsonb not null default '[]',
    dagster_run_id text,
    constraint sync_logs_pkey primary key (id),
    constraint sync_logs_tenant_id_id_key unique (tenant_id, id),
    constraint sync_logs_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint sync_logs_connection_id_fkey foreign key (tenant_id, connection_id)
        references integration.connections (tenant_id, id) on delete set null (connection_id),
    constraint sync_logs_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap')
    ),
    constraint sync_logs_trigger_check check (
        trigger in ('schedule', 'manual', 'backfill', 'connect', 'webhook')
    ),
    constraint sync_logs_status_check check (
        status in ('running', 'success', 'partial', 'failed', 'paused')
    ),
    constraint sync_logs_completed_at_check check (
        (status = 'running') = (completed_at is null)
    ),
    constraint sync_logs_watermarks_check check (jsonb_typeof(watermarks) = 'object'),
    constraint sync_logs_completeness_check check (jsonb_typeof(completeness) = 'object'),
    constraint sync_logs_errors_check check (jsonb_typeof(errors) = 'array')
);
create index sync_logs_tenant_id_started_at_idx
    on integration.sync_logs (tenant_id, system, started_at desc, id desc);
create index sync_logs_connection_id_idx on integration.sync_logs (tenant_id, connection_id);
create index sync_logs_running_idx on integration.sync_logs (tenant_id) where status = 'running';
comment on table integration.sync_logs is
    'One row per run of one tenant: what it read, wrote and cost, and how it ended.';
comment on column integration.sync_logs.id is
    'Id of the run.';
comment on column integration.sync_logs.connection_id is
    'The connection that was used; empty where there was none.';
comment on column integration.sync_logs.tenant_id is
    'The tenant.';
comment on column integration.sync_logs.system is
    'The CRM: pipedrive.';
comment on column integration.sync_logs.sync_type is
    'full: everything was read; incremental: what changed; sweep: only ids, to find deletions; '
    'remap: nothing was read, the marts were built anew.';
comment on column integration.sync_logs.trigger is
    'What started it: schedule, manual, backfill, connect or webhook.';
comment on column integration.sync_logs.started_at is
    'When it began.';
comment on column integration.sync_logs.completed_at is
    'When it ended; empty while it runs.';
comment on column integration.sync_logs.status is
    'running; success; partial: one entity is complete and committed, another is not; failed; '
    'paused: today''s request budget is used up, it goes on at resume_at.';
comment on column integration.sync_logs.organizations_fetched is
    'Organizations that the source sent.';
comment on column integration.sync_logs.organizations_created is
    'Rows of crm.customers that were made.';
comment on column integration.sync_logs.organizations_updated is
    'Rows of crm.customers that were changed.';
comment on column integration.sync_logs.organizations_unchanged is
    'Organizations that were read and were as they are in crm.customers.';
comment on column integration.sync_logs.organizations_deleted is
    'Rows of crm.customers that were newly marked as deleted.';
comment on column integration.sync_logs.organizations_rejected is
    'Values of organizations that were refused or replaced; see rejected_values.';
comment on column integration.sync_logs.persons_fetched is
    'Persons that the source sent.';
comment on column integration.sync_logs.persons_created is
    'Rows of crm.contacts that were made.';
comment on column integration.sync_logs.persons_updated is
    'Rows of crm.contacts that were changed.';
comment on column integration.sync_logs.persons_unchanged is
    'Persons that were read and were as they are in crm.contacts.';
comment on column integration.sync_logs.persons_deleted is
    'Rows of crm.contacts that were newly marked as deleted.';
comment on column integration.sync_logs.persons_rejected is
    'Values of persons that were refused or replaced; see rejected_values.';
comment on column integration.sync_logs.tokens_spent is
    'Request tokens of the day''s budget that the run used.';
comment on column integration.sync_logs.api_calls is
    'HTTP calls that the run made.';
comment on column integration.sync_logs.watermarks is
    'Per entity, up to when its changes were read: {"persons": {"before": "…", "after": "…"}}; '
    'after is set when, and only when, the entity''s walk was complete and committed.';
comment on column integration.sync_logs.completeness is
    'Per entity, raw compared with the source: {"persons": {"missing": 0, "extra": 0, "stale": 0, '
    '"checked_at": "…"}}; an entity that was not compared is absent.';
comment on column integration.sync_logs.progress is
    'Stage, pages, rows and rate while it runs.';
comment on column integration.sync_logs.resume_at is
    'When a paused run goes on.';
comment on column integration.sync_logs.errors is
    'What went wrong, in order: [{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.sync_logs.dagster_run_id is
    'The Dagster run; it shows the whole log.';

create table integration.sync_requests (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    sync_type text not null,
    trigger text not null,
    state text not null default 'queued',
    requested_by text,
    requested_at timestamptz not null default now(),
    idempotency_key text,
    sync_log_id uuid,
    dagster_run_id text,
    settled_at timestamptz,
    constraint sync_requests_pkey primary key (id),
    constraint sync_requests_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint sync_requests_sync_log_id_fkey foreign key (tenant_id, sync_log_id)
        references integration.sync_logs (tenant_id, id) on delete set null (sync_log_id),
    constraint sync_requests_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap')
    ),
    constraint sync_requests_trigger_check check (
        trigger in ('schedule', 'manual', 'backfill', 'connect', 'webhook')
    ),
    constraint sync_requests_state_check check (state in ('queued', 'running', 'done', 'failed')),
    constraint sync_requests_settled_at_check check (
        (state in ('done', 'failed')) = (settled_at is not null)
    )
);
create unique index sync_requests_queued_key
    on integration.sync_requests (tenant_id, system, sync_type)
    where state = 'queued';
create unique index sync_requests_idempotency_key_key
    on integration.sync_requests (tenant_id, idempotency_key)
    where idempotency_key is not null;
create index sync_requests_open_idx
    on integration.sync_requests (requested_at, id)
    where state in ('queued', 'running');
create index sync_requests_tenant_id_requested_at_idx
    on integration.sync_requests (tenant_id, system, requested_at desc, id desc);
create index sync_requests_sync_log_id_idx on integration.sync_requests (tenant_id, sync_log_id);
comment on table integration.sync_requests is
    'Syncs that were asked for; a Dagster sensor starts them. One of a kind waits at a time.';
comment on column integration.sync_requests.id is
    'Id of the request.';
comment on column integration.sync_requests.tenant_id is
    'The tenant.';
comment on column integration.sync_requests.system is
    'The CRM: pipedrive.';
comment on column integration.sync_requests.sync_type is
    'What is asked for, as in sync_logs.sync_type.';
comment on column integration.sync_requests.trigger is
    'What asks, as in sync_logs.trigger.';
comment on column integration.sync_requests.state is
    'queued: waits for a run; running; done; failed.';
comment on column integration.sync_requests.requested_by is
    'Who asks.';
comment on column integration.sync_requests.requested_at is
    'When it was asked.';
comment on column integration.sync_requests.idempotency_key is
    'Key given by the caller; the same key again answers with this request.';
comment on column integration.sync_requests.sync_log_id is
    'The run that served it.';
comment on column integration.sync_requests.dagster_run_id is
    'The Dagster run that served it.';
comment on column integration.sync_requests.settled_at is
    'When it was done or failed.';

create table integration.api_usage (
    tenant_id text not null,
    system text not null,
    company_id text not null,
    used_on date not null,
    call_kind text not null,
    calls bigint not null default 0,
    tokens bigint not null default 0,
    constraint api_usage_pkey primary key (tenant_id, system, company_id, used_on, call_kind),
    constraint api_usage_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint api_usage_calls_check check (calls >= 0),
    constraint api_usage_tokens_check check (tokens >= 0)
);
create index api_usage_company_id_used_on_idx
    on integration.api_usage (system, company_id, used_on);
comment on table integration.api_usage is
    'Calls and request tokens per tenant, company, day and kind of call.';
comment on column integration.api_usage.tenant_id is
    'The tenant on whose behalf the calls were made.';
comment on column integration.api_usage.system is
    'The CRM: pipedrive.';
comment on column integration.api_usage.company_id is
    'The company whose budget paid; '''' while it is not known.';
comment on column integration.api_usage.used_on is
    'The day of the budget, in UTC.';
comment on column integration.api_usage.call_kind is
    'What was called, such as "list persons".';
comment on column integration.api_usage.calls is
    'Finished HTTP calls.';
comment on column integration.api_usage.tokens is
    'Request tokens that they cost.';

create table integration.rejected_values (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    entity text not null,
    record_id text,
    field text,
    value text,
    reason text not null,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    constraint rejected_values_pkey primary key (id),
    constraint rejected_values_tenant_id_system_entity_record_id_field_key
        unique nulls not distinct (tenant_id, system, entity, record_id, field),
    constraint rejected_values_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.rejected_values is
    'Values of the source that a column could not hold as they were; the record itself was kept. '
    'May hold personal data.';
comment on column integration.rejected_values.id is
    'Number of the row.';
comment on column integration.rejected_values.tenant_id is
    'The tenant.';
comment on column integration.rejected_values.system is
    'The CRM: pipedrive.';
comment on column integration.rejected_values.entity is
    'Kind of the record: organizations, persons, users and so on.';
comment on column integration.rejected_values.record_id is
    'Id of the record; empty where that is what could not be used.';
comment on column integration.rejected_values.field is
    'Key of the field; empty where the whole record could not be used.';
comment on column integration.rejected_values.value is
    'The value as sent, made printable and shortened.';
comment on column integration.rejected_values.reason is
    'Why it was not kept as it was.';
comment on column integration.rejected_values.first_seen_at is
    'When it was first sent.';
comment on column integration.rejected_values.last_seen_at is
    'When it was last sent.';

create table integration.audit_log (
    id bigint generated always as identity,
    at timestamptz not null default now(),
    who text not null,
    tenant_id text,
    action text not null,
    subject text,
    before jsonb,
    after jsonb,
    constraint audit_log_pkey primary key (id)
);
create index audit_log_tenant_id_at_idx on integration.audit_log (tenant_id, at desc, id desc);
comment on table integration.audit_log is
    'Who changed what and when; rows are only added. Holds no secrets, and outlives the tenant.';
comment on column integration.audit_log.id is
    'Number of the row.';
comment on column integration.audit_log.at is
    'When it was done.';
comment on column integration.audit_log.who is
    'Who did it: a key''s name, the operator, the command line, the engine.';
comment on column integration.audit_log.tenant_id is
    'The tenant concerned; empty where it concerns the whole installation.';
comment on column integration.audit_log.action is
    'What was done, as a stable word.';
comment on column integration.audit_log.subject is
    'What it was done to.';
comment on column integration.audit_log.before is
    'The value before, without secrets.';
comment on column integration.audit_log.after is
    'The value after, without secrets.';

create table integration.mart_state (
    tenant_id text not null,
    system text not null,
    pending_loads text[] not null default '{}',
    is_rebuild_due boolean not null default true,
    built_at timestamptz,
    built_from text,
    views_published text,
    constraint mart_state_pkey primary key (tenant_id, system),
    constraint mart_state_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.mart_state is
    'What the marts of a tenant still have to read; written in the transaction that builds them.';
comment on column integration.mart_state.tenant_id is
    'The tenant.';
comment on column integration.mart_state.system is
    'The CRM: pipedrive.';
comment on column integration.mart_state.pending_loads is
    'Ids of loads whose raw rows the marts have not read; an id is put here before its load.';
comment on column integration.mart_state.is_rebuild_due is
    'Whether the next build reads all of raw instead of the pending loads.';
comment on column integration.mart_state.built_at is
    'When the marts were last built, also when nothing had changed.';
comment on column integration.mart_state.built_from is
    'Fingerprint of what the marts were built with: their SQL, mapping, and the names of users, '
    'labels and industries; another one makes the next build read all of raw.';
comment on column integration.mart_state.views_published is
    'Fingerprint of the definitions of the analytics views as last published.';

grant select, insert, update, delete
    on integration.sync_logs,
        integration.sync_requests,
        integration.api_usage,
        integration.rejected_values,
        integration.mart_state
    to pipeline_engine;
grant select, insert on integration.audit_log to pipeline_engine;

grant select
    on integration.sync_logs,
        integration.api_usage,
        integration.rejected_values,
        integration.mart_state
    to pipeline_app;
grant select, insert on integration.sync_requests to pipeline_app;
grant select, insert on integration.audit_log to pipeline_app;

alter table integration.sync_logs enable row level security;
alter table integration.sync_logs force row level security;
create policy engine on integration.sync_logs to pipeline_engine
    using (true) with check (true);
create policy app on integration.sync_logs to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.sync_requests enable row level security;
alter table integration.sync_requests force row level security;
create policy engine on integration.sync_requests to pipeline_engine
    using (true) with check (true);
create policy app on integration.sync_requests to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.api_usage enable row level security;
alter table integration.api_usage force row level security;
create policy engine on integration.api_usage to pipeline_engine
    using (true) with check (true);
create policy app on integration.api_usage to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.rejected_values enable row level security;
alter table integration.rejected_values force row level security;
create policy engine on integration.rejected_values to pipeline_engine
    using (true) with check (true);
create policy app on integration.rejected_values to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.audit_log enable row level security;
alter table integration.audit_log force row level security;
create policy engine on integration.audit_log to pipeline_engine
    using (true) with check (true);
create policy app on integration.audit_log to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.mart_state enable row level security;
alter table integration.mart_state force row level security;
create policy engine on integration.mart_state to pipeline_engine
    using (true) with check (true);
create policy app on integration.mart_state to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));
