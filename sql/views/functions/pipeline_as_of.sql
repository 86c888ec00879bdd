-- What was in the pipeline at the end of a day: open deals by stage and currency.
-- Grain: one row per pipeline, stage and currency that had open deals.
-- Reads: deal_stage_history_all, deals_all, tenant, with the rights of the reader.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting. The body is text on purpose: it
-- depends on no view, so that the views' columns may change.
create or replace function pipeline_as_of(day date)
returns table (
    system text,
    pipeline_id uuid,
    pipeline_name text,
    stage_id uuid,
    stage_name text,
    currency text,
    deals bigint,
    amount numeric
)
language sql stable
as $function$
select
    visits.system as system,
    visits.pipeline_id as pipeline_id,
    visits.pipeline_name as pipeline_name,
    visits.stage_id as stage_id,
    visits.stage_name as stage_name,
    amounts.currency as currency,
    count(*) as deals,
    sum(amounts.amount) as amount
from (
    select (pipeline_as_of.day + 1)::timestamp at time zone tenant.time_zone as ends_at
    from analytics_schema.tenant
) as days
inner join analytics_schema.deal_stage_history_all as visits
    on visits.entered_at < days.ends_at
    and (visits.left_at is null or visits.left_at >= days.ends_at)
    and (visits.deleted_at is null or visits.deleted_at >= days.ends_at)
inner join analytics_schema.deals_all as deals
    on deals.id = visits.deal_id
    and not coalesce(deals.is_archived and deals.archived_at < days.ends_at, false)
-- A visit that ended has the amount with which it began, if it is known.
cross join lateral (
    select
        case
            when visits.left_at is null or visits.amount is null then deals.amount
            else visits.amount
        end as amount,
        case
            when visits.left_at is null or visits.amount is null then deals.currency
            else visits.currency
        end as currency
) as amounts
where case
    -- Closed once at most, so that the two times say all; most visits are like this.
    when visits.reopened_at is null
        then coalesce(least(visits.won_at, visits.lost_at) >= days.ends_at, true)
            and visits.statuses -> 0 ->> 'status' = 'open'
    else 'open' = (
        select entry.item ->> 'status'
        from jsonb_array_elements(visits.statuses) with ordinality as entry (item, position)
        where (entry.item ->> 'at')::timestamptz < days.ends_at
        order by entry.position desc
        limit 1
    )
end
group by
    visits.system,
    visits.pipeline_id,
    visits.pipeline_name,
    visits.stage_id,
    visits.stage_name,
    amounts.currency
$function$;

comment on function pipeline_as_of(date) is
    'What was in the pipeline at the end of a day in the time zone of the tenant: deals that were '
    'open, by stage and currency, as far as deal_stage_history reaches back. Deals that are gone '
    'at the source since are counted, if they were read before. Amounts are those with which the '
    'deals came into the stage where that is known, otherwise and in the stage where they are now '
    'those of today.';
