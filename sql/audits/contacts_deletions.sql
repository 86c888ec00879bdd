-- Exactly the persons who are gone carry deleted_at.
-- Grain: one row per person whose contact has a wrong mark.
-- Reads: persons, deletions, in the tenant's raw schema (first on search_path); crm.contacts.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select persons.id as pipedrive_id
from persons
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.pipedrive_id = persons.id
left join deletions
    on deletions.entity = 'persons'
    and deletions.id = persons.id::text
where persons.is_deleted is not true
    and (deletions.id is null) <> (contacts.deleted_at is null)
