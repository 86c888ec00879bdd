-- Values of organizations' custom fields that do not fit the type of their field.
-- Grain: one row per organization that has a value; `misfits` holds key, value and reason of each.
-- Reads: organizations, in the tenant's raw schema (first on search_path); integration.fields.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/checking.py.
select
    organizations.id as pipedrive_id,
    checked.value_count as value_count,
    checked.misfits as misfits
from organizations
cross join lateral (
    select
        count(*) as value_count,
        jsonb_agg(
            jsonb_build_object(
                'field', typed.field_key,
                'value', left(typed.value::text, 1000),
                'reason', typed.reason
            )
        ) filter (where typed.reason is not null) as misfits
    from (
        select
            entry.field_key as field_key,
            entry.value as value,
            case
                when entry.field_type is null then 'is of no field that is known'
                -- What the function would say too, without a call for most values there are.
                when jsonb_typeof(entry.value) = 'string'
                    and entry.field_type in ('varchar', 'varchar_auto', 'text', 'phone') then null
                when jsonb_typeof(entry.value) = 'number' and entry.field_type = 'double' then null
                else pipeline.misfit(entry.field_type, entry.value)
            end as reason
        from (
            select
                entry.key as field_key,
                entry.value as value,
                (
                    select jsonb_object_agg(fields.field_key, fields.field_type)
                    from integration.fields
                    where fields.tenant_id = current_setting('pipeline.tenant_id')
                        and fields.system = 'pipedrive'
                        and fields.entity = 'organizations'
                        and fields.is_custom
                ) ->> entry.key as field_type
            from jsonb_each(
                case
                    when jsonb_typeof(organizations.custom_fields) = 'object'
                        then organizations.custom_fields
                end
            ) as entry (key, value)
            where entry.value not in ('null', '{}')
            union all
            -- Records that carry their custom fields at the top level, as v1 does.
            select
                fields.field_key as field_key,
                pipeline.value_of_v1(
                    fields.field_type, organizations.extra, fields.field_key
                ) as value,
                fields.field_type as field_type
            from integration.fields
            where fields.tenant_id = current_setting('pipeline.tenant_id')
                and fields.system = 'pipedrive'
                and fields.entity = 'organizations'
                and fields.is_custom
                and organizations.extra is not null
                and organizations.extra ? fields.field_key
                and nullif(organizations.extra -> fields.field_key, 'null') is not null
                and nullif(organizations.custom_fields -> fields.field_key, 'null') is null
        ) as entry
        offset 0 -- else the rule would be asked twice
    ) as typed
) as checked
where checked.value_count > 0
