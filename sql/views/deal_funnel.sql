-- How many deals reached each stage, how many went on, and how long they took.
-- Grain: one row per stage.
-- Reads: crm.deal_stage_history, crm.deals, crm.stages, crm.pipelines.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view deal_funnel
with (security_barrier = true) as
with depths as (
    select
        deepest.pipeline_id as pipeline_id,
        deepest.sort as sort,
        count(*) as deals,
        count(*) filter (where deals.status = 'won') as won_deals
    from (
        select
            history.deal_id as deal_id,
            stages.pipeline_id as pipeline_id,
            max(stages.sort) as sort
        from crm.deal_stage_history as history
        inner join crm.stages
            on stages.tenant_id = history.tenant_id
            and stages.id = history.stage_id
        where history.tenant_id = current_setting('pipeline.tenant_id')
            and history.deleted_at is null
            and history.deal_id is not null
            and history.stage_id is not null
        group by
            history.deal_id,
            stages.pipeline_id
    ) as deepest
    inner join crm.deals
        on deals.tenant_id = current_setting('pipeline.tenant_id')
        and deals.id = deepest.deal_id
    group by
        deepest.pipeline_id,
        deepest.sort
),

of_stages as (
    select
        visited.stage_id as stage_id,
        count(*) as deals_visited,
        percentile_cont(0.5) within group (order by visited.open_seconds)
            filter (where visited.open_seconds > 0) / 86400.0 as median_days
    from (
        select
            history.stage_id as stage_id,
            -- Null while the deal is in the stage and open.
            case
                when count(history.open_seconds) = count(*)
                    then sum(history.open_seconds::double precision)
            end as open_seconds
        from crm.deal_stage_history as history
        where history.tenant_id = current_setting('pipeline.tenant_id')
            and history.deleted_at is null
            and history.deal_id is not null
            and history.stage_id is not null
        group by
            history.stage_id,
            history.deal_id
    ) as visited
    group by visited.stage_id
),

reached as (
    select
        stages.id as stage_id,
        coalesce(sum(depths.deals), 0) as deals_reached,
        coalesce(sum(depths.won_deals), 0) as won_deals
    from crm.stages
    left join depths
        on depths.pipeline_id = stages.pipeline_id
        and depths.sort >= stages.sort
    where stages.tenant_id = current_setting('pipeline.tenant_id')
    group by stages.id
)

select
    stages.system as system,
    stages.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    stages.id as stage_id,
    stages.name as stage_name,
    stages.sort as stage_sort,
    reached.deals_reached::bigint as deals_reached,
    coalesce(of_stages.deals_visited, 0) as deals_visited,
    round(
        lead(reached.deals_reached) over next_stage / nullif(reached.deals_reached, 0), 4
    ) as next_stage_share,
    reached.won_deals::bigint as won_deals,
    round(reached.won_deals / nullif(reached.deals_reached, 0), 4) as won_share,
    round(of_stages.median_days::numeric, 2) as median_days
from crm.stages
inner join reached
    on reached.stage_id = stages.id
left join of_stages
    on of_stages.stage_id = stages.id
left join crm.pipelines
    on pipelines.tenant_id = stages.tenant_id
    and pipelines.id = stages.pipeline_id
where stages.tenant_id = current_setting('pipeline.tenant_id')
    and stages.deleted_at is null
    and pipelines.deleted_at is null
window next_stage as (
    partition by stages.pipeline_id
    order by
        stages.sort asc,
        stages.name asc,
        stages.id asc
);

comment on view deal_funnel is
    'How many deals reached each stage, how many went on, and how long they took; from the history '
    'of stages, all deals since it begins. Deals that are gone at the source are not counted.';
comment on column deal_funnel.system is
    'The CRM.';
comment on column deal_funnel.pipeline_id is
    'The pipeline (pipelines.id).';
comment on column deal_funnel.pipeline_name is
    'Name of the pipeline.';
comment on column deal_funnel.stage_id is
    'The stage (stages.id).';
comment on column deal_funnel.stage_name is
    'Name of the stage.';
comment on column deal_funnel.stage_sort is
    'Place of the stage in its pipeline.';
comment on column deal_funnel.deals_reached is
    'Deals that were in this stage or in a later one of the pipeline, each counted once. A deal '
    'that skipped the stage reached it too; so did one that came back from a later stage.';
comment on column deal_funnel.deals_visited is
    'Deals that were in this stage itself, each counted once.';
comment on column deal_funnel.next_stage_share is
    'Share, 0 to 1, of the deals that reached this stage and reached the next one as well; empty '
    'in the last stage.';
comment on column deal_funnel.won_deals is
    'Deals that reached this stage and are won now.';
comment on column deal_funnel.won_share is
    'Share, 0 to 1, of the deals that reached this stage and are won now.';
comment on column deal_funnel.median_days is
    'Half of the deals were open in this stage for at most so many days, all their visits '
    'together; without deals that are open in it now, and without those that passed it in no time.';
