-- Definitions of fields as the source has them now.
-- Grain: one row per entity and field.
-- Reads: the definitions of each entity's fields and deletions, in the tenant's raw schema (first on
--        search_path).
-- Needs: nothing else.
--
-- `options` is a flat object of labels by id, even if the source nests options. An option without a
-- label is left out: its last label in the catalogue is shown, or its id. Leads have the fields of
-- deals that companies made, and a few built-in ones. A field counts as writable unless the source says
-- that it is not.
select
    definitions.entity as entity,
    definitions.field_code as field_key,
    coalesce(definitions.field_name, definitions.field_code) as field_name,
    coalesce(definitions.field_type, 'unknown') as field_type,
    definitions.is_custom as is_custom,
    (
        -- If an id comes twice, the first entry counts.
        select jsonb_object_agg(
            pipeline.as_option(option.item -> 'id'),
            pipeline.as_text(option.item -> 'label')
            order by option.position desc
        )
        from jsonb_array_elements(
            case
                when jsonb_typeof(definitions.options) = 'array' then definitions.options
                else '[]'
            end
        ) with ordinality as option (item, position)
        where pipeline.as_option(option.item -> 'id') is not null
            and pipeline.as_text(option.item -> 'label') is not null
    ) as options,
    coalesce(definitions.is_writable, true) as is_writable
from (
    select
        sent.*,
        coalesce(sent.is_custom_field, sent.field_code ~ '^[0-9a-f]{40}$') as is_custom
    from (
        select
            'organizations' as entity,
            'organization_fields' as defined_by,
            fields.field_code,
            fields.field_name,
            fields.field_type,
            fields.is_custom_field,
            fields.options,
            fields.is_writable
        from organization_fields as fields
        union all
        select
            'persons' as entity,
            'person_fields' as defined_by,
            fields.field_code,
            fields.field_name,
            fields.field_type,
            fields.is_custom_field,
            fields.options,
            fields.is_writable
        from person_fields as fields
        union all
        select
            kinds.entity,
            'deal_fields' as defined_by,
            fields.field_code,
            fields.field_name,
            fields.field_type,
            fields.is_custom_field,
            fields.options,
            fields.is_writable
        from deal_fields as fields
        cross join (values ('deals'), ('leads')) as kinds (entity)
        union all
        select
            'products' as entity,
            'product_fields' as defined_by,
            fields.field_code,
            fields.field_name,
            fields.field_type,
            fields.is_custom_field,
            fields.options,
            fields.is_writable
        from product_fields as fields
        union all
        select
            'activities' as entity,
            'activity_fields' as defined_by,
            fields.field_code,
            fields.field_name,
            fields.field_type,
            fields.is_custom_field,
            fields.options,
            fields.is_writable
        from activity_fields as fields
    ) as sent
) as definitions
left join deletions
    on deletions.entity = definitions.defined_by
    and deletions.id = definitions.field_code
where deletions.id is null
    and (
        definitions.entity <> 'leads'
        or definitions.is_custom
        or definitions.field_code in ('channel', 'expected_close_date')
    )
