-- Tenants, their connections and settings, and who may write for them.
-- What: everything a person decides about a tenant; the fences; the audit log.
-- Reads: nothing.
-- Needs: 0002_roles.sql.

create table integration.tenants (
    slug text not null,
    external_id text,
    display_name text,
    time_zone text not null default 'UTC',
    created_at timestamptz not null default now(),
    constraint tenants_pkey primary key (slug),
    constraint tenants_external_id_key unique (external_id),
    constraint tenants_slug_check check (
        slug ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$' and length(slug) <= 32 and slug <> 'all'
    )
);
comment on table integration.tenants is
    'One row per company whose CRM is synced.';
comment on column integration.tenants.slug is
    'Short name of the tenant; every schema, role and partition of it is named after it.';
comment on column integration.tenants.external_id is
    'Id of the tenant in the app that uses this pipeline; unique where given.';
comment on column integration.tenants.display_name is
    'Name for people; the slug where it is empty.';
comment on column integration.tenants.time_zone is
    'IANA name of the tenant''s time zone, such as Europe/Berlin; daily syncs run in it.';
comment on column integration.tenants.created_at is
    'When the tenant was added.';
select integration.isolate('integration.tenants', tenant_column => 'slug');

create table integration.connections (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    kind text not null,
    state text not null default 'pending',
    state_reason text,
    access_token text,
    refresh_token text,
    token_expires_at timestamptz,
    generation bigint not null default 0,
    refresh_started_at timestamptz,
    api_domain text,
    company_id text,
    company_name text,
    company_domain text,
    scopes text[],
    connected_by text,
    connected_at timestamptz,
    last_sync_at timestamptz,
    last_sync_status text,
    last_sync_error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    account_user_id text,
    account_user_name text,
    is_account_admin boolean,
    token_issued_at timestamptz,
    refresh_failed_at timestamptz,
    constraint connections_pkey primary key (id),
    constraint connections_tenant_id_system_key unique (tenant_id, system),
    constraint connections_tenant_id_id_key unique (tenant_id, id),
    constraint connections_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint connections_kind_check check (kind in ('oauth', 'api_token')),
    constraint connections_state_check check (
        state in ('pending', 'connected', 'needs_reauth', 'disconnected')
    ),
    constraint connections_last_sync_status_check check (
        last_sync_status in ('running', 'success', 'partial', 'failed', 'paused', 'cancelled')
    ),
    constraint connections_connected_has_token_check check (
        state <> 'connected' or (access_token is not null and api_domain is not null)
    ),
    constraint connections_disconnected_has_no_token_check check (
        state <> 'disconnected' or (access_token is null and refresh_token is null)
    )
);
create index connections_system_company_id_idx
    on integration.connections (system, company_id)
    where company_id is not null;
comment on table integration.connections is
    'One row per tenant and system: how, and whether, its records may be read.';
comment on column integration.connections.id is
    'Id of the connection; stays the same when the tenant connects again.';
comment on column integration.connections.tenant_id is
    'The tenant.';
comment on column integration.connections.system is
    'Key of the CRM.';
comment on column integration.connections.kind is
    'oauth: consent with tokens that are refreshed; api_token: one fixed token.';
comment on column integration.connections.state is
    'pending: begun, not finished; connected: usable; needs_reauth: a person must connect again; '
    'disconnected: ended on purpose, tokens forgotten.';
comment on column integration.connections.state_reason is
    'Why it is in this state, as a stable code; empty while connected.';
comment on column integration.connections.access_token is
    'Access token or API token, encrypted.';
comment on column integration.connections.refresh_token is
    'Refresh token, encrypted; empty for a fixed API token.';
comment on column integration.connections.token_expires_at is
    'When the access token stops working; empty for a fixed API token.';
comment on column integration.connections.generation is
    'Grows by one with each new token, so that a refused one is told from a newer one.';
comment on column integration.connections.refresh_started_at is
    'When a refresh began whose answer is not stored yet; empty otherwise.';
comment on column integration.connections.api_domain is
    'Base URL of the API of this company, such as https://acme.pipedrive.com.';
comment on column integration.connections.company_id is
    'Id of the company in the system; several tenants may share one, and its request budget.';
comment on column integration.connections.company_name is
    'Name of the company in the system.';
comment on column integration.connections.company_domain is
    'Subdomain of the company in the system.';
comment on column integration.connections.scopes is
    'Rights that were granted; empty where the system does not say.';
comment on column integration.connections.connected_by is
    'Who connected: a user of the system, or the key that was used.';
comment on column integration.connections.connected_at is
    'When the connection was last made.';
comment on column integration.connections.last_sync_at is
    'When the last sync of this connection ended.';
comment on column integration.connections.last_sync_status is
    'How the last sync ended, as in runs.status.';
comment on column integration.connections.last_sync_error is
    'Code and message of the last sync''s first error; empty after a success.';
comment on column integration.connections.created_at is
    'When the row was made.';
comment on column integration.connections.updated_at is
    'When the row was last written.';
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
-- Without the tokens: the app never reads one, not even encrypted; the vault does, as the engine.
select integration.isolate(
    'integration.connections',
    'select (
        id, tenant_id, system, kind, state, state_reason, token_expires_at, generation, api_domain,
        company_id, company_name, company_domain, scopes, connected_by, connected_at, last_sync_at,
        last_sync_status, last_sync_error, created_at, updated_at, account_user_id,
        account_user_name, is_account_admin
    )'
);

create table integration.sync_settings (
    tenant_id text not null,
    system text not null,
    auto_sync boolean not null default true,
    sync_time time not null default '02:00',
    time_zone text,
    every_hours integer,
    incremental_sync boolean not null default true,
    entities_off text[],
    entity_cycles jsonb,
    sync_custom_fields boolean not null default true,
    sweep_every_hours integer,
    budget_share numeric not null default 0.5,
    daily_token_budget bigint,
    alert_urls text,
    erase_deleted_after_days integer,
    near_real_time boolean not null default true,
    updated_at timestamptz not null default now(),
    updated_by text,
    constraint sync_settings_pkey primary key (tenant_id, system),
    constraint sync_settings_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint sync_settings_entity_cycles_check check (jsonb_typeof(entity_cycles) = 'object'),
    constraint sync_settings_every_hours_check check (every_hours between 1 and 168),
    constraint sync_settings_sweep_every_hours_check check (sweep_every_hours between 1 and 8760),
    constraint sync_settings_budget_share_check check (budget_share > 0 and budget_share <= 1),
    constraint sync_settings_daily_token_budget_check check (daily_token_budget > 0),
    constraint sync_settings_erase_deleted_after_days_check check (erase_deleted_after_days >= 0)
);
comment on table integration.sync_settings is
    'When and how a tenant is synced; a tenant without a row has the defaults.';
comment on column integration.sync_settings.tenant_id is
    'The tenant.';
comment on column integration.sync_settings.system is
    'Key of the CRM.';
comment on column integration.sync_settings.auto_sync is
    'Whether the schedule syncs this tenant.';
comment on column integration.sync_settings.sync_time is
    'Time of day of the daily sync, in time_zone.';
comment on column integration.sync_settings.time_zone is
    'IANA name; the tenant''s own time zone where empty.';
comment on column integration.sync_settings.every_hours is
    'Sync every so many hours instead of once a day; empty is once a day.';
comment on column integration.sync_settings.incremental_sync is
    'Whether a scheduled sync reads changes only; otherwise it reads everything.';
comment on column integration.sync_settings.entities_off is
    'Names of entities that are not read; their rows stay as they are. Empty: those that are off by '
    'default.';
comment on column integration.sync_settings.entity_cycles is
    'Hours between two reads of an entity''s changes, by entity; 0 is with every sync. Empty: as the '
    'system''s declaration says.';
comment on column integration.sync_settings.sync_custom_fields is
    'Whether custom fields are shown in the views and mapped; raw keeps them in any case.';
comment on column integration.sync_settings.sweep_every_hours is
    'Hours between two sweeps for deletions; empty lets the engine choose.';
comment on column integration.sync_settings.budget_share is
    'Share of what is left of the company''s daily request budget that one run may spend, above 0, '
    'at most 1.';
comment on column integration.sync_settings.daily_token_budget is
    'Request tokens a day of the company at most; empty leaves it to what the source tells.';
comment on column integration.sync_settings.alert_urls is
    'Where this tenant''s alerts go, as Apprise URLs, encrypted.';
comment on column integration.sync_settings.erase_deleted_after_days is
    'Days after which records that are marked as deleted or merged are erased here too; 0 is with '
    'the next run, empty is never. Records that are merely invisible stay.';
comment on column integration.sync_settings.near_real_time is
    'Whether the CRM is asked to tell of changes at once, by a webhook, where it can reach APP_URL.';
comment on column integration.sync_settings.updated_at is
    'When the settings were last saved.';
comment on column integration.sync_settings.updated_by is
    'Who saved them.';
select integration.isolate('integration.sync_settings', 'select, insert, update');

create table integration.field_mappings (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    version integer not null,
    mapping jsonb not null,
    is_active boolean not null default false,
    created_at timestamptz not null default now(),
    created_by text,
    constraint field_mappings_pkey primary key (id),
    constraint field_mappings_tenant_id_system_version_key unique (tenant_id, system, version),
    constraint field_mappings_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint field_mappings_version_check check (version > 0),
    constraint field_mappings_mapping_check check (jsonb_typeof(mapping) = 'object')
);
create unique index field_mappings_active_key
    on integration.field_mappings (tenant_id, system)
    where is_active;
comment on table integration.field_mappings is
    'Every version of a tenant''s field mapping; at most one of each system is active.';
comment on column integration.field_mappings.id is
    'Id of the version.';
comment on column integration.field_mappings.tenant_id is
    'The tenant.';
comment on column integration.field_mappings.system is
    'Key of the CRM.';
comment on column integration.field_mappings.version is
    'Counts up from 1; an edit that names an older version is refused.';
comment on column integration.field_mappings.mapping is
    'Per entity, source field key to target column or attributes.<name>: '
    '{"organizations": {"<field key>": "customer_number"}}.';
comment on column integration.field_mappings.is_active is
    'Whether the marts are built with this version.';
comment on column integration.field_mappings.created_at is
    'When the version was saved.';
comment on column integration.field_mappings.created_by is
    'Who saved it.';
select integration.isolate('integration.field_mappings', 'select, insert, update');

create table integration.fences (
    lock text not null,
    tenant_id text not null,
    holder uuid not null default gen_random_uuid(),
    taken_at timestamptz not null default clock_timestamp(),
    constraint fences_pkey primary key (lock),
    constraint fences_holder_key unique (holder),
    constraint fences_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.fences is
    'Who may write to a tenant''s raw tables or marts. Every transaction of a run holds its own row '
    'here: a run whose identity is no longer in it writes nothing more.';
comment on column integration.fences.lock is
    'The lock: raw/TENANT/SYSTEM of the run that reads the CRM, marts/TENANT of the one that builds.';
comment on column integration.fences.tenant_id is
    'The tenant.';
comment on column integration.fences.holder is
    'The run that took the lock last; a new value, which is nobody''s, after a change of company, a '
    'disconnect or a removal.';
comment on column integration.fences.taken_at is
    'When that was.';
select integration.isolate('integration.fences', '');

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
select integration.isolate('integration.audit_log', 'select, insert', engine_rights => 'select, insert');

create table integration.reader_logins (
    login text not null,
    tenant_id text not null,
    constraint reader_logins_pkey primary key (login, tenant_id),
    constraint reader_logins_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index reader_logins_tenant_id_idx on integration.reader_logins (tenant_id);
comment on table integration.reader_logins is
    'Which login reads the rows of which tenants in crm; written by integration.add_reader.';
comment on column integration.reader_logins.login is
    'Name of the login (a role of the server).';
comment on column integration.reader_logins.tenant_id is
    'A tenant whose rows it reads.';
select integration.isolate('integration.reader_logins', '');
