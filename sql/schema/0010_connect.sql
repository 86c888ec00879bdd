-- What a consent in the browser needs between its beginning and its confirmation.
-- What: one-time links, states, grants that wait for a person's yes; more facts of a connection.
-- Reads: nothing.
-- Needs: 0001_roles.sql, 0002_tenants_and_settings.sql.

alter table integration.connections
    add column account_user_id text,
    add column account_user_name text,
    add column is_account_admin boolean,
    add column token_issued_at timestamptz,
    add column refresh_failed_at timestamptz;
comment on column integration.connections.account_user_id is
    'Id of the system''s user whose rights the records are read with.';
comment on column integration.connections.account_user_name is
    'Name of that user.';
comment on column integration.connections.is_account_admin is
    'Whether that user is an administrator; others may not see every record. Empty: not known.';
comment on column integration.connections.token_issued_at is
    'When the access token was stored; with its end this gives its lifetime.';
comment on column integration.connections.refresh_failed_at is
    'When a refresh last had no usable answer; empty after one that had.';
create index connections_system_company_id_idx
    on integration.connections (system, company_id)
    where company_id is not null;

create table integration.connect_links (
    link_hash text not null,
    tenant_id text not null,
    system text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint connect_links_pkey primary key (link_hash),
    constraint connect_links_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index connect_links_tenant_id_idx on integration.connect_links (tenant_id);
create index connect_links_expires_at_idx on integration.connect_links (expires_at);
comment on table integration.connect_links is
    'Links that start a consent without a key; a row is deleted when its link is opened.';
comment on column integration.connect_links.link_hash is
    'Hash of the link''s secret; the link itself is shown once and never stored.';
comment on column integration.connect_links.tenant_id is
    'The tenant that will be connected.';
comment on column integration.connect_links.system is
    'The CRM: pipedrive.';
comment on column integration.connect_links.created_by is
    'Who made the link.';
comment on column integration.connect_links.created_at is
    'When it was made.';
comment on column integration.connect_links.expires_at is
    'When it stops working.';

create table integration.oauth_states (
    state_hash text not null,
    session_hash text not null,
    tenant_id text not null,
    system text not null,
    started_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint oauth_states_pkey primary key (state_hash),
    constraint oauth_states_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index oauth_states_tenant_id_idx on integration.oauth_states (tenant_id);
create index oauth_states_expires_at_idx on integration.oauth_states (expires_at);
comment on table integration.oauth_states is
    'Consents that a browser has begun; a row is deleted before its code is exchanged.';
comment on column integration.oauth_states.state_hash is
    'Hash of the state that the source sends back.';
comment on column integration.oauth_states.session_hash is
    'Hash of the browser session that began; another one is refused.';
comment on column integration.oauth_states.tenant_id is
    'The tenant that will be connected.';
comment on column integration.oauth_states.system is
    'The CRM: pipedrive.';
comment on column integration.oauth_states.started_by is
    'Who began: a key''s name, or the maker of the one-time link.';
comment on column integration.oauth_states.created_at is
    'When it began.';
comment on column integration.oauth_states.expires_at is
    'When it is no longer accepted.';

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
    'The CRM: pipedrive.';
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

grant select, insert, update, delete
    on integration.connect_links,
        integration.oauth_states,
        integration.pending_grants
    to pipeline_engine;

-- The app sees whose account it is; links, states and grants are the vault's, as the engine.
grant select (account_user_id, account_user_name, is_account_admin)
    on integration.connections to pipeline_app;

alter table integration.connect_links enable row level security;
alter table integration.connect_links force row level security;
create policy engine on integration.connect_links to pipeline_engine
    using (true) with check (true);

alter table integration.oauth_states enable row level security;
alter table integration.oauth_states force row level security;
create policy engine on integration.oauth_states to pipeline_engine
    using (true) with check (true);

alter table integration.pending_grants enable row level security;
alter table integration.pending_grants force row level security;
create policy engine on integration.pending_grants to pipeline_engine
    using (true) with check (true);
