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
),

live_activities as (
    select
        activities.system as system,
        activities.owner_id as owner_id,
        owners.name as owner_name,
        activities.kind as kind,
        activities.done as is_done,
        case
            when activities.starts_at is null then activities.due_date
            else (activities.starts_at at time zone coalesce(owners.time_zone, tenants.time_zone))::date
        end as due_on,
        (activities.done_at at time zone coalesce(owners.time_zone, tenants.time_zone))::date as done_on
    from crm.activities
    inner join integration.tenants
        on tenants.slug = activities.tenant_id
    left join owners
        on owners.id = activities.owner_id
    where activities.tenant_id = current_setting('pipeline.tenant_id')
        and activities.deleted_at is null
)

select
    events.day as day,
    events.system as system,
    events.owner_id as owner_id,
    events.owner_name as owner_name,
    events.kind as kind,
    sum(events.due) as due,
    sum(events.due_and_done) as due_and_done,
    sum(events.done) as done
from (
    select
        live_activities.due_on as day,
        live_activities.system as system,
        live_activities.owner_id as owner_id,
        live_activities.owner_name as owner_name,
        live_activities.kind as kind,
        1 as due,
        live_activities.is_done::integer as due_and_done,
        0 as done
    from live_activities
    where live_activities.due_on is not null
    union all
    select
        coalesce(live_activities.done_on, live_activities.due_on),
        live_activities.system,
        live_activities.owner_id,
        live_activities.owner_name,
        live_activities.kind,
        0,
        0,
        1
    from live_activities
    where live_activities.is_done
        and coalesce(live_activities.done_on, live_activities.due_on) is not null
) as events
group by
    events.day,
    events.system,
    events.owner_id,
    events.owner_name,
    events.kind;

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
