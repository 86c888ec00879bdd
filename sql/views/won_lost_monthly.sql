-- Deals won and lost in each month, by what they are now, and by what happened.
-- Grain: one row per month, pipeline, owner and currency.
-- Reads: crm.deals, crm.deal_stage_history, crm.pipelines, crm.users.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- A deal that was won in May, reopened, and lost in June: lost in June by what it is now; by the
-- history won in May and lost in June.
create or replace view won_lost_monthly
with (security_barrier = true) as
with events as (
    select
        deals.id as deal_id,
        deals.pipeline_id as pipeline_id,
        deals.status as status,
        case when deals.status = 'won' then coalesce(deals.won_at, deals.closed_at)
            else coalesce(deals.lost_at, deals.closed_at) end as happened_at,
        true as is_current
    from crm.deals
    where deals.tenant_id = current_setting('pipeline.tenant_id')
        and deals.deleted_at is null
        and deals.status in ('won', 'lost')
    union all
    select
        history.deal_id,
        history.pipeline_id,
        entry.item ->> 'status',
        (entry.item ->> 'at')::timestamptz,
        false
    from crm.deal_stage_history as history
    cross join lateral jsonb_array_elements(history.statuses)
        with ordinality as entry (item, position)
    where history.tenant_id = current_setting('pipeline.tenant_id')
        and history.deleted_at is null
        and (history.won_at is not null or history.lost_at is not null)
        and entry.item ->> 'status' in ('won', 'lost')
        -- The first status of a visit is the one that the deal came with.
        and (
            entry.position > 1
            or (entry.item ->> 'at')::timestamptz in (history.won_at, history.lost_at)
        )
)

select
    date_trunc('month', events.happened_at at time zone tenants.time_zone)::date as month,
    deals.system as system,
    events.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    deals.owner_id as owner_id,
    owners.name as owner_name,
    deals.currency as currency,
    count(*) filter (where events.is_current and events.status = 'won') as won_deals,
    coalesce(sum(deals.amount) filter (where events.is_current and events.status = 'won'), 0)
        as won_amount,
    count(*) filter (where events.is_current and events.status = 'lost') as lost_deals,
    coalesce(sum(deals.amount) filter (where events.is_current and events.status = 'lost'), 0)
        as lost_amount,
    count(*) filter (where not events.is_current and events.status = 'won') as won_in_history,
    count(*) filter (where not events.is_current and events.status = 'lost') as lost_in_history
from events
inner join crm.deals
    on deals.tenant_id = current_setting('pipeline.tenant_id')
    and deals.id = events.deal_id
inner join integration.tenants
    on tenants.slug = deals.tenant_id
left join crm.pipelines
    on pipelines.tenant_id = deals.tenant_id
    and pipelines.id = events.pipeline_id
left join crm.users as owners
    on owners.tenant_id = deals.tenant_id
    and owners.id = deals.owner_id
group by
    date_trunc('month', events.happened_at at time zone tenants.time_zone),
    deals.system,
    events.pipeline_id,
    pipelines.name,
    deals.owner_id,
    owners.name,
    deals.currency;

comment on view won_lost_monthly is
    'Deals won and lost in each month, by what they are now and by what happened; numbers may be '
    'added up over pipelines and owners, amounts within one currency only.';
comment on column won_lost_monthly.month is
    'First day of the month, in the time zone of the tenant; empty where the CRM gives no time.';
comment on column won_lost_monthly.system is
    'The CRM; empty for deals that the app made.';
comment on column won_lost_monthly.pipeline_id is
    'The pipeline (pipelines.id); by history the one that the deal was in then.';
comment on column won_lost_monthly.pipeline_name is
    'Name of the pipeline.';
comment on column won_lost_monthly.owner_id is
    'The user (users.id) who owns the deal now; empty where it is not known.';
comment on column won_lost_monthly.owner_name is
    'Name of that user.';
comment on column won_lost_monthly.currency is
    'Currency of the amounts; never add up two currencies.';
comment on column won_lost_monthly.won_deals is
    'Deals that are won now and were won in this month. A deal that was reopened since is not '
    'among them: earlier months may change.';
comment on column won_lost_monthly.won_amount is
    'Sum of their amounts.';
comment on column won_lost_monthly.lost_deals is
    'Deals that are lost now and were lost in this month.';
comment on column won_lost_monthly.lost_amount is
    'Sum of their amounts.';
comment on column won_lost_monthly.won_in_history is
    'How many times a deal was won in this month, also if it was reopened since; from '
    'deal_stage_history, as far as that reaches back.';
comment on column won_lost_monthly.lost_in_history is
    'How many times a deal was lost in this month, also if it was reopened since.';
