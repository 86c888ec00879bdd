-- Tables of an app that the marts feed.
-- What: declarations of sinks, their state, links between rows of the app and of the marts.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.
--
-- The functions of pipeline_sinks write an app's tables, each with the rights of a role that may use
-- one table only (marts/sinks/writer.py). They are made from the declarations and the catalogue.

create schema pipeline_sinks;
comment on schema pipeline_sinks is
    'Functions that write the tables of apps, one for each sink, each owned by a role of its own.';

create table integration.sinks (
    tenant_id text not null,
    system text not null,
    version integer not null,
    sinks jsonb not null,
    is_active boolean not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    constraint sinks_pkey primary key (tenant_id, system, version),
    constraint sinks_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create unique index sinks_active_key on integration.sinks (tenant_id, system) where is_active;
comment on table integration.sinks is
    'Versions of a tenant''s sinks: which mart feeds which table of an app, and how.';
comment on column integration.sinks.tenant_id is
    'The tenant.';
comment on column integration.sinks.system is
    'Key of the CRM whose rows are written.';
comment on column integration.sinks.version is
    'Number of the version, from 1.';
comment on column integration.sinks.sinks is
    'Declarations by name of the sink; docs/sinks.md has their form.';
comment on column integration.sinks.is_active is
    'Whether this version is in use; one is.';
comment on column integration.sinks.created_at is
    'When it was saved.';
comment on column integration.sinks.created_by is
    'Who saved it.';
select integration.isolate('integration.sinks');

create table integration.sink_states (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    sink text not null,
    app_table text not null,
    mart text not null,
    is_active boolean not null default true,
    is_waiting boolean not null default false,
    installed text,
    cursor_at timestamptz,
    cursor_id uuid,
    fed_at timestamptz,
    counts jsonb,
    fault jsonb,
    fault_since timestamptz,
    refused_count bigint not null default 0,
    constraint sink_states_pkey primary key (id),
    constraint sink_states_tenant_id_system_sink_key unique (tenant_id, system, sink),
    constraint sink_states_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.sink_states is
    'How far each sink has come. A row stays when its sink is no longer declared, so that its links '
    'are known if it is declared again.';
comment on column integration.sink_states.id is
    'Number of the sink; its role is sink_<number>_<id of the installation>.';
comment on column integration.sink_states.tenant_id is
    'The tenant.';
comment on column integration.sink_states.system is
    'Key of the CRM.';
comment on column integration.sink_states.sink is
    'Name of the sink.';
comment on column integration.sink_states.app_table is
    'The app''s table, as schema.table.';
comment on column integration.sink_states.mart is
    'The mart that feeds it.';
comment on column integration.sink_states.is_active is
    'Whether the active version declares it.';
comment on column integration.sink_states.is_waiting is
    'Whether nothing is written until a person has confirmed which rows belong together.';
comment on column integration.sink_states.installed is
    'Hash of the function and rights that were made for it.';
comment on column integration.sink_states.cursor_at is
    'updated_at of the last row of the mart that was looked at; empty: none yet.';
comment on column integration.sink_states.cursor_id is
    'id of that row.';
comment on column integration.sink_states.fed_at is
    'When it was last fed without a fault.';
comment on column integration.sink_states.counts is
    'Rows by outcome of the last run: created, updated, unchanged, missing, refused.';
comment on column integration.sink_states.fault is
    'Why the last run could not write all rows: sqlstate, table, column, constraint, message; never a '
    'value.';
comment on column integration.sink_states.fault_since is
    'Since when each run has had a fault.';
comment on column integration.sink_states.refused_count is
    'Rows of the mart that the app''s table refuses; each run tries them again.';
select integration.isolate('integration.sink_states');

create table integration.sink_links (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    sink text not null,
    row_id uuid not null,
    remote_id text collate "C",
    app_key text[],
    matched_by text not null,
    doubt text,
    proposed_at timestamptz not null default now(),
    confirmed_at timestamptz,
    confirmed_by text,
    asked jsonb,
    stored jsonb,
    before jsonb,
    fault jsonb,
    constraint sink_links_pkey primary key (id),
    constraint sink_links_sink_fkey foreign key (tenant_id, system, sink)
        references integration.sink_states (tenant_id, system, sink) on delete cascade
);
create unique index sink_links_row_key
    on integration.sink_links (row_id, tenant_id, system, sink)
    where confirmed_at is not null;
create unique index sink_links_app_key
    on integration.sink_links (app_key, tenant_id, system, sink)
    where confirmed_at is not null;
create index sink_links_proposed_idx
    on integration.sink_links (row_id, tenant_id, system, sink)
    where confirmed_at is null;
create index sink_links_remote_id_idx
    on integration.sink_links (remote_id, tenant_id, system, sink)
    where confirmed_at is not null;
create index sink_links_sink_idx on integration.sink_links (tenant_id, system, sink, id);
create index sink_links_fault_idx
    on integration.sink_links (tenant_id, system, sink)
    where fault is not null;
comment on table integration.sink_links is
    'Which row of an app''s table belongs to which row of a mart. Without confirmed_at it is a '
    'proposal of `sinks match`, and nothing is written.';
comment on column integration.sink_links.id is
    'Number of the row.';
comment on column integration.sink_links.tenant_id is
    'The tenant.';
comment on column integration.sink_links.system is
    'Key of the CRM.';
comment on column integration.sink_links.sink is
    'Name of the sink.';
comment on column integration.sink_links.row_id is
    'id of the mart''s row.';
comment on column integration.sink_links.remote_id is
    'Id of the record in the system when it was last written.';
comment on column integration.sink_links.app_key is
    'Values of the app''s key columns as text; empty while the app''s table refuses the row.';
comment on column integration.sink_links.matched_by is
    'inserted: we made the app''s row; link: by the column with the id of the CRM; person: a person '
    'chose; else the rule, such as vat_id.';
comment on column integration.sink_links.doubt is
    'Why a person must decide about a proposal: several or contradicts; empty if nobody must.';
comment on column integration.sink_links.proposed_at is
    'When the two rows were first said to belong together.';
comment on column integration.sink_links.confirmed_at is
    'When it was confirmed, or the row was made; empty for a proposal.';
comment on column integration.sink_links.confirmed_by is
    'Who confirmed it.';
comment on column integration.sink_links.asked is
    'Values that were last asked for, by column of the app.';
comment on column integration.sink_links.stored is
    'Values that the app''s row had after that, as text; a trigger of the app may have changed them.';
comment on column integration.sink_links.before is
    'Values that an adopted row had before it was first written, as text; `sinks undo` restores them.';
comment on column integration.sink_links.fault is
    'Why the app''s table refuses the row: sqlstate, table, column, constraint; never a value.';
select integration.isolate('integration.sink_links');
