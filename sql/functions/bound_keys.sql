-- Keys that are bound to a user of the CRM see only what that user may see.
-- What: key_user, key_system, key_group, seen_by_group, seen_by_everybody; bind_to_users.
-- Reads: integration.installation.
-- Needs: 0001_installation.sql, roles.sql.

create or replace function pipeline.key_user() returns uuid
language sql stable
as $$
    select nullif(current_setting('pipeline.crm_user_id', true), '')::uuid
$$;
comment on function pipeline.key_user() is
    'The user whose rights this transaction has, crm.users.id; null: it sees every row of its '
    'tenant.';

create or replace function pipeline.key_system() returns text
language sql stable
as $$
    select nullif(current_setting('pipeline.crm_system', true), '')
$$;
comment on function pipeline.key_system() is
    'The system of that user.';

create or replace function pipeline.key_group() returns uuid[]
language sql stable
as $$
    select nullif(current_setting('pipeline.crm_group', true), '')::uuid[]
$$;
comment on function pipeline.key_group() is
    'That user, and the users of the system with the same role.';

create or replace function pipeline.seen_by_group() returns text[]
language sql stable
as $$
    select nullif(current_setting('pipeline.seen_by_group', true), '')::text[]
$$;
comment on function pipeline.seen_by_group() is
    'Values of visible_to with which the owner''s group sees a record.';

create or replace function pipeline.seen_by_everybody() returns text[]
language sql stable
as $$
    select nullif(current_setting('pipeline.seen_by_everybody', true), '')::text[]
$$;
comment on function pipeline.seen_by_everybody() is
    'Values of visible_to with which everybody sees a record.';

create or replace function integration.bind_to_users(relation regclass, condition text) returns void
language plpgsql
as $$
begin
    -- In the app's own policy, not in a restrictive one: the engine, which is a member of both roles,
    -- would have to meet that, too.
    execute format(
        'alter policy app on %s using ('
        'tenant_id = (select nullif(current_setting(''pipeline.tenant_id'', true), '''')) and (%s))',
        relation, condition
    );
end
$$;
comment on function integration.bind_to_users(regclass, text) is
    'Lets the app see only those rows of its tenant that meet a condition; after integration.isolate.';
