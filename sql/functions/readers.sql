-- Logins that read the rows of their tenants in crm, and nothing else.
-- What: tenants_of_login, add_reader, remove_reader.
-- Reads: integration.reader_logins.
-- Needs: roles.sql.
--
-- The tenant follows from the login itself, not from a setting that the login could change.

create or replace function integration.tenants_of_login() returns setof text
language plpgsql stable security definer
set search_path = ''
as $$
begin
    -- session_user is who signed in; `set role` does not change it.
    return query
        select reader_logins.tenant_id
        from integration.reader_logins
        where reader_logins.login = session_user;
end
$$;
comment on function integration.tenants_of_login() is
    'The tenants whose rows the login of this session may read.';

create or replace function integration.add_reader(login text, tenant text) returns void
language plpgsql
as $$
begin
    perform integration.grant_role('reader', login);
    insert into integration.reader_logins (login, tenant_id)
    values (login, tenant)
    on conflict do nothing;
end
$$;
comment on function integration.add_reader(text, text) is
    'Lets a login read the rows of a tenant in crm; call it once for each tenant.';

create or replace function integration.remove_reader(login text, tenant text) returns void
language plpgsql
as $$
begin
    delete from integration.reader_logins
    where reader_logins.login = remove_reader.login
        and reader_logins.tenant_id = remove_reader.tenant;
end
$$;
comment on function integration.remove_reader(text, text) is
    'Ends what `add_reader` allowed; sessions that are open read nothing more of that tenant.';

do $$
begin
    revoke execute on function integration.tenants_of_login() from public;
    revoke execute on function integration.add_reader(text, text) from public;
    revoke execute on function integration.remove_reader(text, text) from public;
end
$$;
