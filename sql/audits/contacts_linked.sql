-- A contact has a customer exactly where its person's organization is known.
-- Grain: one row per person whose contact has none, or one too many.
-- Reads: persons, in the tenant's raw schema (first on search_path); crm.contacts, crm.customers.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select persons.id as pipedrive_id
from persons
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.pipedrive_id = persons.id
left join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = persons.org_id
where (customers.id is null) <> (contacts.customer_id is null)
