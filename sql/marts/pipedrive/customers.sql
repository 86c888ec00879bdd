-- crm.customers from Pipedrive: companies that a tenant does business with.
-- Entity: organizations
-- Page: https://{company_domain}.pipedrive.com/organization/{id}
-- Options of labels: label, label_ids
-- Options of industry: industry
-- Grain: one row per Pipedrive organization.
-- Reads: organizations, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- No with-clause on purpose: Postgres does not flatten a sub-select that has one, and the ids of
-- changed organizations would not reach their index.
select
    organizations.id as remote_id,
    organizations.name as name,
    nullif(
        concat_ws(
            ' ',
            nullif(address.parts ->> 'route', ''),
            nullif(address.parts ->> 'street_number', '')
        ),
        ''
    ) as street,
    nullif(address.parts ->> 'locality', '') as city,
    nullif(address.parts ->> 'postal_code', '') as postal_code,
    nullif(address.parts ->> 'admin_area_level_1', '') as region,
    nullif(address.parts ->> 'country', '') as country,
    nullif(address.parts ->> 'value', '') as address,
    organizations.website as website,
    organizations.industry::text as industry,
    -- Raw pads to nine digits after the point.
    trim_scale(organizations.annual_revenue::numeric) as annual_revenue,
    organizations.employee_count::bigint as employee_count,
    organizations.owner_id::text as owner_remote_id,
    case
        when organizations.label_ids = '[]' or pipeline.are_plain_options(organizations.label_ids)
            then organizations.label_ids
        else to_jsonb(pipeline.as_options(organizations.label_ids))
    end as labels,
    organizations.visible_to::text as visible_to,
    organizations.is_deleted as is_deleted,
    organizations.update_time as changed_at,
    organizations.add_time as remote_created_at
from organizations
-- `offset 0`: the parts are evaluated once, not once for each column.
left join lateral (
    select
        case
            when pipeline.is_plain_address(organizations.address) then organizations.address
            else pipeline.address_parts(organizations.address)
        end as parts
    offset 0
) as address on true
