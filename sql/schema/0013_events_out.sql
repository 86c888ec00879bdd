-- Events out: the webhooks of an app, the changes of records that they are told, and each delivery.
-- What: app_webhooks, record_events, event_deliveries.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.

create table integration.app_webhooks (
    id uuid not null,
    tenant_id text not null,
    url text not null,
    description text,
    event_types text[] not null,
    state text not null default 'active',
    state_reason text,
    secret text not null,
    former_secret text,
    former_secret_until timestamptz,
    failures integer not null default 0,
    failing_since timestamptz,
    failed_system text,
    last_failure text,
    resume_at timestamptz not null default 'epoch',
    last_delivered_at timestamptz,
    disabled_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    constraint app_webhooks_pkey primary key (id),
    constraint app_webhooks_tenant_id_id_key unique (tenant_id, id),
    constraint app_webhooks_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint app_webhooks_state_check check (state in ('active', 'paused', 'disabled')),
    constraint app_webhooks_is_disabled_check check (
        (state = 'disabled') = (disabled_at is not null)
        and (state <> 'disabled' or state_reason is not null)
    ),
    constraint app_webhooks_event_types_check check (cardinality(event_types) > 0),
    constraint app_webhooks_former_secret_check check (
        (former_secret is null) = (former_secret_until is null)
    )
);
create index app_webhooks_created_at_idx on integration.app_webhooks (tenant_id, created_at, id);
comment on table integration.app_webhooks is
    'Addresses of an app to which the changes of a tenant''s records are sent; see docs/events.md.';
comment on column integration.app_webhooks.id is
    'Id of the webhook in the CRM API.';
comment on column integration.app_webhooks.tenant_id is
    'The tenant.';
comment on column integration.app_webhooks.url is
    'Where events are posted to.';
comment on column integration.app_webhooks.description is
    'What it is for, in words.';
comment on column integration.app_webhooks.event_types is
    'The types that it is sent, such as deal.won; deal.* and * stand for several.';
comment on column integration.app_webhooks.state is
    'active; paused: a person stopped it; disabled: it could not be delivered to for three days, or '
    'the receiver said that it is gone. Events wait in the last two.';
comment on column integration.app_webhooks.state_reason is
    'Why it is disabled, in words.';
comment on column integration.app_webhooks.secret is
    'The secret that events are signed with, encrypted.';
comment on column integration.app_webhooks.former_secret is
    'The secret before the last rotation, encrypted; events are signed with it, too, for a while.';
comment on column integration.app_webhooks.former_secret_until is
    'Until when.';
comment on column integration.app_webhooks.failures is
    'Failed attempts since the last delivery.';
comment on column integration.app_webhooks.failing_since is
    'When the first of them was; empty if there is none.';
comment on column integration.app_webhooks.failed_system is
    'Key of the CRM whose event failed last.';
comment on column integration.app_webhooks.last_failure is
    'Why the last attempt that failed did, in words.';
comment on column integration.app_webhooks.resume_at is
    'Nothing is sent before: the receiver asked for a pause, or fails again and again.';
comment on column integration.app_webhooks.last_delivered_at is
    'When the receiver last took an event; written every few seconds.';
comment on column integration.app_webhooks.disabled_at is
    'When it was disabled; a week later, events are not recorded for it any more.';
comment on column integration.app_webhooks.created_at is
    'When it was made.';
comment on column integration.app_webhooks.created_by is
    'Who made it.';
select integration.isolate('integration.app_webhooks', 'select, insert, update, delete');

create table integration.record_events (
    id bigint generated always as identity,
    message_id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    mart text not null,
    row_id uuid not null,
    type text not null,
    recorded_at timestamptz not null default now(),
    record jsonb,
    former jsonb,
    custom_fields jsonb,
    constraint record_events_pkey primary key (id),
    constraint record_events_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index record_events_recorded_at_idx on integration.record_events (recorded_at);
create index record_events_row_id_idx on integration.record_events (tenant_id, mart, row_id);
create index record_events_tenant_id_idx
    on integration.record_events (tenant_id, recorded_at, id);
comment on table integration.record_events is
    'Changes of records that a webhook of an app wants to know, written in the transaction that '
    'changed the row. Kept for seven days.';
comment on column integration.record_events.id is
    'Order of the events of a tenant.';
comment on column integration.record_events.message_id is
    'Its webhook-id is evt_ and these digits, in each attempt and each replay.';
comment on column integration.record_events.tenant_id is
    'The tenant.';
comment on column integration.record_events.system is
    'Key of the CRM.';
comment on column integration.record_events.mart is
    'The mart whose row changed.';
comment on column integration.record_events.row_id is
    'Id of the row.';
comment on column integration.record_events.type is
    'Such as deal.won.';
comment on column integration.record_events.recorded_at is
    'When the row was written.';
comment on column integration.record_events.record is
    'The row after the change; empty: it was erased.';
comment on column integration.record_events.former is
    'Former values of the columns that changed; empty for a new row.';
comment on column integration.record_events.custom_fields is
    'The custom fields of the record at that time, by readable name.';
select integration.isolate(
    'integration.record_events',
    'select (id, message_id, tenant_id, system, mart, row_id, type, recorded_at)'
);

create table integration.event_deliveries (
    webhook_id uuid not null,
    event_id bigint not null,
    tenant_id text not null,
    row_id uuid not null,
    attempts integer not null default 0,
    first_attempt_at timestamptz,
    next_attempt_at timestamptz not null default 'epoch',
    lease uuid,
    delivered_at timestamptz,
    tries jsonb not null default '[]',
    constraint event_deliveries_pkey primary key (webhook_id, event_id),
    constraint event_deliveries_webhook_id_fkey foreign key (tenant_id, webhook_id)
        references integration.app_webhooks (tenant_id, id) on delete cascade,
    constraint event_deliveries_event_id_fkey foreign key (event_id)
        references integration.record_events (id) on delete cascade
);
create index event_deliveries_event_id_idx on integration.event_deliveries (event_id);
create index event_deliveries_waiting_idx
    on integration.event_deliveries (webhook_id, event_id)
    where delivered_at is null;
create index event_deliveries_record_idx
    on integration.event_deliveries (webhook_id, row_id, event_id)
    where delivered_at is null;
create index event_deliveries_lease_idx
    on integration.event_deliveries (webhook_id, next_attempt_at)
    where lease is not null;
comment on table integration.event_deliveries is
    'One row per event and webhook: whether it was delivered, and each attempt. It goes with its event.';
comment on column integration.event_deliveries.webhook_id is
    'The webhook.';
comment on column integration.event_deliveries.event_id is
    'The event.';
comment on column integration.event_deliveries.tenant_id is
    'The tenant.';
comment on column integration.event_deliveries.row_id is
    'The row of the event: its events are delivered one after the other.';
comment on column integration.event_deliveries.attempts is
    'Attempts since it was recorded, or since the webhook was last made active or replayed.';
comment on column integration.event_deliveries.first_attempt_at is
    'When the first of them was.';
comment on column integration.event_deliveries.next_attempt_at is
    'When it is tried again; while an attempt is made, when another process may take it over.';
comment on column integration.event_deliveries.lease is
    'The process that is delivering it; empty if none is.';
comment on column integration.event_deliveries.delivered_at is
    'When the receiver took it; empty while it waits.';
comment on column integration.event_deliveries.tries is
    'The last attempts: at, status, error, milliseconds.';
select integration.isolate('integration.event_deliveries', 'select, update, insert');
