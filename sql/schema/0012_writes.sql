-- Writing to a CRM: what a tenant allows, every intended write, and an app's own keys of records.
-- What: the setting writes_allowed, the outbox, the links.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.

alter table integration.sync_settings add column writes_allowed text[] not null default '{}';
comment on column integration.sync_settings.writes_allowed is
    'The marts whose records may be written in the CRM; all: every one; empty, the default: none.';

create table integration.outbox (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    company_id text,
    mart text not null,
    verb text not null,
    remote_id text,
    parent_remote_id text,
    idempotency_key text,
    request_hash text not null,
    requested_by text not null,
    is_async boolean not null default false,
    state text not null default 'intended',
    body jsonb,
    sent_columns text[] not null default '{}',
    expected_version text,
    match jsonb,
    attempts integer not null default 0,
    first_sent_at timestamptz,
    last_sent_at timestamptz,
    next_attempt_at timestamptz not null default clock_timestamp(),
    status integer,
    answer jsonb,
    created_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz,
    constraint outbox_pkey primary key (id),
    constraint outbox_tenant_id_idempotency_key_key unique (tenant_id, idempotency_key),
    constraint outbox_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint outbox_verb_check check (
        verb in ('create', 'update', 'delete', 'win', 'lose', 'reopen')
    ),
    constraint outbox_state_check check (
        state in ('intended', 'sending', 'written', 'done', 'refused', 'conflict')
    ),
    constraint outbox_is_sent_check check (state <> 'sending' or first_sent_at is not null),
    constraint outbox_is_settled_check check (
        (state in ('done', 'refused')) = (settled_at is not null)
    ),
    constraint outbox_body_check check (settled_at is null or (body is null and match is null))
);
create index outbox_due_idx on integration.outbox (next_attempt_at) where settled_at is null;
create index outbox_created_idx
    on integration.outbox (tenant_id, system, mart, remote_id)
    where verb = 'create';
comment on table integration.outbox is
    'Every intended write to a CRM. The row is committed before the call and again after its answer, '
    'so that nothing is written twice after a crash. Rows that are settled stay for some days.';
comment on column integration.outbox.id is
    'Id of the write; GET /api/crm/v1/writes/{id} shows it.';
comment on column integration.outbox.tenant_id is
    'The tenant.';
comment on column integration.outbox.system is
    'Key of the CRM.';
comment on column integration.outbox.company_id is
    'The account that was connected; a write is never sent to another one.';
comment on column integration.outbox.mart is
    'The mart whose record is written.';
comment on column integration.outbox.verb is
    'create, update, delete; of a deal also win, lose, reopen.';
comment on column integration.outbox.remote_id is
    'Id of the record in the CRM; of a create once it is known.';
comment on column integration.outbox.parent_remote_id is
    'Id in the CRM of the record in whose list it is, such as the deal of a line.';
comment on column integration.outbox.idempotency_key is
    'Idempotency-Key of the request; empty if it had none.';
comment on column integration.outbox.request_hash is
    'Hash of caller, operation and values: a key cannot come with another request.';
comment on column integration.outbox.requested_by is
    'The caller.';
comment on column integration.outbox.is_async is
    'Whether the caller did not wait: the write is then settled in the background.';
comment on column integration.outbox.state is
    'intended: nothing was sent; sending: a call was made and its outcome is not known; written: the '
    'CRM has it, our tables do not yet; done; refused: nothing was changed; conflict: the record '
    'moved, and a person decides.';
comment on column integration.outbox.body is
    'What is sent; emptied once the write is settled.';
comment on column integration.outbox.sent_columns is
    'Columns of the mart that the request names.';
comment on column integration.outbox.expected_version is
    'If-Match of the request: the version of the row that the caller has read.';
comment on column integration.outbox.match is
    'How the record is found that a create changes instead: by, value, policy; emptied with the body.';
comment on column integration.outbox.attempts is
    'How many times the call was made.';
comment on column integration.outbox.first_sent_at is
    'When the call was first made; a lost create is looked for from then on.';
comment on column integration.outbox.last_sent_at is
    'When the call was last made; a create that was not found is made again only some time later.';
comment on column integration.outbox.next_attempt_at is
    'When the background settles it, if the caller does not come back before.';
comment on column integration.outbox.status is
    'HTTP status of the answer, for a request that comes again.';
comment on column integration.outbox.answer is
    'Of a refusal: code, message and details; else the columns that the CRM changed by itself. No '
    'values of records.';
comment on column integration.outbox.created_at is
    'When it was intended.';
comment on column integration.outbox.settled_at is
    'When its outcome was known and in our tables.';
select integration.isolate(
    'integration.outbox',
    'select (
        id, tenant_id, system, mart, verb, remote_id, parent_remote_id, idempotency_key,
        requested_by, is_async, state, sent_columns, attempts, first_sent_at, last_sent_at,
        next_attempt_at, status, answer, created_at, settled_at
    )'
);

create table integration.links (
    tenant_id text not null,
    system text not null,
    mart text not null,
    external_key text not null,
    remote_id text not null,
    linked_at timestamptz not null default clock_timestamp(),
    linked_by text not null,
    constraint links_pkey primary key (tenant_id, system, mart, external_key),
    constraint links_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index links_remote_id_idx on integration.links (tenant_id, system, mart, remote_id);
comment on table integration.links is
    'An app''s own key of a record in the CRM, as a match by external_key made it.';
comment on column integration.links.tenant_id is
    'The tenant.';
comment on column integration.links.system is
    'Key of the CRM.';
comment on column integration.links.mart is
    'The mart whose record it is.';
comment on column integration.links.external_key is
    'The app''s key.';
comment on column integration.links.remote_id is
    'Id of the record in the CRM.';
comment on column integration.links.linked_at is
    'When it was linked.';
comment on column integration.links.linked_by is
    'The caller.';
select integration.isolate('integration.links');
