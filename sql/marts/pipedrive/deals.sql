-- crm.deals from Pipedrive: possible and closed sales.
-- Entity: deals
-- Page: https://{company_domain}.pipedrive.com/deal/{id}
-- Options of labels: label, label_ids
-- Options of channel: channel
-- Also changed by: leads (source_deal_id)
-- Grain: one row per Pipedrive deal, archived or not.
-- Reads: deals and leads, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- A deleted deal has the status `deleted`; the times say which one it had before.
select
    deals.id as remote_id,
    deals.org_id::text as customer_remote_id,
    deals.person_id::text as contact_remote_id,
    deals.owner_id::text as owner_remote_id,
    deals.creator_user_id::text as creator_remote_id,
    deals.pipeline_id::text as pipeline_remote_id,
    deals.stage_id::text as stage_remote_id,
    deals.source_lead_id as lead_remote_id,
    conversion.lead_id as converted_lead_remote_id,
    deals.title as name,
    case
        when deals.status <> 'deleted' then deals.status
        when deals.won_time is not null then 'won'
        when deals.lost_time is not null then 'lost'
        when deals.status is not null then 'open'
    end as status,
    -- Raw pads to nine digits after the point.
    trim_scale(deals.value::numeric) as amount,
    deals.currency as currency,
    trim_scale(deals.probability::numeric) as probability,
    trim_scale(deals.mrr::numeric) as mrr,
    trim_scale(deals.arr::numeric) as arr,
    trim_scale(deals.acv::numeric) as acv,
    pipeline.as_date(to_jsonb(deals.expected_close_date)) as expected_close_date,
    deals.stage_change_time as stage_changed_at,
    deals.close_time as closed_at,
    deals.won_time as won_at,
    deals.lost_time as lost_at,
    deals.first_won_time as first_won_at,
    deals.lost_reason as lost_reason,
    deals.origin as source,
    deals.channel::text as channel,
    deals.is_archived as is_archived,
    deals.archive_time as archived_at,
    case
        when deals.label_ids = '[]' or pipeline.are_plain_options(deals.label_ids)
            then deals.label_ids
        else to_jsonb(pipeline.as_options(deals.label_ids))
    end as labels,
    deals.visible_to::text as visible_to,
    case when conversion.lead_id is not null then 'converted' end as deletion_reason,
    coalesce(deals.is_deleted, false) or coalesce(deals.status = 'deleted', false) as is_deleted,
    deals.update_time as changed_at,
    deals.add_time as remote_created_at
from deals
left join (
    select distinct on (leads.source_deal_id)
        leads.source_deal_id as deal_id,
        leads.id as lead_id
    from leads
    where leads.source_deal_id is not null
    order by
        leads.source_deal_id asc,
        leads.id asc
) as conversion
    on conversion.deal_id = deals.id
