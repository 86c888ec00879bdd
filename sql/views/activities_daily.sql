-- How much each colleague planned and did on each day.
-- Grain: one row per day, owner and kind of activity.
-- Reads: crm.activities, crm.users.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- An activity at 00:30 in Berlin is on another day in UTC: days are those of the owner.
create or replace view activities_daily
with (security_barrier = true) as
with owners as materialized (
    select
        users.id as id,
        users.name as name,
        pipeline.time_zone_or(users.time_zone, tenants.time_zone) as time_zone
    from integration.tenants
    inner join crm.users
        on users.tenant_id = tenants.slug
    where tenants.slug = current_setting('pipeline.tenant_id')
)

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
        event.day as day,
        activities.system as system,
        activities.owner_id as owner_id,
        activities.kind as kind,
        count(*) filter (where event.is_due) as due,
        count(*) filter (where event.is_due and activities.done) as due_and_done,
        count(*) filter (where event.is_done) as done
    from crm.activities
    cross join integration.tenants
    left join owners
        on owners.id = activities.owner_id
    cross join lateral (
        select
            case
                when activities.starts_at is null then activities.due_date
                else (
                    activities.starts_at at time zone coalesce(owners.time_zone, tenants.time_zone)
                )::date
            end as due_on,
            (activities.done_at at time zone coalesce(owners.time_zone, tenants.time_zone))::date
                as marked_on
    ) as days
    -- One row for an activity that was done on the day on which it was due, else two.
    cross join lateral (
        select
            days.due_on as day,
            true as is_due,
            activities.done and coalesce(days.marked_on = days.due_on, true) as is_done
        where days.due_on is not null
        union all
        select
            days.marked_on,
            false,
            true
        where activities.done
            and days.marked_on is distinct from days.due_on
            and days.marked_on is not null
    ) as event
    where activities.tenant_id = current_setting('pipeline.tenant_id')
        and activities.deleted_at is null
        and tenants.slug = current_setting('pipeline.tenant_id')
    group by
        event.day,
        activities.system,
        activities.owner_id,
        activities.kind
) as figures
left join owners
    on owners.id = figures.owner_id;

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
