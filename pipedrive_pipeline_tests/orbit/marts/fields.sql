-- Definitions of fields as Orbit has them now.
-- Grain: one row per entity and field.
-- Reads: properties, deletions, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    properties.record as entity,
    properties.code as field_key,
    coalesce(properties.title, properties.code) as field_name,
    coalesce(properties.kind, 'unknown') as field_type,
    true as is_custom,
    properties.choices as options,
    coalesce(properties.writable, true) as is_writable
from properties
left join deletions
    on deletions.entity = 'properties'
    and deletions.id = properties.code
where deletions.id is null
