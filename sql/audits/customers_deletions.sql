-- Exactly the organizations that are gone carry deleted_at.
-- Grain: one row per organization whose customer has a wrong mark.
-- Reads: organizations, deletions, in the tenant's raw schema (first on search_path);
--        crm.customers.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select organizations.id as pipedrive_id
from organizations
inner join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = organizations.id
left join deletions
    on deletions.entity = 'organizations'
    and deletions.id = organizations.id::text
where organizations.is_deleted is not true
    and (deletions.id is null) <> (customers.deleted_at is null)
