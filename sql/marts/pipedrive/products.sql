-- crm.products from Pipedrive: products that a tenant sells.
-- Entity: products
-- Page: https://{company_domain}.pipedrive.com/product/{id}
-- Options of category: category
-- Grain: one row per Pipedrive product.
-- Reads: products, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- No with-clause on purpose, as in customers.sql.
select
    products.id as remote_id,
    products.name as name,
    products.code as code,
    products.description as description,
    products.unit as unit,
    trim_scale(products.tax::numeric) as tax,
    nullif(products.category, '') as category,
    products.is_linkable as is_active,
    products.billing_frequency as billing_frequency,
    products.billing_frequency_cycles as billing_cycles,
    products.owner_id::text as owner_remote_id,
    products.visible_to::text as visible_to,
    products.is_deleted as is_deleted,
    products.update_time as changed_at,
    products.add_time as remote_created_at
from products
