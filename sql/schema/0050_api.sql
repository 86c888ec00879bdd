-- What the Connect API keeps beside the tables that are there.
-- What: answers that a repeated Idempotency-Key gets again.
-- Reads: nothing.
-- Needs: 0002_tenants_and_settings.sql, 0003_history.sql.

-- A key belongs to a call: two calls may be answered with one request, so that it cannot stand there.
alter table integration.sync_requests drop column idempotency_key;

create table integration.idempotency_keys (
    tenant_id text not null,
    idempotency_key text not null,
    request_hash text not null,
    status integer,
    answer jsonb,
    created_at timestamptz not null default now(),
    constraint idempotency_keys_pkey primary key (tenant_id, idempotency_key),
    constraint idempotency_keys_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index idempotency_keys_created_at_idx
    on integration.idempotency_keys (tenant_id, created_at);
comment on table integration.idempotency_keys is
    'What a call with an Idempotency-Key was answered; kept for a day. Written in the transaction '
    'that did what was asked.';
comment on column integration.idempotency_keys.tenant_id is
    'The tenant.';
comment on column integration.idempotency_keys.idempotency_key is
    'The key, as the caller chose it.';
comment on column integration.idempotency_keys.request_hash is
    'Hash of caller, method, path and body; the same key with another one is refused.';
comment on column integration.idempotency_keys.status is
    'HTTP status of the answer.';
comment on column integration.idempotency_keys.answer is
    'Its data, without secrets: what is shown once is not shown again.';
comment on column integration.idempotency_keys.created_at is
    'When it was answered.';

grant select, insert, update, delete
    on integration.idempotency_keys
    to pipeline_engine, pipeline_app;

alter table integration.idempotency_keys enable row level security;
alter table integration.idempotency_keys force row level security;
create policy engine on integration.idempotency_keys to pipeline_engine
    using (true) with check (true);
create policy app on integration.idempotency_keys to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));
