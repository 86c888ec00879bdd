-- How much each colleague planned and did on each day.
-- Grain: one row per day, owner and kind of activity.
-- Reads: crm.activities, crm.users.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- An activity at 00:30 in Berlin is on another day in UTC: days are those of the owner.
create or replace view activities_daily
with (security_barrier = true) as
select
    figures.day as day,
    figures.system as system,
    figures.owner_id as owner_id,
    owners.name as owner_name,
    figures.kind as kind,
    figures.due as due,
    figures.due_and_done as due_and_done,
    figures.done as done
from (
    select
        events.day as day,
        events.system as system,
        events.owner_id as owner_id,
        events.kind as kind,
        sum(events.due) as due,
        coalesce(sum(events.due_and_done), 0) as due_and_done,
        sum(events.done) as done
    from (
        select
            case
                when activities.starts_at is null then activities.due_date
                else (
                    activities.starts_at at time zone coalesce(zones.name, tenants.time_zone)
                )::date
            end as day,
            activities.system as system,
            activities.owner_id as owner_id,
            activities.kind as kind,
            1 as due,
            activities.done::integer as due_and_done,
            0 as done
        from crm.activities
        cross join integration.tenants
        left join (
            -- The time zone of each user, and of the tenant for activities without an owner. The
            -- catalogue knows the names that Postgres accepts.
            select
                users.id as owner_id,
                coalesce(pg_timezone_names.name, tenants.time_zone) as name
            from integration.tenants
            inner join crm.users
                on users.tenant_id = tenants.slug
            left join pg_catalog.pg_timezone_names
                on pg_timezone_names.name = users.time_zone
            where tenants.slug = current_setting('pipeline.tenant_id')
        ) as zones
            on zones.owner_id = activities.owner_id
        where activities.tenant_id = current_setting('pipeline.tenant_id')
            and activities.deleted_at is null
            and tenants.slug = current_setting('pipeline.tenant_id')
        union all
        select
            coalesce(
                (activities.done_at at time zone coalesce(zones.name, tenants.time_zone))::date,
                case
                    when activities.starts_at is null then activities.due_date
                    else (
                        activities.starts_at at time zone coalesce(zones.name, tenants.time_zone)
                    )::date
                end
            ) as day,
            activities.system as system,
            activities.owner_id as owner_id,
            activities.kind as kind,
            0 as due,
            0 as due_and_done,
            1 as done
        from crm.activities
        cross join integration.tenants
        left join (
            -- The time zone of each user, and of the tenant for activities without an owner. The
            -- catalogue knows the names that Postgres accepts.
            select
                users.id as owner_id,
                coalesce(pg_timezone_names.name, tenants.time_zone) as name
            from integration.tenants
            inner join crm.users
                on users.tenant_id = tenants.slug
            left join pg_catalog.pg_timezone_names
                on pg_timezone_names.name = users.time_zone
            where tenants.slug = current_setting('pipeline.tenant_id')
        ) as zones
            on zones.owner_id = activities.owner_id
        where activities.tenant_id = current_setting('pipeline.tenant_id')
            and activities.deleted_at is null
            and tenants.slug = current_setting('pipeline.tenant_id')
            and activities.done
    ) as events
    where events.day is not null
    group by
        events.day,
        events.system,
        events.owner_id,
        events.kind
) as figures
left join crm.users as owners
    on owners.tenant_id = current_setting('pipeline.tenant_id')
    and owners.id = figures.owner_id;

comment on view activities_daily is
    'How much each colleague planned and did on each day, by kind of activity.';
comment on column activities_daily.day is
    'The day in the time zone of the owner; in that of the tenant where the owner''s is not known.';
comment on column activities_daily.system is
    'The CRM; empty for activities that the app made.';
comment on column activities_daily.owner_id is
    'The user (users.id) who owns the activities; empty where it is not known.';
comment on column activities_daily.owner_name is
    'Name of that user.';
comment on column activities_daily.kind is
    'meeting, call, task, email, deadline or other.';
comment on column activities_daily.due is
    'Activities that were or are due on that day, done or not.';
comment on column activities_daily.due_and_done is
    'Those of them that are done by now.';
comment on column activities_daily.done is
    'Activities that were marked as done on that day, whenever they were due; on the day on which '
    'they were due where the CRM does not say.';
