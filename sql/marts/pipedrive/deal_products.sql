-- crm.deal_products from Pipedrive: the lines of deals.
-- Entity: deal_products
-- Grain: one row per Pipedrive product on a deal.
-- Reads: deal_products, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    deal_products.id as remote_id,
    deal_products.deal_id::text as deal_remote_id,
    deal_products.product_id::text as product_remote_id,
    deal_products.product_variation_id::text as variation_remote_id,
    deal_products.name as name,
    trim_scale(deal_products.quantity::numeric) as quantity,
    trim_scale(deal_products.item_price::numeric) as unit_price,
    deal_products.currency as currency,
    trim_scale(deal_products.discount::numeric) as discount,
    case
        when deal_products.discount_type = 'percentage' then 'percent'
        else deal_products.discount_type
    end as discount_type,
    trim_scale(deal_products.tax::numeric) as tax,
    deal_products.tax_method as tax_method,
    trim_scale(deal_products.sum::numeric) as total,
    deal_products.billing_frequency as billing_frequency,
    deal_products.billing_frequency_cycles as billing_cycles,
    pipeline.as_date(to_jsonb(deal_products.billing_start_date)) as starts_on,
    deal_products.is_enabled as is_enabled,
    deal_products.order_nr as sort,
    nullif(deal_products.comments, '') as comments,
    deal_products.update_time as changed_at,
    deal_products.add_time as remote_created_at
from deal_products
