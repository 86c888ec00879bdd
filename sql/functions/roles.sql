-- Roles of this installation, and the policies that keep tenants apart.
-- What: role_name, role_kind, ensure_role, make_roles, grant_role, isolate.
-- Reads: integration.installation.
-- Needs: 0001_installation.sql.
--
-- Roles belong to the whole server, so their names end with the installation's id: an installation
-- never has a right to another one's tables.

create or replace function integration.role_name(kind text) returns text
language sql stable
as $$
    select format(
        case
            when kind in ('engine', 'app', 'reader') then 'pipeline_%s_%s'
            else '%s_%s'
        end,
        kind,
        installation.id
    )
    from integration.installation
$$;
comment on function integration.role_name(text) is
    'Name of a role of this installation: pipeline_<kind>_<id> for engine, app and reader, else the kind '
    'itself and the id, such as analyst_acme_<id>.';

create or replace function integration.role_kind(role_name text) returns text
language sql immutable
as $$
    select regexp_replace(role_name, '^(pipeline_)?(.*)_[0-9a-f]{8}$', '\2')
$$;
comment on function integration.role_kind(text) is
    'The kind of a role by its name in any installation, such as engine or analyst_acme.';

create or replace function integration.ensure_role(kind text) returns text
language plpgsql
as $$
declare
    role text := integration.role_name(kind);
begin
    if not exists (select from pg_catalog.pg_roles where pg_roles.rolname = role) then
        execute format('create role %I nologin', role);
    end if;
    return role;
end
$$;
comment on function integration.ensure_role(text) is
    'Name of a role of this installation, which is made if it does not exist.';

create or replace function integration.make_roles() returns void
language plpgsql
as $$
declare
    kind text;
    role text;
begin
    foreach kind in array array['engine', 'app', 'reader'] loop
        role := integration.ensure_role(kind);
        -- Not 'member': since PostgreSQL 16 whoever makes a role is a member that inherits nothing.
        if not pg_catalog.pg_has_role(current_user, role, 'usage') then
            execute format('grant %I to %I', role, current_user);
        end if;
    end loop;
    role := integration.role_name('engine');
    if not pg_catalog.pg_has_role(current_user, role, 'usage') then
        raise insufficient_privilege using message = format(
            'role %s does not inherit %s', current_user, role
        );
    end if;
end
$$;
comment on function integration.make_roles() is
    'Makes the roles of engine, app and readers if they do not exist; the caller becomes a member.';

create or replace function integration.grant_role(kind text, login text) returns void
language plpgsql
as $$
begin
    execute format('grant %I to %I', integration.ensure_role(kind), login);
end
$$;
comment on function integration.grant_role(text, text) is
    'Makes a login a member of a role of this installation, such as analyst_acme.';

create or replace function integration.isolate(
    relation regclass,
    app_rights text default 'select',
    engine_rights text default 'select, insert, update, delete',
    tenant_column text default 'tenant_id',
    has_readers boolean default false
) returns void
language plpgsql
as $$
declare
    engine text := integration.role_name('engine');
    app text := integration.role_name('app');
    -- The sub-select makes Postgres read the setting once a statement; nullif, because the setting
    -- is '' and not null after the first transaction that set it.
    is_own text := format(
        '%I = (select nullif(current_setting(''pipeline.tenant_id'', true), ''''))', tenant_column
    );
begin
    -- A view has no policies: with security_invoker those of the tables it reads apply.
    if (select pg_class.relkind = 'v' from pg_catalog.pg_class where pg_class.oid = relation) then
        engine_rights := 'select';
    else
        execute format('alter table %s enable row level security', relation);
        execute format('alter table %s force row level security', relation);
        execute format('drop policy if exists engine on %s', relation);
        execute format('drop policy if exists app on %s', relation);
        execute format(
            'create policy engine on %s to %I using (true) with check (true)', relation, engine
        );
        if app_rights <> '' then
            execute format(
                'create policy app on %s to %I using (%s) with check (%s)',
                relation, app, is_own, is_own
            );
        end if;
    end if;
    execute format('drop policy if exists reader on %s', relation);
    if has_readers then
        execute format(
            'create policy reader on %s for select to %I using (%I in (select integration.tenants_of_login()))',
            relation, integration.role_name('reader'), tenant_column
        );
        execute format(
            'grant select on %s to %I', relation, integration.role_name('reader')
        );
    end if;
    execute format('grant %s on %s to %I', engine_rights, relation, engine);
    if app_rights <> '' then
        execute format('grant %s on %s to %I', app_rights, relation, app);
    end if;
end
$$;
comment on function integration.isolate(regclass, text, text, text, boolean) is
    'Lets the engine see every row of a table and the app the rows of its tenant, by policies that '
    'also bind the owner. app_rights as in `grant`, empty: the app sees nothing of it. has_readers: '
    'logins of `add_reader` read the rows of their tenants.';
