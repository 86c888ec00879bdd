-- Every person in raw has their contact.
-- Grain: one row per person who has none.
-- Reads: persons, in the tenant's raw schema (first on search_path); crm.contacts.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select persons.id as pipedrive_id
from persons
left join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.pipedrive_id = persons.id
where contacts.id is null
