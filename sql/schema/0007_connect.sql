-- The Connect app: keys and sign-in, its limits, consents in the browser. Shared by its processes.
-- What: keys, browser sessions, requests and failed attempts of each caller, answers to repeated
--       Idempotency-Keys; one-time links, states, grants that wait for a person's confirmation.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.

create table integration.api_keys (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    name text not null,
    role text not null,
    key_hash text not null,
    key_prefix text not null,
    created_at timestamptz not null default now(),
    created_by text,
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint api_keys_pkey primary key (id),
    constraint api_keys_key_hash_key unique (key_hash),
    constraint api_keys_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint api_keys_role_check check (role in ('admin', 'manager', 'user'))
);
create index api_keys_tenant_id_created_at_idx on integration.api_keys (tenant_id, created_at);
comment on table integration.api_keys is
    'Keys of the Connect API; the key itself is shown once and never stored.';
comment on column integration.api_keys.id is
    'Id of the key, for listing and revoking.';
comment on column integration.api_keys.tenant_id is
    'The tenant that the key opens.';
comment on column integration.api_keys.name is
    'What the key is for, in words.';
comment on column integration.api_keys.role is
    'admin: everything; manager: map and sync; user: read.';
comment on column integration.api_keys.key_hash is
    'Hash of the key.';
comment on column integration.api_keys.key_prefix is
    'First characters of the key, to recognise it by.';
comment on column integration.api_keys.created_at is
    'When it was made.';
comment on column integration.api_keys.created_by is
    'Who made it.';
comment on column integration.api_keys.last_used_at is
    'When it was last used; kept to the hour.';
comment on column integration.api_keys.expires_at is
    'When it stops working; empty: never.';
comment on column integration.api_keys.revoked_at is
    'When it was revoked; empty while it works.';
select integration.isolate('integration.api_keys', 'select, insert, update');

create table integration.browser_sessions (
    id uuid not null,
    tenant_id text,
    key_id uuid,
    role text not null,
    secret_hash text not null,
    operator_key_hash text,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint browser_sessions_pkey primary key (id),
    constraint browser_sessions_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint browser_sessions_key_id_fkey foreign key (key_id)
        references integration.api_keys (id) on delete cascade,
    constraint browser_sessions_key_or_operator_check check (
        (tenant_id is null) = (key_id is null)
        and (key_id is null) = (operator_key_hash is not null)
    )
);
create index browser_sessions_key_id_idx on integration.browser_sessions (key_id, created_at);
create index browser_sessions_tenant_id_idx on integration.browser_sessions (tenant_id);
create index browser_sessions_expires_at_idx on integration.browser_sessions (expires_at);
comment on table integration.browser_sessions is
    'Browsers that are signed in. Signing out or revoking the key deletes the row.';
comment on column integration.browser_sessions.id is
    'Id of the session; the cookie contains it.';
comment on column integration.browser_sessions.tenant_id is
    'The tenant of the key; null for the operator.';
comment on column integration.browser_sessions.key_id is
    'The key that signed in; null for the operator.';
comment on column integration.browser_sessions.role is
    'Role of the key at that time; a session whose key has another role since is invalid.';
comment on column integration.browser_sessions.secret_hash is
    'Hash of the secret in the cookie.';
comment on column integration.browser_sessions.operator_key_hash is
    'Hash of the operator''s key that signed in; with another OPERATOR_KEY the session is invalid.';
comment on column integration.browser_sessions.created_at is
    'When the browser signed in.';
comment on column integration.browser_sessions.expires_at is
    'When the session ends.';
select integration.isolate('integration.browser_sessions', 'select, insert, delete');

-- Unlogged: a count that a crash loses costs nothing, and writing it needs no flush of the log.
create unlogged table integration.request_windows (
    tenant_id text not null,
    caller text not null,
    began_at timestamptz not null,
    requests integer not null,
    addresses text[] not null,
    constraint request_windows_pkey primary key (tenant_id, caller),
    constraint request_windows_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.request_windows is
    'Requests of each caller in its current minute; one row for a key and tenant.';
comment on column integration.request_windows.tenant_id is
    'The tenant.';
comment on column integration.request_windows.caller is
    'Id of the key, or the operator.';
comment on column integration.request_windows.began_at is
    'When the minute began.';
comment on column integration.request_windows.requests is
    'Requests since then.';
comment on column integration.request_windows.addresses is
    'Hashes of the last addresses that the caller sent a valid key from, at most eight.';
select integration.isolate('integration.request_windows', 'select, insert, update');

create unlogged table integration.failed_attempts (
    subject text not null,
    tenant_id text,
    failures integer not null,
    last_failed_at timestamptz not null,
    refused_until timestamptz,
    constraint failed_attempts_pkey primary key (subject),
    constraint failed_attempts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index failed_attempts_last_failed_at_idx on integration.failed_attempts (last_failed_at);
create index failed_attempts_tenant_id_idx on integration.failed_attempts (tenant_id);
comment on table integration.failed_attempts is
    'Wrong keys, forged states and unknown links, by address and by account; an hour at most.';
comment on column integration.failed_attempts.subject is
    'Short hash of an address, or the account that a wrong key named.';
comment on column integration.failed_attempts.tenant_id is
    'The tenant, if the account is one.';
comment on column integration.failed_attempts.failures is
    'Failures in a row; an hour without one resets them.';
comment on column integration.failed_attempts.last_failed_at is
    'When it failed last.';
comment on column integration.failed_attempts.refused_until is
    'Until then nothing of this subject is looked at.';
select integration.isolate('integration.failed_attempts', '');

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
select integration.isolate('integration.idempotency_keys', 'select, insert, update, delete');

create table integration.connect_links (
    link_hash text not null,
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    opened_at timestamptz,
    reconnects_only boolean not null default false,
    constraint connect_links_pkey primary key (link_hash),
    constraint connect_links_id_key unique (id),
    constraint connect_links_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index connect_links_tenant_id_idx on integration.connect_links (tenant_id);
create index connect_links_expires_at_idx on integration.connect_links (expires_at);
comment on table integration.connect_links is
    'Links that start a consent without a key; a row is deleted when its consent has come back, or '
    'when the link is withdrawn.';
comment on column integration.connect_links.link_hash is
    'Hash of the link''s secret; the link itself is shown once and never stored.';
comment on column integration.connect_links.id is
    'Id of the link, which opens nothing.';
comment on column integration.connect_links.tenant_id is
    'The tenant that will be connected.';
comment on column integration.connect_links.system is
    'Key of the CRM.';
comment on column integration.connect_links.created_by is
    'Who made the link.';
comment on column integration.connect_links.created_at is
    'When it was made.';
comment on column integration.connect_links.expires_at is
    'When it stops working.';
comment on column integration.connect_links.opened_at is
    'When a browser first followed it to the source; empty: nobody has opened it.';
comment on column integration.connect_links.reconnects_only is
    'Whether its consent must be for the company that the tenant has rows of.';
-- Without the hash, which the engine alone compares.
select integration.isolate(
    'integration.connect_links',
    'select (
        id, tenant_id, system, created_by, created_at, expires_at, opened_at, reconnects_only
    ), delete'
);

create table integration.oauth_states (
    state_hash text not null,
    session_hash text not null,
    tenant_id text not null,
    system text not null,
    started_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    link_hash text,
    constraint oauth_states_pkey primary key (state_hash),
    constraint oauth_states_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index oauth_states_tenant_id_idx on integration.oauth_states (tenant_id);
create index oauth_states_expires_at_idx on integration.oauth_states (expires_at);
create index oauth_states_link_hash_idx
    on integration.oauth_states (link_hash, created_at)
    where link_hash is not null;
comment on table integration.oauth_states is
    'Consents that a browser has begun; a row is deleted before its code is exchanged.';
comment on column integration.oauth_states.state_hash is
    'Hash of the state that the source sends back.';
comment on column integration.oauth_states.session_hash is
    'Hash of the browser session that began; another one is refused.';
comment on column integration.oauth_states.tenant_id is
    'The tenant that will be connected.';
comment on column integration.oauth_states.system is
    'Key of the CRM.';
comment on column integration.oauth_states.started_by is
    'Who began: a key''s name, or the maker of the one-time link.';
comment on column integration.oauth_states.created_at is
    'When it began.';
comment on column integration.oauth_states.expires_at is
    'When it is no longer accepted.';
comment on column integration.oauth_states.link_hash is
    'Hash of the one-time link that began the consent; null: a caller with a key began it.';
select integration.isolate('integration.oauth_states', '');

create table integration.pending_grants (
    id uuid not null default gen_random_uuid(),
    session_hash text not null,
    tenant_id text not null,
    system text not null,
    started_by text not null,
    access_token text,
    refresh_token text,
    token_expires_at timestamptz,
    api_domain text not null,
    scopes text[],
    company_id text not null,
    company_name text not null,
    company_domain text not null,
    account_user_id text not null,
    account_user_name text not null,
    is_account_admin boolean,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    confirmed_at timestamptz,
    came_by_link boolean not null default false,
    constraint pending_grants_pkey primary key (id),
    constraint pending_grants_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint pending_grants_confirmed_has_no_token_check check (
        confirmed_at is null or (access_token is null and refresh_token is null)
    )
);
create index pending_grants_tenant_id_idx on integration.pending_grants (tenant_id, system);
create index pending_grants_expires_at_idx on integration.pending_grants (expires_at);
comment on table integration.pending_grants is
    'Consents that were given and wait for a person to confirm the company; kept for ten minutes.';
comment on column integration.pending_grants.id is
    'Id of the grant; a form that confirms it names it.';
comment on column integration.pending_grants.session_hash is
    'Hash of the browser session that gave the consent; only it, or a key, may confirm.';
comment on column integration.pending_grants.tenant_id is
    'The tenant that will be connected.';
comment on column integration.pending_grants.system is
    'Key of the CRM.';
comment on column integration.pending_grants.started_by is
    'Who began the consent.';
comment on column integration.pending_grants.access_token is
    'Access token, encrypted; empty once confirmed.';
comment on column integration.pending_grants.refresh_token is
    'Refresh token, encrypted; empty once confirmed.';
comment on column integration.pending_grants.token_expires_at is
    'When the access token stops working.';
comment on column integration.pending_grants.api_domain is
    'Base URL of the API of this company, checked against the allowed hosts.';
comment on column integration.pending_grants.scopes is
    'Rights that were granted; empty where the system does not say.';
comment on column integration.pending_grants.company_id is
    'Id of the company in the system.';
comment on column integration.pending_grants.company_name is
    'Name of the company in the system.';
comment on column integration.pending_grants.company_domain is
    'Subdomain of the company in the system.';
comment on column integration.pending_grants.account_user_id is
    'Id of the system''s user who consented.';
comment on column integration.pending_grants.account_user_name is
    'Name of that user.';
comment on column integration.pending_grants.is_account_admin is
    'Whether that user is an administrator; empty: not known.';
comment on column integration.pending_grants.created_at is
    'When the consent arrived.';
comment on column integration.pending_grants.expires_at is
    'When it may no longer be confirmed.';
comment on column integration.pending_grants.confirmed_at is
    'When a person confirmed it; its tokens are then the connection''s.';
comment on column integration.pending_grants.came_by_link is
    'True: only the browser session that brought the grant may confirm it, no key.';
select integration.isolate('integration.pending_grants', '');

create table integration.refusals (
    began_at timestamptz not null,
    code text not null,
    tenant_id text,
    refusals bigint not null,
    last_at timestamptz not null,
    constraint refusals_began_at_code_tenant_id_key
        unique nulls not distinct (began_at, code, tenant_id),
    constraint refusals_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index refusals_tenant_id_idx on integration.refusals (tenant_id);
comment on table integration.refusals is
    'Refused requests of each hour that may be attacks; no address and no key is stored.';
comment on column integration.refusals.began_at is
    'Start of the hour.';
comment on column integration.refusals.code is
    'Code of the refusal, as in docs/failures.md.';
comment on column integration.refusals.tenant_id is
    'The tenant that a valid key acted for; empty where the key was not valid.';
comment on column integration.refusals.refusals is
    'Number of refused requests.';
comment on column integration.refusals.last_at is
    'When the last one came.';
select integration.isolate('integration.refusals', '');
