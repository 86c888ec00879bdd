-- All customers: those deleted at the source too, marked.
-- Grain: one row per customer of the tenant.
-- Reads: crm.customers.
-- Needs: pipeline.tenant_id; marts/views/publication.py writes the tenant's slug in its place,
--        because a reader of the view has not set it.
--
-- The columns that every tenant's view has; custom fields follow from marts/fields/columns.py.
select
    customers.id as id,
    customers.tenant_id as tenant_id,
    customers.pipedrive_id as pipedrive_id,
    customers.name as name,
    customers.street as street,
    customers.city as city,
    customers.postal_code as postal_code,
    customers.region as region,
    customers.country as country,
    customers.address as address,
    customers.phone as phone,
    customers.email as email,
    customers.website as website,
    customers.customer_number as customer_number,
    customers.vat_id as vat_id,
    customers.industry as industry,
    customers.annual_revenue as annual_revenue,
    customers.employee_count as employee_count,
    customers.owner_id as owner_id,
    customers.owner_name as owner_name,
    customers.labels as labels,
    customers.attributes as attributes,
    customers.changed_at as changed_at,
    customers.pipedrive_created_at as pipedrive_created_at,
    customers.pipedrive_synced_at as pipedrive_synced_at,
    customers.deleted_at as deleted_at,
    customers.deletion_reason as deletion_reason,
    customers.merged_into_remote_id as merged_into_remote_id,
    customers.former_remote_id as former_remote_id,
    customers.created_at as created_at,
    customers.updated_at as updated_at
from crm.customers as customers
where customers.tenant_id = current_setting('pipeline.tenant_id')
