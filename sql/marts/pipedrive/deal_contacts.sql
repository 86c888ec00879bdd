-- crm.deal_contacts from Pipedrive: people who take part in deals.
-- Entity: deals
-- Also changed by: deal_participants (deal_id)
-- Grain: one row per Pipedrive deal and person.
-- Reads: deals, deal_participants and deletions, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- The main person of a deal is always known; the others only where participants are read, which
-- costs a call for each deal. Pipedrive lists the main person among them.
select
    deals.id as record_id,
    deals.id::text || '/' || person.id::text as remote_id,
    deals.id::text as deal_remote_id,
    person.id::text as contact_remote_id,
    person.is_primary as is_primary,
    person.added_at as added_at,
    coalesce(deals.is_deleted, false) or coalesce(deals.status = 'deleted', false) as is_deleted
from deals
left join (
    select
        deal_participants.deal_id as deal_id,
        array_agg(deal_participants.person_id order by deal_participants.id asc) as person_ids,
        array_agg(deal_participants.add_time order by deal_participants.id asc) as add_times
    from deal_participants
    left join deletions
        on deletions.entity = 'deal_participants'
        and deletions.id = deal_participants.id::text
    where deletions.id is null
        and deal_participants.active_flag is not false
    group by deal_participants.deal_id
) as listed
    on listed.deal_id = deals.id
cross join lateral (
    select
        taking_part.id as id,
        bool_or(taking_part.is_primary) as is_primary,
        min(taking_part.added_at) as added_at
    from (
        select
            deals.person_id as id,
            true as is_primary,
            null::timestamptz as added_at
        union all
        select
            participant.id as id,
            false as is_primary,
            participant.added_at as added_at
        from unnest(listed.person_ids, listed.add_times) as participant (id, added_at)
    ) as taking_part
    where taking_part.id is not null
    group by taking_part.id
) as person
