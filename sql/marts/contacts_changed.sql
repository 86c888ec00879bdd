-- Persons whose contact may differ from what crm.contacts holds.
-- Grain: one row per Pipedrive person and value of is_explained, which is true if a pending load or
--        a pending deletion mark is the reason.
-- Reads: persons, organizations, deletions, in the tenant's raw schema (first on search_path);
--        crm.customers as built in this transaction, crm.contacts, integration.mart_state,
--        pipeline.survivors.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
with pending as materialized (
    select mart_state.pending_loads as loads
    from integration.mart_state
    where mart_state.tenant_id = current_setting('pipeline.tenant_id')
        and mart_state.system = 'pipedrive'
)
select
    persons.id as pipedrive_id,
    true as is_explained
from persons
where persons._dlt_load_id = any ((select pending.loads from pending)::text[])
union
-- Deleted records whose row has no mark or another one.
select
    contacts.pipedrive_id as pipedrive_id,
    deletions._dlt_load_id = any ((select pending.loads from pending)::text[]) as is_explained
from deletions
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    -- Keys of other entities need not be numbers.
    and contacts.pipedrive_id = case
        when deletions.entity = 'persons' then deletions.id::bigint
    end
where deletions.entity = 'persons'
    and (contacts.deleted_at, contacts.deletion_reason, contacts.merged_into)
    is distinct from (deletions.seen_at, deletions.reason, deletions.merged_into::bigint)
union
-- Live records whose row is marked: by hand, or because raw's mark was removed.
select
    contacts.pipedrive_id as pipedrive_id,
    false as is_explained
from crm.contacts as contacts
inner join persons
    on persons.id = contacts.pipedrive_id
    and persons.is_deleted is not true
left join deletions
    on deletions.entity = 'persons'
    and deletions.id = contacts.pipedrive_id::text
where contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.deleted_at is not null
    and deletions.id is null
union
-- Links to a customer other than that of the person's organization or its survivor: every link is
-- compared with the correct one. Time stamps prove nothing here, because a trigger of the app may
-- write them.
select
    persons.id as pipedrive_id,
    exists (
        select
        from organizations
        where organizations.id in (persons.org_id, customers.pipedrive_id)
            and organizations._dlt_load_id = any ((select pending.loads from pending)::text[])
    )
    or exists (
        select
        from deletions
        where deletions.entity = 'organizations'
            and deletions.id in (persons.org_id::text, customers.pipedrive_id::text)
            and deletions._dlt_load_id = any ((select pending.loads from pending)::text[])
    ) as is_explained
from persons
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.pipedrive_id = persons.id
left join pipeline.survivors(current_setting('pipeline.tenant_id')) as survivors
    on survivors.lost_id = persons.org_id
left join crm.customers as customers
    on customers.tenant_id = contacts.tenant_id
    and customers.pipedrive_id = coalesce(survivors.kept_id, persons.org_id)
where contacts.customer_id is distinct from customers.id
