-- A contact is as new as its person, and no value of it was lost on the way.
-- Grain: one row per person whose contact is older, or empty where it is not.
-- Reads: persons, in the tenant's raw schema (first on search_path); crm.contacts.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select persons.id as pipedrive_id
from persons
inner join crm.contacts as contacts
    on contacts.tenant_id = current_setting('pipeline.tenant_id')
    and contacts.pipedrive_id = persons.id
where contacts.changed_at is distinct from persons.update_time
    or (persons.name is not null and contacts.name is null)
    or (persons.owner_id is not null and contacts.owner_id is null)
    or (contacts.email is null and pipeline.contact_points(persons.emails) <> '[]')
    or (contacts.phone is null and pipeline.contact_points(persons.phones) <> '[]')
