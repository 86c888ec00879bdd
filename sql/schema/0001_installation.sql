-- Schemas, the migrations' lock, and the identity of this installation.
-- What: what functions and tables need to exist before them.
-- Reads: pg_control_system().
-- Needs: a role that may create schemas in this database.
--
-- `migrate` runs this file by itself before sql/functions; run again it changes nothing.
--
-- A lock is a view: `lock table` locks it like a table, but it has no file, and neither vacuum nor
-- pg_dump ever waits for it. An advisory lock can be taken by every login of the database that knows
-- its number, and pg_locks shows the number. Nobody but the owner has a right to the locks' schema.

do $$
begin
    -- Not `if not exists`: that needs the right to create even where nothing is to be created.
    if pg_catalog.to_regnamespace('integration') is null then
        create schema integration;
    end if;
    if pg_catalog.to_regnamespace('crm') is null then
        create schema crm;
    end if;
    if pg_catalog.to_regnamespace('pipeline') is null then
        create schema pipeline;
    end if;
    if pg_catalog.to_regnamespace('pipeline_locks') is null then
        create schema pipeline_locks;
    end if;
    if pg_catalog.to_regclass('pipeline_locks.migration') is null then
        create view pipeline_locks.migration as select true as is_lock;
        comment on view pipeline_locks.migration is
            'Locked shared by each run while it lives, and exclusively by a migration.';
    end if;
end
$$;
comment on schema integration is
    'Control tables: who is connected, what is synced when, and what happened.';
comment on schema crm is
    'Marts: the records of all tenants, kept up to date by the sync; one row level policy each.';
comment on schema pipeline is
    'Functions that turn a JSON value of the source into a type, or into null where it does not fit.';
comment on schema pipeline_locks is
    'One view per lock, locked by the session that holds it; only the owner may use it.';

create table if not exists integration.installation (
    is_only_row boolean not null default true,
    id text not null default left(replace(gen_random_uuid()::text, '-', ''), 8),
    next_id text,
    database_identity text not null,
    constraint installation_pkey primary key (is_only_row),
    constraint installation_is_only_row_check check (is_only_row),
    constraint installation_id_check check (id ~ '^[0-9a-f]{8}$')
);
comment on table integration.installation is
    'The identity of this installation; one row.';
comment on column integration.installation.is_only_row is
    'True: the key of the only row.';
comment on column integration.installation.id is
    'Eight characters at the end of the names of its database roles, which belong to the whole '
    'server.';
comment on column integration.installation.next_id is
    'The id that a copy of the database gets by `migrate`; empty otherwise.';
comment on column integration.installation.database_identity is
    'The server''s system identifier and the oid of the database that the roles were made for; a '
    'copy of the database has another one, and gets roles of its own by `migrate`.';

insert into integration.installation (database_identity)
select format('%s-%s', (pg_control_system()).system_identifier, pg_database.oid)
from pg_catalog.pg_database
where pg_database.datname = current_database()
on conflict do nothing;

create table if not exists integration.function_files (
    name text not null,
    text_hash text not null,
    applied_at timestamptz not null default now(),
    constraint function_files_pkey primary key (name, text_hash)
);
comment on table integration.function_files is
    'Every text of a file of sql/functions that was applied; the newest of a name is in use.';
comment on column integration.function_files.name is
    'Name of the file, without its suffix.';
comment on column integration.function_files.text_hash is
    'SHA-256 of its text.';
comment on column integration.function_files.applied_at is
    'When it was last applied.';
