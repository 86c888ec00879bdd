-- The roles of a database that was copied, or restored from a backup.
-- What: database_identity, are_roles_shared, rights_of, leave_to_the_original, renew_roles.
-- Reads: integration.installation, Postgres's catalogue.
-- Needs: 0001_installation.sql, roles.sql.

create or replace function integration.database_identity() returns text
language sql stable
as $$
    select format('%s-%s', (pg_control_system()).system_identifier, pg_database.oid)
    from pg_catalog.pg_database
    where pg_database.datname = current_database()
$$;
comment on function integration.database_identity() is
    'An id of this database, the same for every name and URL.';

create or replace function integration.are_roles_shared() returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_catalog.pg_shdepend
        inner join pg_catalog.pg_roles
            on pg_roles.oid = pg_shdepend.refobjid
        inner join pg_catalog.pg_database
            on pg_database.oid = pg_shdepend.dbid
        where pg_shdepend.refclassid = 'pg_catalog.pg_authid'::regclass
            and pg_roles.rolname in (integration.role_name('engine'), integration.role_name('app'))
            and pg_database.datname <> current_database()
    )
$$;
comment on function integration.are_roles_shared() is
    'True if another database of the server has grants or policies for the roles of this one.';

create or replace function integration.rights_of(id text)
returns table (role_name text, object text, column_name text, right_name text)
language sql stable
as $$
    with held as (
        select
            'schema ' || quote_ident(nspname) as object,
            null as column_name,
            nspacl as acl
        from pg_catalog.pg_namespace
        union all
        select
            case pg_class.relkind when 'S' then 'sequence ' else 'table ' end
            || pg_class.oid::regclass::text,
            null,
            relacl
        from pg_catalog.pg_class
        union all
        select 'table ' || pg_attribute.attrelid::regclass::text, quote_ident(attname), attacl
        from pg_catalog.pg_attribute
        where not pg_attribute.attisdropped
        union all
        select 'routine ' || pg_proc.oid::regprocedure::text, null, proacl
        from pg_catalog.pg_proc
        union all
        select 'database ' || quote_ident(datname), null, datacl
        from pg_catalog.pg_database
        where pg_database.datname = current_database()
    )
    select
        pg_roles.rolname,
        held.object,
        held.column_name,
        entry.privilege_type
    from held
    cross join lateral aclexplode(held.acl) as entry
    inner join pg_catalog.pg_roles
        on pg_roles.oid = entry.grantee
    where pg_roles.rolname ~ ('^(pipeline|analyst|sink)_.*_' || rights_of.id || '$')
$$;
comment on function integration.rights_of(text) is
    'Every right in this database of the roles of the installation with this id.';

create or replace function integration.leave_to_the_original()
returns table (paused_webhooks bigint, kept_writes bigint)
language plpgsql
as $$
begin
    -- The app would be notified twice, and again of what waited.
    update integration.app_webhooks
    set state = 'paused', state_reason = 'database_copied'
    where app_webhooks.state = 'active';
    get diagnostics paused_webhooks = row_count;
    -- A webhook of the CRM sends to the original; a copy with another address would delete it there.
    delete from integration.webhooks;
    -- The original has sent them since, or will. What a caller waited for is only looked up here.
    update integration.outbox
    set state = 'conflict',
        answer = jsonb_build_object(
            'code', 'record_moved',
            'message', 'The database was copied or restored while this waited, so that the CRM may '
            'have it already. Nothing was sent since.',
            'details', jsonb_build_array()
        )
    where outbox.is_async
        and outbox.state in ('intended', 'sending');
    get diagnostics kept_writes = row_count;
    return next;
end
$$;
comment on function integration.leave_to_the_original() is
    'Ends what a copied or restored database would do outside of itself and its original does, too: it '
    'pauses webhooks of apps, forgets those of the CRM, and lets a person decide about writes that '
    'waited. Returns how many.';

create or replace function integration.renew_roles() returns void
language plpgsql
as $$
declare
    former_id text := (select installation.id from integration.installation);
    entry record;
    role text;
    named text;
begin
    -- The next run makes the functions of sinks again, with what depends on them, owned by roles of this
    -- database.
    for entry in
        select pg_proc.oid::regprocedure::text as signature
        from pg_catalog.pg_proc
        where pg_proc.pronamespace = to_regnamespace('pipeline_sinks')
    loop
        execute format('drop function %s cascade', entry.signature);
    end loop;
    -- Tokens that the original exports are not for the readers of a copy. A row that cannot be deleted
    -- now is removed by the sensor, which finds that its export is ending.
    update integration.token_exports
    set is_ending = true;
    for entry in
        select
            token_exports.external_id,
            to_regclass(
                format('%I.%I', token_exports.table_schema, token_exports.table_name)
            ) as relation
        from integration.token_exports
    loop
        begin
            execute format('delete from %s where tenant_id = $1', entry.relation)
            using entry.external_id;
        exception
            when undefined_table or syntax_error or insufficient_privilege then
                null;
        end;
    end loop;
    update integration.installation
    set id = next_id, next_id = null;
    perform integration.make_roles();
    for entry in select * from integration.rights_of(former_id) loop
        named := entry.right_name || coalesce(' (' || entry.column_name || ')', '');
        begin
            role := integration.ensure_role(integration.role_kind(entry.role_name));
            execute format('grant %s on %s to %I', named, entry.object, role);
        exception
            when insufficient_privilege then
                null; -- a role of analysts: the next change of a view grants, as on a first publication
        end;
        execute format('revoke %s on %s from %I', named, entry.object, entry.role_name);
    end loop;
    for entry in
        select
            pg_policy.polname,
            pg_policy.polrelid::regclass::text as relation,
            array_agg(
                case
                    when policy_role.oid = 0 then 'public'
                    when pg_roles.rolname ~ ('_' || former_id || '$') then quote_ident(
                        integration.ensure_role(integration.role_kind(pg_roles.rolname))
                    )
                    else quote_ident(pg_roles.rolname)
                end
            ) as roles,
            bool_or(pg_roles.rolname ~ ('_' || former_id || '$')) as is_ours
        from pg_catalog.pg_policy
        cross join unnest(pg_policy.polroles) as policy_role (oid)
        left join pg_catalog.pg_roles
            on pg_roles.oid = policy_role.oid
        group by
            pg_policy.polname,
            pg_policy.polrelid
    loop
        if entry.is_ours then
            execute format(
                'alter policy %I on %s to %s',
                entry.polname, entry.relation, array_to_string(entry.roles, ', ')
            );
        end if;
    end loop;
end
$$;
comment on function integration.renew_roles() is
    'Gives this database its next id and roles of its own: each right and policy of the former roles is '
    'theirs then. No login is a member of them but the caller. Exports of tokens end.';
