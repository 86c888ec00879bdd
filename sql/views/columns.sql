-- The data dictionary: every column of these views, with its meaning, an example and its source.
-- Grain: one row per view and column.
-- Reads: Postgres's catalogue; integration.view_columns, integration.field_mappings; for the
--        examples the views themselves, with the rights of the reader.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set,
--        pipeline.source_fields set.
--
-- As in sync_status.sql, a literal replaces each setting; the view is a security barrier. The
-- grouped sub-select reads the examples once per view, of the views that the reader asks for, and
-- of none if no example is selected.
create or replace view columns
with (security_barrier = true) as
select
    shown.view_name as view_name,
    pg_attribute.attnum::integer as position,
    pg_attribute.attname::text as column_name,
    coalesce(
        custom.named_after || coalesce(' (' || nullif(custom.part, '') || ')', ''),
        upper(left(pg_attribute.attname, 1)) || replace(substr(pg_attribute.attname, 2), '_', ' ')
    ) as label,
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as type,
    col_description(shown.oid, pg_attribute.attnum) as description,
    shown.examples ->> pg_attribute.attname as example,
    coalesce(custom.source_field, standard.source_fields) as source_field,
    custom.source_field is not null as is_custom
from (
    select
        pg_class.oid as oid,
        pg_class.relname::text as view_name,
        case
            when pg_class.relname <> 'columns' then pipeline.example_values(pg_class.oid)
        end as examples
    from pg_catalog.pg_class
    where pg_class.relnamespace = to_regnamespace('analytics_' || current_setting('pipeline.tenant_id'))
        and pg_class.relkind = 'v'
    group by
        pg_class.oid,
        pg_class.relname
) as shown
inner join pg_catalog.pg_attribute
    on pg_attribute.attrelid = shown.oid
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
left join lateral (
    select
        view_columns.named_after as named_after,
        view_columns.part as part,
        concat_ws('.', view_columns.system, sources.entity, view_columns.field_key) as source_field
    from integration.view_columns
    left join lateral (
        select
            current_setting('pipeline.source_fields')::jsonb
            #>> array[view_columns.mart, view_columns.system, 'entity'] as entity
    ) as sources on true
    where view_columns.tenant_id = current_setting('pipeline.tenant_id')
        and view_columns.mart = regexp_replace(shown.view_name, '_all$', '')
        and view_columns.column_name = pg_attribute.attname
        and not view_columns.is_overflow
) as custom on true
left join lateral (
    select string_agg(source.field, ', ' order by source.field) as source_fields
    from jsonb_each(
        current_setting('pipeline.source_fields')::jsonb
        -> regexp_replace(shown.view_name, '_all$', '')
    ) as of_system (system, sources)
    left join integration.field_mappings
        on field_mappings.tenant_id = current_setting('pipeline.tenant_id')
        and field_mappings.system = of_system.system
        and field_mappings.is_active
    -- A mapped field takes the place of the column's own.
    left join lateral (
        select array_agg(entry.field_key) as fields
        from jsonb_each_text(
            field_mappings.mapping -> (of_system.sources ->> 'entity')
        ) as entry (field_key, target)
        where entry.target = pg_attribute.attname
    ) as mapped on true
    cross join lateral (
        select concat_ws('.', of_system.system, of_system.sources ->> 'entity', field.name) as field
        from unnest(
            coalesce(
                mapped.fields,
                array(
                    select jsonb_array_elements_text(
                        of_system.sources -> 'columns' -> pg_attribute.attname::text
                    )
                )
            )
        ) as field (name)
    ) as source
) as standard on true;

comment on view columns is
    'The data dictionary: every column of these views, with its meaning, an example and its source.';
comment on column columns.view_name is
    'The view.';
comment on column columns.position is
    'Order of the column in its view; a column that was removed leaves a gap.';
comment on column columns.column_name is
    'The column.';
comment on column columns.label is
    'Name for people: of a custom field the one that it has in the CRM.';
comment on column columns.type is
    'Type in Postgres.';
comment on column columns.description is
    'What the column means.';
comment on column columns.example is
    'A value from one of a few rows of the view, shortened; empty where they have none. Reading it '
    'reads every view that is asked for.';
comment on column columns.source_field is
    'Fields of the CRM that it is filled from, as system.entity.field; empty where it is computed.';
comment on column columns.is_custom is
    'Whether it is a custom field of the CRM.';
