-- What is in the pipeline now: open deals by stage and currency.
-- Grain: one row per pipeline, stage and currency that has open deals.
-- Reads: crm.deals, crm.stages, crm.pipelines.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view pipeline_today
with (security_barrier = true) as
select
    open_deals.system as system,
    open_deals.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    open_deals.stage_id as stage_id,
    stages.name as stage_name,
    stages.sort as stage_sort,
    open_deals.currency as currency,
    count(*) as deals,
    sum(open_deals.amount) as amount,
    case
        when pipelines.probability_used is distinct from false
            then sum(
                open_deals.amount
                * coalesce(open_deals.probability, stages.probability, 100) / 100
            )
    end as weighted_amount,
    round(
        percentile_cont(0.5) within group (order by open_deals.days_in_stage)::numeric, 1
    ) as median_days_in_stage,
    round(max(open_deals.days_in_stage)::numeric, 1) as longest_days_in_stage,
    count(*) filter (
        where open_deals.expected_close_date < open_deals.today
    ) as overdue_deals
from (
    select
        deals.system as system,
        deals.pipeline_id as pipeline_id,
        deals.stage_id as stage_id,
        deals.currency as currency,
        deals.amount as amount,
        deals.probability as probability,
        deals.expected_close_date as expected_close_date,
        (now() at time zone tenants.time_zone)::date as today,
        extract(
            epoch from now() - coalesce(deals.stage_changed_at, deals.remote_created_at)
        ) / 86400.0 as days_in_stage
    from crm.deals
    inner join integration.tenants
        on tenants.slug = deals.tenant_id
    where deals.tenant_id = current_setting('pipeline.tenant_id')
        and deals.deleted_at is null
        and deals.status = 'open'
        and deals.is_archived is not true
) as open_deals
left join crm.stages
    on stages.tenant_id = current_setting('pipeline.tenant_id')
    and stages.id = open_deals.stage_id
left join crm.pipelines
    on pipelines.tenant_id = current_setting('pipeline.tenant_id')
    and pipelines.id = open_deals.pipeline_id
group by
    open_deals.system,
    open_deals.pipeline_id,
    pipelines.name,
    pipelines.probability_used,
    open_deals.stage_id,
    stages.name,
    stages.sort,
    open_deals.currency;

comment on view pipeline_today is
    'What is in the pipeline now: deals that are open and not archived, by stage and currency.';
comment on column pipeline_today.system is
    'The CRM; empty for deals that the app made.';
comment on column pipeline_today.pipeline_id is
    'The pipeline (pipelines.id); empty where it is not known.';
comment on column pipeline_today.pipeline_name is
    'Name of the pipeline.';
comment on column pipeline_today.stage_id is
    'The stage (stages.id); empty where it is not known.';
comment on column pipeline_today.stage_name is
    'Name of the stage.';
comment on column pipeline_today.stage_sort is
    'Place of the stage in its pipeline.';
comment on column pipeline_today.currency is
    'Currency of the amounts; never add up two currencies.';
comment on column pipeline_today.deals is
    'Number of deals.';
comment on column pipeline_today.amount is
    'Sum of their amounts.';
comment on column pipeline_today.weighted_amount is
    'Sum of their amounts times the chance to be won: the deal''s own, else that of its stage, else '
    '100 %. Empty where the pipeline does not use probabilities.';
comment on column pipeline_today.median_days_in_stage is
    'Half of the deals are in this stage for at most so many days.';
comment on column pipeline_today.longest_days_in_stage is
    'Days of the deal that is in this stage for the longest time.';
comment on column pipeline_today.overdue_deals is
    'Deals whose expected close date is over, in the time zone of the tenant.';
