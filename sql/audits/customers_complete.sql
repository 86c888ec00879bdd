-- Every organization in raw has its customer.
-- Grain: one row per organization that has none.
-- Reads: organizations, in the tenant's raw schema (first on search_path); crm.customers.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
select organizations.id as pipedrive_id
from organizations
left join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = organizations.id
where customers.id is null
