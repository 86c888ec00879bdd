-- Definitions of fields as the source has them now.
-- Grain: one row per entity and field.
-- Reads: organization_fields, person_fields, deletions, in the tenant's raw schema (first on
--        search_path).
-- Needs: nothing else.
--
-- `options` is a flat object of labels by id, even if the source nests options. An option without a
-- label is left out: its last label in the catalogue is shown, or its id.
select
    'organizations' as entity,
    organization_fields.field_code as field_key,
    coalesce(organization_fields.field_name, organization_fields.field_code) as field_name,
    coalesce(organization_fields.field_type, 'unknown') as field_type,
    coalesce(
        organization_fields.is_custom_field,
        organization_fields.field_code ~ '^[0-9a-f]{40}$'
    ) as is_custom,
    (
        -- If an id comes twice, the first entry counts.
        select jsonb_object_agg(
            pipeline.as_option(option.item -> 'id'),
            pipeline.as_text(option.item -> 'label')
            order by option.position desc
        )
        from jsonb_array_elements(
            case
                when jsonb_typeof(organization_fields.options) = 'array' then organization_fields.options
                else '[]'
            end
        ) with ordinality as option (item, position)
        where pipeline.as_option(option.item -> 'id') is not null
            and pipeline.as_text(option.item -> 'label') is not null
    ) as options
from organization_fields
left join deletions
    on deletions.entity = 'organization_fields'
    and deletions.id = organization_fields.field_code
where deletions.id is null
union all
select
    'persons' as entity,
    person_fields.field_code as field_key,
    coalesce(person_fields.field_name, person_fields.field_code) as field_name,
    coalesce(person_fields.field_type, 'unknown') as field_type,
    coalesce(
        person_fields.is_custom_field,
        person_fields.field_code ~ '^[0-9a-f]{40}$'
    ) as is_custom,
    (
        -- If an id comes twice, the first entry counts.
        select jsonb_object_agg(
            pipeline.as_option(option.item -> 'id'),
            pipeline.as_text(option.item -> 'label')
            order by option.position desc
        )
        from jsonb_array_elements(
            case
                when jsonb_typeof(person_fields.options) = 'array' then person_fields.options
                else '[]'
            end
        ) with ordinality as option (item, position)
        where pipeline.as_option(option.item -> 'id') is not null
            and pipeline.as_text(option.item -> 'label') is not null
    ) as options
from person_fields
left join deletions
    on deletions.entity = 'person_fields'
    and deletions.id = person_fields.field_code
where deletions.id is null
