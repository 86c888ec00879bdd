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
select
    figures.month::date as month,
    figures.system as system,
    figures.pipeline_id as pipeline_id,
    pipelines.name as pipeline_name,
    figures.owner_id as owner_id,
    owners.name as owner_name,
    figures.currency as currency,
    figures.won_deals as won_deals,
    figures.won_amount as won_amount,
    figures.lost_deals as lost_deals,
    figures.lost_amount as lost_amount,
    figures.won_in_history as won_in_history,
    figures.lost_in_history as lost_in_history
from (
    select
        date_trunc('month', events.happened_at at time zone tenants.time_zone) as month,
        events.system as system,
        events.pipeline_id as pipeline_id,
        events.owner_id as owner_id,
        events.currency as currency,
        count(*) filter (where events.is_current and events.status = 'won') as won_deals,
        coalesce(sum(events.amount) filter (where events.is_current and events.status = 'won'), 0)
            as won_amount,
        count(*) filter (where events.is_current and events.status = 'lost') as lost_deals,
        coalesce(sum(events.amount) filter (where events.is_current and events.status = 'lost'), 0)
            as lost_amount,
        count(*) filter (where not events.is_current and events.status = 'won') as won_in_history,
        count(*) filter (where not events.is_current and events.status = 'lost')
            as lost_in_history
    from integration.tenants
    cross join (
        select
            deals.system as system,
            deals.pipeline_id as pipeline_id,
            deals.owner_id as owner_id,
            deals.currency as currency,
            deals.amount as amount,
            deals.status as status,
            case
                when deals.status = 'won' then coalesce(deals.won_at, deals.closed_at)
                else coalesce(deals.lost_at, deals.closed_at)
            end as happened_at,
            true as is_current
        from crm.deals
        where deals.tenant_id = current_setting('pipeline.tenant_id')
            and deals.deleted_at is null
            and deals.status in ('won', 'lost')
        union all
        select
            deals.system,
            closings.pipeline_id,
            deals.owner_id,
            deals.currency,
            null,
            closings.status,
            closings.happened_at,
            false
        from (
            -- Most visits have one win or one loss; an index has these.
            select
                history.deal_id as deal_id,
                history.pipeline_id as pipeline_id,
                case when history.won_at is not null then 'won' else 'lost' end as status,
                coalesce(history.won_at, history.lost_at) as happened_at
            from crm.deal_stage_history as history
            where history.tenant_id = current_setting('pipeline.tenant_id')
                and history.deleted_at is null
                and (history.won_at is not null or history.lost_at is not null)
                and history.reopened_at is null
                and (history.won_at is null or history.lost_at is null)
            union all
            -- Of the others the list of statuses has each.
            select
                history.deal_id,
                history.pipeline_id,
                entry.item ->> 'status',
                (entry.item ->> 'at')::timestamptz
            from crm.deal_stage_history as history
            cross join lateral jsonb_array_elements(history.statuses) as entry (item)
            where history.tenant_id = current_setting('pipeline.tenant_id')
                and history.deleted_at is null
                and (history.won_at is not null or history.lost_at is not null)
                and (
                    history.reopened_at is not null
                    or (history.won_at is not null and history.lost_at is not null)
                )
                and (entry.item ->> 'is_change')::boolean
                and entry.item ->> 'status' in ('won', 'lost')
        ) as closings
        inner join crm.deals
            on deals.tenant_id = current_setting('pipeline.tenant_id')
            and deals.id = closings.deal_id
    ) as events
    where tenants.slug = current_setting('pipeline.tenant_id')
    group by
        date_trunc('month', events.happened_at at time zone tenants.time_zone),
        events.system,
        events.pipeline_id,
        events.owner_id,
        events.currency
) as figures
left join crm.pipelines
    on pipelines.tenant_id = current_setting('pipeline.tenant_id')
    and pipelines.id = figures.pipeline_id
left join crm.users as owners
    on owners.tenant_id = current_setting('pipeline.tenant_id')
    and owners.id = figures.owner_id;

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
