-- crm.notes from Pipedrive: notes on deals, leads, people and companies.
-- Entity: notes
-- Grain: one row per Pipedrive note.
-- Reads: notes, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- A note on a deal comes with the deal's person and organization too; it is one note.
select
    notes.id as remote_id,
    notes.org_id::text as customer_remote_id,
    notes.person_id::text as contact_remote_id,
    notes.deal_id::text as deal_remote_id,
    notes.lead_id as lead_remote_id,
    notes.user_id::text as author_remote_id,
    notes.content as body,
    pipeline.plain_text(notes.content) as body_text,
    case
        when notes.deal_id is not null then 'deal'
        when notes.lead_id is not null then 'lead'
        when notes.person_id is not null then 'contact'
        when notes.org_id is not null then 'customer'
    end as noted_on,
    array_remove(
        array[
            case when notes.pinned_to_deal_flag then 'deal' end,
            case when notes.pinned_to_lead_flag then 'lead' end,
            case when notes.pinned_to_person_flag then 'contact' end,
            case when notes.pinned_to_organization_flag then 'customer' end
        ],
        null
    ) as pinned_to,
    notes.active_flag is false as is_deleted,
    notes.update_time as changed_at,
    notes.add_time as remote_created_at
from notes
