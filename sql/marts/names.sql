-- Names that the marts show in place of an id: users, labels, industries.
-- Grain: one row per kind and id.
-- Reads: users, organization_fields, person_fields, in the tenant's raw schema (first on
--        search_path).
-- Needs: nothing else.
--
-- A renamed user or label bumps no record; marts/build.py compares a fingerprint of these rows with
-- the one of the last build and reads everything when they differ.
select
    'user' as kind,
    users.id::text as id,
    users.name as name
from users
union all
select
    'organization ' || organization_fields.field_code as kind,
    option.item ->> 'id' as id,
    option.item ->> 'label' as name
from organization_fields
cross join lateral jsonb_array_elements(
    case
        when jsonb_typeof(organization_fields.options) = 'array' then organization_fields.options
        else '[]'
    end
) as option (item)
where organization_fields.field_code in ('label_ids', 'label', 'industry')
union all
select
    'person ' || person_fields.field_code as kind,
    option.item ->> 'id' as id,
    option.item ->> 'label' as name
from person_fields
cross join lateral jsonb_array_elements(
    case
        when jsonb_typeof(person_fields.options) = 'array' then person_fields.options
        else '[]'
    end
) as option (item)
where person_fields.field_code in ('label_ids', 'label')
