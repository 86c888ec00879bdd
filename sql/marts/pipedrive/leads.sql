-- crm.leads from Pipedrive: possible deals that nobody works on yet.
-- Entity: leads
-- Page: https://{company_domain}.pipedrive.com/leads/inbox/{id}
-- Options of channel: channel
-- Names of labels: lead_labels (name)
-- Also changed by: deals (source_lead_id)
-- Grain: one row per Pipedrive lead.
-- Reads: leads, lead_labels and deals, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- Pipedrive deletes a lead that it turns into a deal, and the deal names it. So the lead is gone as
-- soon as such a deal is read, unless the lead was edited after that deal was made.
select
    leads.id as remote_id,
    leads.organization_id::text as customer_remote_id,
    leads.person_id::text as contact_remote_id,
    leads.owner_id::text as owner_remote_id,
    leads.creator_id::text as creator_remote_id,
    conversion.deal_id::text as converted_deal_remote_id,
    leads.source_deal_id::text as source_deal_remote_id,
    leads.title as name,
    leads.source_name as source,
    leads.channel::text as channel,
    pipeline.as_numeric(money.parts -> 'amount') as amount,
    pipeline.filled(pipeline.as_text(money.parts -> 'currency')) as currency,
    pipeline.as_date(to_jsonb(leads.expected_close_date)) as expected_close_date,
    leads.is_archived as is_archived,
    leads.archive_time as archived_at,
    conversion.made_at as converted_at,
    to_jsonb(pipeline.as_options(leads.label_ids)) as labels,
    leads.visible_to::text as visible_to,
    case when conversion.deal_id is not null then 'converted' end as deletion_reason,
    conversion.deal_id is not null
    and coalesce(leads.update_time <= conversion.made_at, true) as is_deleted,
    leads.update_time as changed_at,
    leads.add_time as remote_created_at
from leads
-- `offset 0`: the parts are evaluated once, not once for each column.
left join lateral (
    select
        case
            when jsonb_typeof(leads.value) = 'object' then leads.value
            else jsonb_build_object('amount', leads.value)
        end as parts
    offset 0
) as money on true
left join (
    select distinct on (deals.source_lead_id)
        deals.source_lead_id as lead_id,
        deals.id as deal_id,
        deals.add_time as made_at
    from deals
    where deals.source_lead_id is not null
    order by
        deals.source_lead_id asc,
        deals.id asc
) as conversion
    on conversion.lead_id = leads.id
