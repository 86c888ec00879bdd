-- Definitions of fields as the source has them now.
-- Grain: one row per entity and field.
-- Reads: organization_fields, person_fields, deletions, in the tenant's raw schema (first on
--        search_path).
-- Needs: nothing else.
select
    'organizations' as entity,
    organization_fields.field_code as field_key,
    coalesce(organization_fields.field_name, organization_fields.field_code) as field_name,
    coalesce(organization_fields.field_type, 'unknown') as field_type,
    coalesce(
        organization_fields.is_custom_field,
        organization_fields.field_code ~ '^[0-9a-f]{40}$'
    ) as is_custom,
    organization_fields.options as options
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
    person_fields.options as options
from person_fields
left join deletions
    on deletions.entity = 'person_fields'
    and deletions.id = person_fields.field_code
where deletions.id is null
