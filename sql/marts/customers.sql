-- crm.customers: companies that a tenant does business with.
-- Grain: one row per tenant and Pipedrive organization.
-- Reads: organizations, organization_fields, users, deletions, in the tenant's raw schema (first on
--        search_path).
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
--
-- No with-clause on purpose: Postgres does not flatten a sub-select that has one, and the ids of
-- changed organizations would not reach their index.
select
    current_setting('pipeline.tenant_id') as tenant_id,
    organizations.id as pipedrive_id,
    organizations.name as name,
    nullif(
        concat_ws(
            ' ',
            nullif(organizations.address ->> 'route', ''),
            nullif(organizations.address ->> 'street_number', '')
        ),
        ''
    ) as street,
    organizations.address ->> 'locality' as city,
    organizations.address ->> 'postal_code' as postal_code,
    organizations.address ->> 'admin_area_level_1' as region,
    organizations.address ->> 'country' as country,
    organizations.address ->> 'value' as address,
    organizations.website as website,
    coalesce(
        industry_names.by_id ->> organizations.industry::text,
        organizations.industry::text
    ) as industry,
    -- Raw pads to nine digits after the point.
    trim_scale(organizations.annual_revenue::numeric) as annual_revenue,
    organizations.employee_count::bigint as employee_count,
    organizations.owner_id as owner_id,
    users.name as owner_name,
    coalesce(labels.names, '{}') as labels,
    organizations.update_time as changed_at,
    organizations.add_time as pipedrive_created_at,
    coalesce(
        deletions.seen_at,
        case when organizations.is_deleted
            then coalesce(organizations.update_time, organizations.add_time)
        end
    ) as deleted_at,
    coalesce(
        deletions.reason,
        case when organizations.is_deleted then 'deleted' end
    ) as deletion_reason,
    deletions.merged_into::bigint as merged_into
from organizations
left join users
    on users.id = organizations.owner_id
left join deletions
    on deletions.entity = 'organizations'
    and deletions.id = organizations.id::text
-- Ids of options are numbers in custom fields and texts in built-in ones: compared as text.
cross join (
    select
        coalesce(
            jsonb_object_agg(
                option.item ->> 'id',
                option.item -> 'label'
                order by (organization_fields.field_code = 'label_ids') asc, option.position desc
            ),
            '{}'
        ) as by_id
    from organization_fields
    cross join lateral jsonb_array_elements(
        case
            when jsonb_typeof(organization_fields.options) = 'array'
                then organization_fields.options
            else '[]'
        end
    ) with ordinality as option (item, position)
    where organization_fields.field_code in ('label_ids', 'label')
        and option.item ->> 'id' is not null
) as label_names
cross join (
    select
        coalesce(
            jsonb_object_agg(
                option.item ->> 'id',
                option.item -> 'label'
                order by option.position desc
            ),
            '{}'
        ) as by_id
    from organization_fields
    cross join lateral jsonb_array_elements(
        case
            when jsonb_typeof(organization_fields.options) = 'array'
                then organization_fields.options
            else '[]'
        end
    ) with ordinality as option (item, position)
    where organization_fields.field_code = 'industry'
        and option.item ->> 'id' is not null
) as industry_names
-- An option that no definition explains any more is shown by its id.
left join lateral (
    select
        array_agg(
            coalesce(label_names.by_id ->> entry.id, entry.id)
            order by entry.position asc
        ) as names
    from jsonb_array_elements_text(
        case
            when jsonb_typeof(organizations.label_ids) = 'array' then organizations.label_ids
            else '[]'
        end
    ) with ordinality as entry (id, position)
    where entry.id is not null
) as labels on true
