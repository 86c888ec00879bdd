-- Sign-in to the Connect app, shared by all of its processes.
-- What: browser sessions, the requests of each caller in the current minute, failed attempts.
-- Reads: nothing.
-- Needs: 0002_tenants_and_settings.sql.

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

grant select, insert, update, delete
    on
        integration.browser_sessions,
        integration.request_windows,
        integration.failed_attempts
    to pipeline_engine;
grant select, insert, delete on integration.browser_sessions to pipeline_app;
grant select, insert, update on integration.request_windows to pipeline_app;

alter table integration.browser_sessions enable row level security;
alter table integration.browser_sessions force row level security;
create policy engine on integration.browser_sessions to pipeline_engine
    using (true) with check (true);
create policy app on integration.browser_sessions to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.request_windows enable row level security;
alter table integration.request_windows force row level security;
create policy engine on integration.request_windows to pipeline_engine
    using (true) with check (true);
create policy app on integration.request_windows to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.failed_attempts enable row level security;
alter table integration.failed_attempts force row level security;
create policy engine on integration.failed_attempts to pipeline_engine
    using (true) with check (true);
