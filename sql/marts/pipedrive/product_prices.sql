-- crm.product_prices from Pipedrive: prices of products and of their variations.
-- Entity: products
-- Also changed by: product_variations (product_id)
-- Grain: one row per Pipedrive product, variation and currency.
-- Reads: products, product_variations, deletions, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    product.id as record_id,
    -- An id is indexed: a text longer than an index holds would stop the whole build.
    concat_ws(
        '/',
        product.id,
        product.variation_id,
        case
            when length(price.currency) <= 100 then price.currency
            else md5(price.currency)
        end,
        price.same_number
    ) as remote_id,
    product.id::text as product_remote_id,
    product.variation_id::text as variation_remote_id,
    product.variation_name as variation_name,
    price.currency as currency,
    pipeline.as_numeric(price.item -> 'price') as price,
    pipeline.as_numeric(price.item -> 'cost') as cost,
    coalesce(
        pipeline.as_numeric(price.item -> 'direct_cost'),
        pipeline.as_numeric(price.item -> 'overhead_cost')
    ) as direct_cost,
    nullif(pipeline.as_text(price.item -> 'notes'), '') as comments,
    product.is_deleted as is_deleted
from (
    select
        products.id,
        null::bigint as variation_id,
        null::text as variation_name,
        products.prices,
        products.is_deleted
    from products
    union all
    select
        product_variations.product_id as id,
        product_variations.id as variation_id,
        product_variations.name as variation_name,
        product_variations.prices,
        products.is_deleted
    from product_variations
    inner join products
        on products.id = product_variations.product_id
    where not exists (
        select
        from deletions
        where deletions.entity = 'product_variations'
            and deletions.id = product_variations.id::text
    )
) as product
-- A currency twice is no price list of Pipedrive's; no entry is lost for it.
cross join lateral (
    select
        entry.item,
        nullif(pipeline.as_text(entry.item -> 'currency'), '') as currency,
        nullif(
            row_number() over (
                partition by pipeline.as_text(entry.item -> 'currency')
                order by entry.position asc
            ),
            1
        ) as same_number
    from jsonb_array_elements(
        case when jsonb_typeof(product.prices) = 'array' then product.prices else '[]' end
    ) with ordinality as entry (item, position)
    where jsonb_typeof(entry.item) = 'object'
) as price
