-- A customer is as new as its organization, and no value of it was lost on the way.
-- Grain: one row per organization whose customer is older, or empty where it is not.
-- Reads: organizations, in the tenant's raw schema (first on search_path); crm.customers.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select organizations.id as pipedrive_id
from organizations
inner join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = organizations.id
where customers.changed_at is distinct from organizations.update_time
    or (organizations.name is not null and customers.name is null)
    or (organizations.owner_id is not null and customers.owner_id is null)
    or (
        customers.address is null
        and pipeline.address_parts(organizations.address) ->> 'value' is not null
    )
