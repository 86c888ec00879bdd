-- The roles that policies name, and what they may use.
-- What: rights to schemas and functions.
-- Reads: nothing.
-- Needs: 0001_installation.sql, sql/functions/roles.sql; a role that may create roles, or already is a
--        member of them.
--
-- The engine's role sees every tenant; the app's role sees the tenant named in pipeline.tenant_id,
-- and nothing while none is named; a reader sees the tenants of its login (readers.sql).

do $$
declare
    kind text;
begin
    perform integration.make_roles();
    foreach kind in array array['engine', 'app'] loop
        execute format(
            'grant usage on schema integration, crm to %I', integration.role_name(kind)
        );
    end loop;
    execute format('grant usage on schema crm to %I', integration.role_name('reader'));
    execute format(
        'grant execute on function integration.tenants_of_login() to %I',
        integration.role_name('reader')
    );
    grant usage on schema pipeline to public; -- a view's functions run with the reader's rights
    execute format(
        'grant select on integration.installation, integration.function_files to %I',
        integration.role_name('engine')
    );
    -- Made by Alembic before this file runs; absent when this file runs in psql by itself.
    if pg_catalog.to_regclass('integration.alembic_version') is not null then
        execute format(
            'grant select on integration.alembic_version to %I', integration.role_name('engine')
        );
        comment on table integration.alembic_version is
            'The number of the newest file of sql/schema that was applied.';
        comment on column integration.alembic_version.version_num is
            'Number of that file, as text with leading zeros.';
    end if;
end
$$;
