-- How long each deal was in each stage.
-- Grain: one row per deal and stage that it visited.
-- Reads: crm.deal_stage_history, crm.deals, crm.stages, crm.pipelines.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view stage_durations
with (security_barrier = true) as
select
    visited.deal_id as deal_id,
    deals.name as deal_name,
    deals.status as deal_status,
    deals.owner_id as owner_id,
    visited.system as system,
    stages.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    visited.stage_id as stage_id,
    stages.name as stage_name,
    stages.sort as stage_sort,
    visited.visits as visits,
    visited.first_entered_at as first_entered_at,
    visited.last_entered_at as last_entered_at,
    visited.last_left_at as last_left_at,
    visited.is_there as is_there,
    round((visited.open_seconds / 86400.0)::numeric, 2) as open_days,
    visited.is_exact as is_exact
from (
    select
        history.system as system,
        history.deal_id as deal_id,
        history.stage_id as stage_id,
        count(*) as visits,
        min(history.entered_at) as first_entered_at,
        max(history.entered_at) as last_entered_at,
        case when bool_and(history.left_at is not null) then max(history.left_at) end
            as last_left_at,
        bool_or(history.left_at is null) as is_there,
        sum(
            case
                when history.open_seconds is not null then history.open_seconds
                when history.reopened_at is null
                    then extract(epoch from now() - history.entered_at)
                -- The visit goes on, and the deal was closed for a part of it.
                else (
                    select sum(extract(epoch from period.ended_at - period.began_at))
                    from (
                        select
                            entry.item ->> 'status' as status,
                            (entry.item ->> 'at')::timestamptz as began_at,
                            coalesce(
                                lead((entry.item ->> 'at')::timestamptz)
                                    over (order by entry.position),
                                now()
                            ) as ended_at
                        from jsonb_array_elements(history.statuses)
                            with ordinality as entry (item, position)
                    ) as period
                    where period.status = 'open'
                )
            end
        ) as open_seconds,
        bool_and(history.entered_at_is_exact and history.left_at_is_exact is distinct from false)
            as is_exact
    from crm.deal_stage_history as history
    where history.tenant_id = current_setting('pipeline.tenant_id')
        and history.deleted_at is null
        and history.deal_id is not null
    group by
        history.system,
        history.deal_id,
        history.stage_id
) as visited
left join crm.deals
    on deals.tenant_id = current_setting('pipeline.tenant_id')
    and deals.id = visited.deal_id
left join crm.stages
    on stages.tenant_id = current_setting('pipeline.tenant_id')
    and stages.id = visited.stage_id
left join crm.pipelines
    on pipelines.tenant_id = current_setting('pipeline.tenant_id')
    and pipelines.id = stages.pipeline_id;

comment on view stage_durations is
    'How long each deal was in each stage, all its visits together.';
comment on column stage_durations.deal_id is
    'The deal (deals.id).';
comment on column stage_durations.deal_name is
    'Title of the deal.';
comment on column stage_durations.deal_status is
    'Status of the deal now.';
comment on column stage_durations.owner_id is
    'The user (users.id) who owns the deal now.';
comment on column stage_durations.system is
    'The CRM.';
comment on column stage_durations.pipeline_id is
    'The pipeline (pipelines.id) of the stage.';
comment on column stage_durations.pipeline_name is
    'Name of the pipeline.';
comment on column stage_durations.stage_id is
    'The stage (stages.id); empty where it was never read.';
comment on column stage_durations.stage_name is
    'Name of the stage.';
comment on column stage_durations.stage_sort is
    'Place of the stage in its pipeline.';
comment on column stage_durations.visits is
    'How many times the deal came into the stage.';
comment on column stage_durations.first_entered_at is
    'When it first came into the stage.';
comment on column stage_durations.last_entered_at is
    'When it last came into the stage.';
comment on column stage_durations.last_left_at is
    'When it last left the stage; empty while it is there.';
comment on column stage_durations.is_there is
    'Whether the deal is in the stage now, open or closed.';
comment on column stage_durations.open_days is
    'Days in the stage while the deal was open, up to now where it still is; the time in which it '
    'was won or lost does not count.';
comment on column stage_durations.is_exact is
    'Whether the source gave every time; otherwise see deal_stage_history.';
