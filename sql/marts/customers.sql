-- crm.customers: companies that a tenant does business with.
-- Grain: one row per tenant and Pipedrive organization.
-- Reads: organizations, users, deletions, in the tenant's raw schema (first on search_path);
--        integration.fields, updated from raw before; crm.customers, for the time of the first read
--        as deleted.
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
    coalesce(
        industry_names.by_id ->> organizations.industry::text,
        organizations.industry::text
    ) as industry,
    -- Raw pads to nine digits after the point.
    trim_scale(organizations.annual_revenue::numeric) as annual_revenue,
    organizations.employee_count::bigint as employee_count,
    organizations.owner_id as owner_id,
    users.name as owner_name,
    case
        when organizations.label_ids = '[]' then '{}'
        else array(
            select coalesce(label_names.by_id ->> entry.id, entry.id)
            from jsonb_array_elements_text(
                case
                    when pipeline.are_plain_options(organizations.label_ids) then organizations.label_ids
                    else to_jsonb(pipeline.as_options(organizations.label_ids))
                end
            ) with ordinality as entry (id, position)
            order by entry.position asc
        )
    end as labels,
    organizations.update_time as changed_at,
    organizations.add_time as pipedrive_created_at,
    coalesce(
        deletions.seen_at,
        case when organizations.is_deleted
            then coalesce(
                organizations.update_time,
                -- The source sent no time: the time at which the row was first read as deleted.
                (
                    select marked.deleted_at
                    from crm.customers as marked
                    where marked.tenant_id = current_setting('pipeline.tenant_id')
                        and marked.pipedrive_id = organizations.id
                ),
                pipeline.loaded_at(organizations._dlt_load_id)
            )
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
-- Labels removed at the source keep their last text. `|| '{}'` detoasts them once per query.
cross join (
    select
        coalesce(
            (
                select fields.labels
                from integration.fields
                where fields.tenant_id = current_setting('pipeline.tenant_id')
                    and fields.system = 'pipedrive'
                    and fields.entity = 'organizations'
                    and fields.field_key = 'label'
            ),
            '{}'
        ) || coalesce(
            (
                select fields.labels
                from integration.fields
                where fields.tenant_id = current_setting('pipeline.tenant_id')
                    and fields.system = 'pipedrive'
                    and fields.entity = 'organizations'
                    and fields.field_key = 'label_ids'
            ),
            '{}'
        ) as by_id
    offset 0
) as label_names
cross join (
    select
        coalesce(
            (
                select fields.labels || '{}'
                from integration.fields
                where fields.tenant_id = current_setting('pipeline.tenant_id')
                    and fields.system = 'pipedrive'
                    and fields.entity = 'organizations'
                    and fields.field_key = 'industry'
            ),
            '{}'
        ) as by_id
    offset 0
) as industry_names
-- `offset 0`: the parts are evaluated once, not once for each column.
left join lateral (
    select
        case
            when pipeline.is_plain_address(organizations.address) then organizations.address
            else pipeline.address_parts(organizations.address)
        end as parts
    offset 0
) as address on true
