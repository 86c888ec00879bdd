-- How many deals reached each stage, how many went on, and how long they took.
-- Grain: one row per stage.
-- Reads: crm.deal_stage_history, crm.stages, crm.pipelines.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- Few deals go another way than all others: deals are counted by the stages that they visited, and
-- each way is compared with the order of the stages once. Both parts of the union read an index of
-- the history that has what they need, in its order.
create or replace view deal_funnel
with (security_barrier = true) as
select
    figures.system as system,
    figures.pipeline_id as pipeline_id,
    figures.pipeline_name as pipeline_name,
    figures.stage_id as stage_id,
    figures.stage_name as stage_name,
    figures.stage_sort as stage_sort,
    figures.deals_reached::bigint as deals_reached,
    figures.deals_visited as deals_visited,
    round(
        lead(figures.deals_reached) over next_stage / nullif(figures.deals_reached, 0), 4
    ) as next_stage_share,
    figures.won_deals::bigint as won_deals,
    round(figures.won_deals / nullif(figures.deals_reached, 0), 4) as won_share,
    round(figures.median_days::numeric, 2) as median_days
from (
    select
        stages.system as system,
        stages.pipeline_id as pipeline_id,
        pipelines.name as pipeline_name,
        stages.id as stage_id,
        stages.name as stage_name,
        stages.sort as stage_sort,
        coalesce(sum(counted.deals), 0) as deals_reached,
        coalesce(sum(counted.won_deals), 0) as won_deals,
        coalesce(max(counted.deals_visited), 0) as deals_visited,
        max(counted.median_days) as median_days
    from crm.stages
    left join crm.pipelines
        on pipelines.tenant_id = stages.tenant_id
        and pipelines.id = stages.pipeline_id
    left join (
        select
            deepest.pipeline_id as pipeline_id,
            deepest.sort as sort,
            null::uuid as stage_id,
            ways.deals as deals,
            ways.won_deals as won_deals,
            null::bigint as deals_visited,
            null::double precision as median_days
        from (
            select
                history.system as system,
                history.stages_visited as stages_visited,
                count(*) as deals,
                count(*) filter (where history.last_status = 'won') as won_deals
            from crm.deal_stage_history as history
            where history.tenant_id = current_setting('pipeline.tenant_id')
                and history.left_at is null
                and history.deleted_at is null
            group by
                history.system,
                history.stages_visited
        ) as ways
        cross join lateral (
            select
                stages.pipeline_id as pipeline_id,
                max(stages.sort) as sort
            from crm.stages
            where stages.tenant_id = current_setting('pipeline.tenant_id')
                and stages.system = ways.system
                and stages.remote_id = any (ways.stages_visited)
            group by stages.pipeline_id
        ) as deepest
        union all
        select
            null,
            null,
            history.stage_id,
            null,
            null,
            count(*),
            percentile_cont(0.5) within group (order by history.stage_open_seconds)
                filter (where history.stage_open_seconds > 0) / 86400.0
        from crm.deal_stage_history as history
        where history.tenant_id = current_setting('pipeline.tenant_id')
            and history.is_last_in_stage
            and history.stage_id is not null
            and history.deleted_at is null
        group by history.stage_id
    ) as counted
        on counted.stage_id = stages.id
        or (
            counted.pipeline_id = stages.pipeline_id
            and counted.sort >= stages.sort
        )
    where stages.tenant_id = current_setting('pipeline.tenant_id')
        and stages.deleted_at is null
        and pipelines.deleted_at is null
    group by
        stages.id,
        pipelines.id
) as figures
window next_stage as (
    partition by figures.pipeline_id
    order by
        figures.stage_sort asc,
        figures.stage_name asc,
        figures.stage_id asc
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
