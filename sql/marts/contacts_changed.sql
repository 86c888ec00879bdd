-- Persons whose contact may differ from what crm.contacts holds.
-- Grain: one row per Pipedrive person.
-- Reads: persons, deletions, in the tenant's raw schema (first on search_path); crm.customers as
--        built in this transaction, crm.contacts, integration.mart_state.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select persons.id as pipedrive_id
from persons
where persons._dlt_load_id = any (
    (
        select mart_state.pending_loads
        from integration.mart_state
        where mart_state.tenant_id = current_setting('pipeline.tenant_id')
            and mart_state.system = 'pipedrive'
    )::text[]
)
union
-- Gone, and not marked yet, or marked otherwise.
select contacts.pipedrive_id as pipedrive_id
from deletions
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    -- Keys of other kinds of record are no numbers.
    and contacts.pipedrive_id = case
        when deletions.entity = 'persons' then deletions.id::bigint
    end
where deletions.entity = 'persons'
    and (contacts.deleted_at, contacts.deletion_reason, contacts.merged_into)
    is distinct from (deletions.seen_at, deletions.reason, deletions.merged_into::bigint)
union
-- Marked, and back again.
select contacts.pipedrive_id as pipedrive_id
from crm.contacts as contacts
left join deletions
    on deletions.entity = 'persons'
    and deletions.id = contacts.pipedrive_id::text
where contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.deleted_at is not null
    and contacts.pipedrive_id is not null
    and deletions.id is null
union
-- The organization arrived after its people: made now, and not linked to.
select persons.id as pipedrive_id
from crm.customers as customers
inner join persons
    on persons.org_id = customers.pipedrive_id
left join crm.contacts as contacts
    on contacts.tenant_id = customers.tenant_id
    and contacts.pipedrive_id = persons.id
where customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.updated_at = now()
    and customers.created_at = now()
    and contacts.customer_id is distinct from customers.id
union
-- The customer that they are linked to was merged into another one, or that one arrived now.
select contacts.pipedrive_id as pipedrive_id
from crm.customers as written
inner join crm.customers as customers
    on customers.tenant_id = written.tenant_id
    and customers.deleted_at is not null
    and (
        customers.pipedrive_id = written.pipedrive_id
        or customers.merged_into = written.pipedrive_id
    )
inner join crm.contacts as contacts
    on contacts.tenant_id = customers.tenant_id
    and contacts.customer_id = customers.id
where written.tenant_id = current_setting('pipeline.tenant_id')
    and written.updated_at = now()
    and customers.merged_into is not null
    and contacts.pipedrive_id is not null
