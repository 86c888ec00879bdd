-- What was in the pipeline at the end of a day: open deals by stage and currency.
-- Grain: one row per pipeline, stage and currency that had open deals.
-- Reads: deal_stage_history_all, deals_all, pipelines_all, stages_all and tenant, with the rights of
--        the reader.
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
    figures.system as system,
    figures.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    figures.stage_id as stage_id,
    stages.name as stage_name,
    figures.currency as currency,
    figures.deals as deals,
    figures.amount as amount
from (
    select
        visits.system as system,
        visits.pipeline_id as pipeline_id,
        visits.stage_id as stage_id,
        case when visits.has_own_amount then visits.currency else deals.currency end as currency,
        count(*) as deals,
        sum(case when visits.has_own_amount then visits.amount else deals.amount end) as amount
    from (
        select
            history.system as system,
            history.deal_remote_id as deal_remote_id,
            history.deleted_at as deleted_at,
            history.pipeline_id as pipeline_id,
            history.stage_id as stage_id,
            history.amount as amount,
            history.currency as currency,
            -- A visit that ended has the amount with which it began, if it is known.
            history.left_at is not null and history.amount is not null as has_own_amount,
            days.ends_at as ends_at
        from (
            select (pipeline_as_of.day + 1)::timestamp at time zone tenant.time_zone as ends_at
            from analytics_schema.tenant
            offset 0 -- the time is computed once, not once a comparison
        ) as days
        inner join analytics_schema.deal_stage_history_all as history
            on history.entered_at < days.ends_at
            and coalesce(history.left_at >= days.ends_at, true)
            and case
                -- Closed once at most, so that the two times say all; most visits are like this.
                when history.reopened_at is null
                    then coalesce(least(history.won_at, history.lost_at) >= days.ends_at, true)
                        and history.statuses -> 0 ->> 'status' = 'open'
                else 'open' = (
                    select entry.item ->> 'status'
                    from jsonb_array_elements(history.statuses)
                        with ordinality as entry (item, position)
                    where (entry.item ->> 'at')::timestamptz < days.ends_at
                    order by entry.position desc
                    limit 1
                )
            end
    ) as visits
    -- By its own id: a deal that was merged was there, and not as the one that it was merged into.
    inner join analytics_schema.deals_all as deals
        on deals.remote_id = visits.deal_remote_id
        and deals.system = visits.system
        -- A visit may be gone because a better one took its place: then it never counts.
        and case
            when deals.deleted_at is null then visits.deleted_at is null
            else deals.deleted_at >= visits.ends_at
                and coalesce(visits.deleted_at >= deals.deleted_at, true)
        end
        and not coalesce(deals.is_archived and deals.archived_at < visits.ends_at, false)
    group by
        visits.system,
        visits.pipeline_id,
        visits.stage_id,
        case when visits.has_own_amount then visits.currency else deals.currency end
) as figures
left join analytics_schema.pipelines_all as pipelines
    on pipelines.id = figures.pipeline_id
left join analytics_schema.stages_all as stages
    on stages.id = figures.stage_id
$function$;

comment on function pipeline_as_of(date) is
    'What was in the pipeline at the end of a day in the time zone of the tenant: deals that were '
    'open, by stage and currency, as far as deal_stage_history reaches back. Deals that are gone '
    'at the source since are counted, if they were read before; a deal that was archived or deleted '
    'for a while and is back is counted for that while too. Amounts are those with which the '
    'deals came into the stage where that is known, otherwise and in the stage where they are now '
    'those of today.';
