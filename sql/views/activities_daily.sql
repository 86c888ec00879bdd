-- How much each colleague planned and did on each day.
-- Grain: one row per day, owner and kind of activity.
-- Reads: crm.activities, crm.users.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- An activity at 00:30 in Berlin is on another day in UTC: days are those of the owner.
-- `limit all` keeps a reader's condition on the day out of the sub-select: an activity's days are
-- computed once, and not once for each comparison.
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
        dated.day as day,
        dated.system as system,
        dated.owner_id as owner_id,
        dated.kind as kind,
        count(*) filter (where dated.is_due) as due,
        count(*) filter (where dated.is_due and dated.done) as due_and_done,
        count(*) filter (where not dated.is_due) as done
    from (
        select
            case
                when event.is_due or zoned.done_at is null then zoned.due_on
                else (zoned.done_at at time zone zoned.zone)::date
            end as day,
            event.is_due as is_due,
            zoned.done as done,
            zoned.system as system,
            zoned.owner_id as owner_id,
            zoned.kind as kind
        from (
            select
                coalesce(
                    (
                        activities.starts_at
                        at time zone coalesce(zones.name, tenants.time_zone)
                    )::date,
                    activities.due_date
                ) as due_on,
                coalesce(zones.name, tenants.time_zone) as zone,
                activities.done_at as done_at,
                activities.done as done,
                activities.system as system,
                activities.owner_id as owner_id,
                activities.kind as kind
            from crm.activities
            cross join integration.tenants
            left join (
                -- The time zones of users whose names Postgres accepts; else the tenant's is used.
                select
                    users.id as owner_id,
                    pg_timezone_names.name as name
                from crm.users
                inner join pg_catalog.pg_timezone_names
                    on pg_timezone_names.name = users.time_zone
                where users.tenant_id = current_setting('pipeline.tenant_id')
            ) as zones
                on zones.owner_id = activities.owner_id
            where activities.tenant_id = current_setting('pipeline.tenant_id')
                and activities.deleted_at is null
                and tenants.slug = current_setting('pipeline.tenant_id')
            limit all
        ) as zoned
        -- Each activity is due once, and one that is done was done once.
        inner join (
            values
            (true),
            (false)
        ) as event (is_due)
            on event.is_due
            or zoned.done
        limit all
    ) as dated
    where dated.day is not null
    group by
        dated.day,
        dated.system,
        dated.owner_id,
        dated.kind
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
