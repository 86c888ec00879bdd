-- crm.activities from Pipedrive: what was or is to be done.
-- Entity: activities
-- Options of outcome: outcome
-- Options of priority: priority
-- Also reads: activity_types (key_string, icon_key)
-- Grain: one row per Pipedrive activity.
-- Reads: activities and activity_types, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- Pipedrive has a key for each type and lets a company make its own: those are as their icon says.
-- The day and the time are UTC; an activity without a time begins at no instant.
select
    activities.id as remote_id,
    activities.org_id::text as customer_remote_id,
    activities.person_id::text as contact_remote_id,
    activities.deal_id::text as deal_remote_id,
    activities.lead_id as lead_remote_id,
    activities.owner_id::text as owner_remote_id,
    activities.creator_user_id::text as creator_remote_id,
    case
        when activities.type in ('meeting', 'call', 'task', 'email', 'deadline')
            then activities.type
        when activities.type = 'lunch' or kinds.icon in ('meeting', 'lunch', 'calendar')
            then 'meeting'
        when kinds.icon in ('call', 'task', 'email', 'deadline') then kinds.icon
        else 'other'
    end as kind,
    activities.type as remote_kind,
    activities.subject as subject,
    activities.note as body,
    case
        when pipeline.is_plain_address(activities.location) then activities.location
        else pipeline.address_parts(activities.location)
    end ->> 'value' as location,
    planned.due_date as due_date,
    (planned.due_date + planned.due_time) at time zone 'UTC' as starts_at,
    (planned.due_date + planned.due_time + planned.duration) at time zone 'UTC' as ends_at,
    planned.duration as duration,
    planned.due_date is not null and nullif(activities.due_time, '') is null as all_day,
    activities.done as done,
    activities.marked_as_done_time as done_at,
    activities.outcome::text as outcome,
    activities.priority::text as priority,
    activities.busy as busy,
    activities.conference_meeting_url as conference_url,
    activities.is_deleted as is_deleted,
    activities.update_time as changed_at,
    activities.add_time as remote_created_at
from activities
-- `offset 0`: the parts are evaluated once, not once for each column.
left join lateral (
    select
        pipeline.as_date(to_jsonb(activities.due_date)) as due_date,
        pipeline.as_time(to_jsonb(activities.due_time)) as due_time,
        pipeline.as_interval(to_jsonb(activities.duration)) as duration
    offset 0
) as planned on true
left join (
    select
        activity_types.key_string as type,
        max(activity_types.icon_key) as icon
    from activity_types
    group by activity_types.key_string
) as kinds
    on kinds.type = activities.type
