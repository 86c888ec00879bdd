-- Schemas and roles.
-- What: the schemas integration and crm, and the two roles that every policy names.
-- Reads: nothing.
-- Needs: a role that may create schemas in this database, and that either may create roles or
--        already is a member of pipeline_engine and pipeline_app.
--
-- Roles belong to the whole server: another database of it may have made them already. The
-- engine's role sees every tenant; the app's role sees the tenant named in pipeline.tenant_id,
-- and nothing while none is named.

create schema if not exists integration;
comment on schema integration is
    'Control tables: who is connected, what is synced when, and what happened.';

create schema if not exists crm;
comment on schema crm is
    'Customers and contacts of all tenants, kept up to date by the sync; one row level policy each.';

do $$
declare
    wanted text;
begin
    foreach wanted in array array['pipeline_engine', 'pipeline_app'] loop
        if not exists (select from pg_catalog.pg_roles where pg_roles.rolname = wanted) then
            begin
                execute format('create role %I nologin', wanted);
            exception
                when duplicate_object or unique_violation then
                    null; -- another database of this server made it a moment ago
            end;
        end if;
        -- Not 'member': since PostgreSQL 16 whoever makes a role is a member that inherits nothing.
        if not pg_catalog.pg_has_role(current_user, wanted, 'usage') then
            execute format('grant %I to %I', wanted, current_user);
        end if;
    end loop;
    if not pg_catalog.pg_has_role(current_user, 'pipeline_engine', 'usage') then
        raise insufficient_privilege using message = format(
            'role %s does not inherit pipeline_engine', current_user
        );
    end if;
end
$$;

grant usage on schema integration to pipeline_engine, pipeline_app;
grant usage on schema crm to pipeline_engine, pipeline_app;

-- Made by Alembic before this file runs; absent when this file runs in psql by itself.
do $$
begin
    if pg_catalog.to_regclass('integration.alembic_version') is not null then
        grant select on integration.alembic_version to pipeline_engine;
        comment on table integration.alembic_version is
            'The number of the newest file of sql/schema that was applied.';
        comment on column integration.alembic_version.version_num is
            'Number of that file, as text with leading zeros.';
    end if;
end
$$;
