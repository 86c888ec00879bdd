-- Webhooks: how each tenant's CRM tells of changes, and whether this installation could listen.
-- What: the webhook of each tenant and system, with digests of its secrets; when the receiver was
--       last alive.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.

create table integration.webhooks (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    state text not null,
    reason text,
    app_url text not null,
    token_hash text,
    password_hash text,
    remote_id text,
    made_at timestamptz,
    checked_at timestamptz not null default clock_timestamp(),
    next_check_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    last_event_at timestamptz,
    gap_since timestamptz,
    gap_reason text,
    paused_until timestamptz,
    constraint webhooks_pkey primary key (tenant_id, system),
    constraint webhooks_id_key unique (id),
    constraint webhooks_token_hash_key unique (token_hash),
    constraint webhooks_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint webhooks_state_check check (state in ('off', 'making', 'live', 'failing')),
    constraint webhooks_has_reason_check check (
        state in ('making', 'live') or reason is not null
    ),
    constraint webhooks_is_made_check check (state <> 'live' or remote_id is not null),
    constraint webhooks_has_secrets_check check (
        (token_hash is null) = (password_hash is null)
        and (remote_id is null or token_hash is not null)
    ),
    constraint webhooks_gap_check check ((gap_since is null) = (gap_reason is null))
);
comment on table integration.webhooks is
    'The webhook of a tenant and system, or why there is none. A tenant that is not connected has no '
    'row.';
comment on column integration.webhooks.id is
    'Id of this webhook here, known to nobody else; a new one whenever a webhook is made.';
comment on column integration.webhooks.tenant_id is
    'The tenant.';
comment on column integration.webhooks.system is
    'Key of the CRM.';
comment on column integration.webhooks.state is
    'off: none is wanted or possible; making: the CRM is being asked for one; live: the CRM has it and '
    'delivers; failing: it cannot be made, or the CRM does not deliver.';
comment on column integration.webhooks.reason is
    'Why it is not live, in words; no secrets.';
comment on column integration.webhooks.app_url is
    'APP_URL when it was last looked at; the webhook is made again for another one.';
comment on column integration.webhooks.token_hash is
    'Hash of the token in its address; the token itself is known to the CRM only.';
comment on column integration.webhooks.password_hash is
    'Hash of the password that the CRM sends.';
comment on column integration.webhooks.remote_id is
    'Its id in the CRM; empty until the CRM has answered.';
comment on column integration.webhooks.made_at is
    'When the CRM made it.';
comment on column integration.webhooks.checked_at is
    'When it was last looked at.';
comment on column integration.webhooks.next_check_at is
    'When it is looked at again: daily, earlier after a failure.';
comment on column integration.webhooks.attempts is
    'Failed looks in a row.';
comment on column integration.webhooks.last_event_at is
    'When the newest event arrived; written every few seconds.';
comment on column integration.webhooks.gap_since is
    'Since when events may have been lost; empty once a sync is requested that finds the changes.';
comment on column integration.webhooks.gap_reason is
    'Why events may have been lost, in words.';
comment on column integration.webhooks.paused_until is
    'Until when the CRM may send nothing, after deliveries that failed; a sync is requested then.';
select integration.isolate(
    'integration.webhooks',
    'select (
        id, tenant_id, system, state, reason, made_at, checked_at, next_check_at, attempts,
        last_event_at, gap_since, gap_reason
    )'
);

create table integration.receiver (
    is_only boolean not null default true,
    alive_at timestamptz not null,
    constraint receiver_pkey primary key (is_only),
    constraint receiver_is_only_check check (is_only)
);
comment on table integration.receiver is
    'One row: when a Connect app that could receive events last reached this database.';
comment on column integration.receiver.is_only is
    'True; keeps the table at one row.';
comment on column integration.receiver.alive_at is
    'When that was; every Connect app writes it every few seconds.';
select integration.isolate('integration.receiver', '');
