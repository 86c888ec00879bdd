-- Custom fields: what they are, what they were, and how analysts see them.
-- What: the field catalogue with its history, the names of view columns, safe conversions.
-- Reads: nothing.
-- Needs: 0003_history.sql.
--
-- The functions turn a JSON value into a type, or into null where it does not fit; none ever fails,
-- whatever a value holds. Their bodies are parsed when they are made, so that a reader of a view
-- needs no right to the schema.

create schema if not exists pipeline;
comment on schema pipeline is
    'Functions that turn a JSON value of the source into a type, or into null where it does not fit.';
grant usage on schema pipeline to pipeline_engine, pipeline_app;

create function pipeline.as_text(value jsonb) returns text
language sql immutable parallel safe
return case
    when jsonb_typeof(value) in ('string', 'number', 'boolean') then value #>> '{}'
end;
comment on function pipeline.as_text(jsonb) is
    'A string, number or boolean as text.';

create function pipeline.as_numeric(value jsonb) returns numeric
language sql immutable parallel safe
return case jsonb_typeof(value)
    when 'number' then value::numeric
    when 'string' then case
        when length(value #>> '{}') <= 400
            and value #>> '{}' ~ '^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$'
            then (value #>> '{}')::numeric
    end
end;
comment on function pipeline.as_numeric(jsonb) is
    'A number with all its digits; also one written as text with a point, such as "12.50".';

create function pipeline.as_bigint(value jsonb) returns bigint
language sql immutable parallel safe
return case
    when pipeline.as_numeric(value) % 1 = 0
        and pipeline.as_numeric(value) between -9223372036854775808 and 9223372036854775807
        then pipeline.as_numeric(value)::bigint
end;
comment on function pipeline.as_bigint(jsonb) is
    'A whole number of 64 bits.';

create function pipeline.as_boolean(value jsonb) returns boolean
language sql immutable parallel safe
return case
    when pipeline.as_text(value) in ('true', '1') then true
    when pipeline.as_text(value) in ('false', '0') then false
end;
comment on function pipeline.as_boolean(jsonb) is
    'true and false, 1 and 0, also written as text.';

create function pipeline.as_date(value jsonb) returns date
language sql immutable parallel safe
return case
    when jsonb_typeof(value) = 'string'
        and value #>> '{}' ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
        and left(value #>> '{}', 4) <> '0000'
        then case
            when substr(value #>> '{}', 9, 2)::integer <= extract(
                day from make_date(
                    left(value #>> '{}', 4)::integer,
                    substr(value #>> '{}', 6, 2)::integer,
                    1
                ) + interval '1 month' - interval '1 day'
            )
                then make_date(
                    left(value #>> '{}', 4)::integer,
                    substr(value #>> '{}', 6, 2)::integer,
                    substr(value #>> '{}', 9, 2)::integer
                )
        end
end;
comment on function pipeline.as_date(jsonb) is
    'A day of the calendar written YYYY-MM-DD, from year 1 to 9999.';

create function pipeline.as_time(value jsonb) returns time
language sql immutable parallel safe
return case
    when jsonb_typeof(value) = 'string'
        and value #>> '{}'
        ~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$'
        then make_time(
            left(value #>> '{}', 2)::integer,
            substr(value #>> '{}', 4, 2)::integer,
            coalesce(nullif(substr(value #>> '{}', 7), ''), '0')::double precision
        )
end;
comment on function pipeline.as_time(jsonb) is
    'A time of day from 00:00 to 23:59:59, written HH:MM or HH:MM:SS.';

create function pipeline.as_reference(value jsonb) returns bigint
language sql immutable parallel safe
return case jsonb_typeof(value)
    when 'object' then pipeline.as_bigint(
        coalesce(nullif(value -> 'id', 'null'), nullif(value -> 'value', 'null'))
    )
    else pipeline.as_bigint(value)
end;
comment on function pipeline.as_reference(jsonb) is
    'The id of another record: the number, or the id or value of an object.';

create function pipeline.as_ids(value jsonb) returns bigint[]
language sql immutable parallel safe
return case
    when jsonb_typeof(value) = 'array' then (
        select case
            when bool_and(pipeline.as_bigint(entry.item) is not null) is not false
                then coalesce(
                    array_agg(
                        distinct pipeline.as_bigint(entry.item)
                        order by pipeline.as_bigint(entry.item)
                    ),
                    '{}'
                )
        end
        from jsonb_array_elements(
            case when jsonb_typeof(value) = 'array' then value else '[]' end
        ) as entry (item)
    )
    when jsonb_typeof(value) = 'string'
        and value #>> '{}' ~ '^ *[0-9]{1,18} *(, *[0-9]{1,18} *)*$'
        then (
            select array_agg(distinct entry.id::bigint order by entry.id::bigint)
            from string_to_table(value #>> '{}', ',') as entry (id)
        )
    when pipeline.as_bigint(value) is not null then array[pipeline.as_bigint(value)]
end;
comment on function pipeline.as_ids(jsonb) is
    'Whole numbers, ascending and each once: an array, one number, or text such as "12,15".';

-- v2 sends {"custom_fields": {key: value}}, v1 {key: value, key_currency: …} at the top level.
create function pipeline.field_value(custom_fields jsonb, extra jsonb, key text) returns jsonb
language sql immutable parallel safe
return coalesce(nullif(custom_fields -> key, 'null'), nullif(extra -> key, 'null'));
comment on function pipeline.field_value(jsonb, jsonb, text) is
    'A field''s value, of the shape of v2 or, if there is none, of v1.';

create function pipeline.field_part(custom_fields jsonb, extra jsonb, key text, part text)
returns jsonb
language sql immutable parallel safe
return case
    when jsonb_typeof(pipeline.field_value(custom_fields, extra, key)) = 'object'
        then nullif(pipeline.field_value(custom_fields, extra, key) -> part, 'null')
    when part = 'value' then pipeline.field_value(custom_fields, extra, key)
    else nullif(extra -> (key || '_' || part), 'null')
end;
comment on function pipeline.field_part(jsonb, jsonb, text, text) is
    'One part of a field of several, such as value, currency, until; the whole is its part value '
    'where it has no parts.';

create function pipeline.labels_of(ids bigint[], labels jsonb) returns text[]
language sql immutable parallel safe
return case
    when ids is not null then array(
        select coalesce(labels ->> entry.id::text, entry.id::text)
        from unnest(ids) with ordinality as entry (id, position)
        order by entry.position asc
    )
end;
comment on function pipeline.labels_of(bigint[], jsonb) is
    'The labels of options in the order of the ids; the id where no label was ever known.';

create function pipeline.parts_misfit(value jsonb, known text[], misfit text) returns text
language sql immutable parallel safe
return case
    when misfit is not null then misfit
    when jsonb_typeof(value) = 'object'
        and not value ?| known
        and jsonb_strip_nulls(value) <> '{}'
        then 'none of its parts is known'
end;
comment on function pipeline.parts_misfit(jsonb, text[], text) is
    'The given misfit, or one for an object that has no part of those known.';

create function pipeline.misfit(kind text, value jsonb) returns text
language sql immutable parallel safe
return case
    when value is null or value = 'null' then null
    when kind in ('varchar', 'varchar_auto', 'text', 'phone') then case
        when pipeline.as_text(value) is null then 'is no text'
    end
    when kind = 'double' then case
        when pipeline.as_numeric(value) is null then 'is no number'
    end
    when kind in ('int', 'enum') then case
        when pipeline.as_bigint(value) is null then 'is no whole number of 64 bits'
    end
    when kind = 'set' then case
        when pipeline.as_ids(value) is null then 'is no list of option ids'
    end
    when kind = 'date' then case
        when pipeline.as_date(value) is null then 'is no day of the calendar'
    end
    when kind in ('user', 'org', 'people') then case
        when pipeline.as_reference(value) is null then 'is no id of a record'
    end
    when kind = 'boolean' then case
        when pipeline.as_boolean(value) is null then 'is neither true nor false'
    end
    when kind = 'monetary' then pipeline.parts_misfit(value, '{value,currency}', case
        when pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value') is not null
            and pipeline.as_numeric(
                pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value')
            ) is null then 'value is no number'
        when jsonb_typeof(value -> 'currency') in ('object', 'array') then 'currency is no text'
    end)
    when kind = 'daterange' then pipeline.parts_misfit(value, '{value,until}', case
        when pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value') is not null
            and pipeline.as_date(
                pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value')
            ) is null then 'value is no day of the calendar'
        when nullif(value -> 'until', 'null') is not null
            and pipeline.as_date(value -> 'until') is null then 'until is no day of the calendar'
    end)
    when kind in ('time', 'timerange') then pipeline.parts_misfit(
        value,
        '{value,until,timezone_id,timezone_name}',
        case
            when pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value') is not null
                and pipeline.as_time(
                    pipeline.field_part(jsonb_build_object('v', value), null, 'v', 'value')
                ) is null then 'value is no time of day'
            when kind = 'timerange' and nullif(value -> 'until', 'null') is not null
                and pipeline.as_time(value -> 'until') is null then 'until is no time of day'
            when jsonb_typeof(value -> 'timezone_name') in ('object', 'array')
                or jsonb_typeof(value -> 'timezone_id') in ('object', 'array')
                then 'its time zone is no text'
        end
    )
    when kind = 'address' then case
        when jsonb_typeof(value) <> 'object' and pipeline.as_text(value) is null then 'is no address'
        else pipeline.parts_misfit(
            value,
            '{value,country,admin_area_level_1,admin_area_level_2,locality,sublocality,route,'
            'street_number,subpremise,postal_code,formatted_address}',
            case
                when jsonb_path_exists(
                    value, '$.keyvalue() ? (@.value.type() == "object" || @.value.type() == "array")'
                ) then 'a part is no text'
            end
        )
    end
end;
comment on function pipeline.misfit(text, jsonb) is
    'Why a value of v2''s shape does not fit its field type; null where it does, or the type is '
    'not one of those that have a rule.';

create function pipeline.value_of_v1(kind text, extra jsonb, key text) returns jsonb
language sql immutable parallel safe
return case
    when kind in ('monetary', 'daterange', 'time', 'timerange', 'address')
        and jsonb_typeof(extra -> key) is distinct from 'object'
        then nullif(
            jsonb_strip_nulls(jsonb_build_object(
                'value', extra -> key,
                'currency', extra -> (key || '_currency'),
                'until', extra -> (key || '_until')
            )),
            '{}'
        )
    else nullif(extra -> key, 'null')
end;
comment on function pipeline.value_of_v1(text, jsonb, text) is
    'A value that stands at the top level of its record, in the shape of v2.';

create table integration.fields (
    tenant_id text not null,
    system text not null,
    entity text not null,
    field_key text not null,
    field_name text not null,
    field_type text not null,
    is_custom boolean not null,
    options jsonb not null default '{}',
    labels jsonb not null default '{}',
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    removed_at timestamptz,
    constraint fields_pkey primary key (tenant_id, system, entity, field_key),
    constraint fields_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.fields is
    'Every field that a tenant''s records ever had. The key is the identity: a field that is made '
    'again under the same name is another one.';
comment on column integration.fields.tenant_id is
    'The tenant.';
comment on column integration.fields.system is
    'The CRM: pipedrive.';
comment on column integration.fields.entity is
    'Whose field: organizations or persons.';
comment on column integration.fields.field_key is
    'Key of the field; readable if built in, else 40 digits.';
comment on column integration.fields.field_name is
    'Name as last seen; neither unique nor lasting.';
comment on column integration.fields.field_type is
    'The source''s type as last seen, such as varchar, enum, monetary.';
comment on column integration.fields.is_custom is
    'Whether the company made the field itself.';
comment on column integration.fields.options is
    'Options as last seen: id to label.';
comment on column integration.fields.labels is
    'Label of every option that was ever seen, removed ones too: id to label as last seen.';
comment on column integration.fields.first_seen_at is
    'When the field was first seen.';
comment on column integration.fields.last_seen_at is
    'When the definition was last seen to be new or changed.';
comment on column integration.fields.removed_at is
    'When it was first seen to be gone; empty while it is there.';

create table integration.field_changes (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    entity text not null,
    field_key text not null,
    change text not null,
    before text,
    after text,
    seen_at timestamptz not null default now(),
    constraint field_changes_pkey primary key (id),
    constraint field_changes_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint field_changes_change_check check (
        change in (
            'added', 'renamed', 'retyped', 'removed', 'restored',
            'option_added', 'option_renamed', 'option_removed'
        )
    )
);
create index field_changes_tenant_id_idx
    on integration.field_changes (tenant_id, system, entity, field_key, id);
comment on table integration.field_changes is
    'What happened to fields and their options, in the order in which it was seen.';
comment on column integration.field_changes.id is
    'Number of the row.';
comment on column integration.field_changes.tenant_id is
    'The tenant.';
comment on column integration.field_changes.system is
    'The CRM: pipedrive.';
comment on column integration.field_changes.entity is
    'Whose field: organizations or persons.';
comment on column integration.field_changes.field_key is
    'Key of the field.';
comment on column integration.field_changes.change is
    'added, renamed, retyped, removed, restored; option_added, option_renamed, option_removed.';
comment on column integration.field_changes.before is
    'Name, type or label before.';
comment on column integration.field_changes.after is
    'Name, type or label after.';
comment on column integration.field_changes.seen_at is
    'When the change was seen.';

create table integration.view_columns (
    tenant_id text not null,
    system text not null,
    mart text not null,
    field_key text not null,
    field_type text not null,
    part text not null,
    position integer not null,
    column_name text not null,
    named_after text not null,
    is_overflow boolean not null default false,
    is_retired boolean not null default false,
    constraint view_columns_pkey primary key (tenant_id, system, mart, field_key, field_type, part),
    constraint view_columns_column_name_key
        unique (tenant_id, system, mart, column_name) deferrable initially deferred,
    constraint view_columns_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.view_columns is
    'Which column of a tenant''s views shows which custom field; a name stays until its field is '
    'renamed.';
comment on column integration.view_columns.tenant_id is
    'The tenant.';
comment on column integration.view_columns.system is
    'The CRM: pipedrive.';
comment on column integration.view_columns.mart is
    'Whose column: customers or contacts.';
comment on column integration.view_columns.field_key is
    'Key of the field.';
comment on column integration.view_columns.field_type is
    'The source''s type that the column was made for.';
comment on column integration.view_columns.part is
    'Which part of the field: empty for the value itself, else amount, currency, id and so on.';
comment on column integration.view_columns.position is
    'Order of the columns, in which they came.';
comment on column integration.view_columns.column_name is
    'Name of the column.';
comment on column integration.view_columns.named_after is
    'Name of the field from which the column''s was made.';
comment on column integration.view_columns.is_overflow is
    'Whether the view had no room: the value stands in more_fields under this name.';
comment on column integration.view_columns.is_retired is
    'Whether the field has another type now, and the column stayed for what is built on it.';

create table integration.column_changes (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    mart text not null,
    field_key text not null,
    change text not null,
    before text,
    after text,
    changed_at timestamptz not null default now(),
    constraint column_changes_pkey primary key (id),
    constraint column_changes_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index column_changes_tenant_id_idx on integration.column_changes (tenant_id, system, id);
comment on table integration.column_changes is
    'Columns of the analysts'' views that came, changed or were renamed.';
comment on column integration.column_changes.id is
    'Number of the row.';
comment on column integration.column_changes.tenant_id is
    'The tenant.';
comment on column integration.column_changes.system is
    'The CRM: pipedrive.';
comment on column integration.column_changes.mart is
    'Whose column: customers or contacts.';
comment on column integration.column_changes.field_key is
    'Key of the field.';
comment on column integration.column_changes.change is
    'added, renamed, retyped (the name holds the new type now), kept (the type changed, and the '
    'old column stays because something is built on the view), overflowed (no room: more_fields).';
comment on column integration.column_changes.before is
    'Column before.';
comment on column integration.column_changes.after is
    'Column after.';
comment on column integration.column_changes.changed_at is
    'When the views changed.';

alter table integration.mart_state add column values_checked text;
comment on column integration.mart_state.values_checked is
    'Fingerprint of the field types that all of raw was last checked against.';
alter table integration.mart_state add column values_seen bigint;
comment on column integration.mart_state.values_seen is
    'Values of custom fields that the last build looked at: those that are not null in raw.';
alter table integration.mart_state add column values_kept bigint;
comment on column integration.mart_state.values_kept is
    'Of those, how many fit their type.';
alter table integration.mart_state add column values_rejected bigint;
comment on column integration.mart_state.values_rejected is
    'Of those, how many went to rejected_values.';

grant select, insert, update, delete
    on integration.fields,
        integration.field_changes,
        integration.view_columns,
        integration.column_changes
    to pipeline_engine;
grant select
    on integration.fields,
        integration.field_changes,
        integration.view_columns,
        integration.column_changes
    to pipeline_app;

alter table integration.fields enable row level security;
alter table integration.fields force row level security;
create policy engine on integration.fields to pipeline_engine
    using (true) with check (true);
create policy app on integration.fields to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.field_changes enable row level security;
alter table integration.field_changes force row level security;
create policy engine on integration.field_changes to pipeline_engine
    using (true) with check (true);
create policy app on integration.field_changes to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.view_columns enable row level security;
alter table integration.view_columns force row level security;
create policy engine on integration.view_columns to pipeline_engine
    using (true) with check (true);
create policy app on integration.view_columns to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));

alter table integration.column_changes enable row level security;
alter table integration.column_changes force row level security;
create policy engine on integration.column_changes to pipeline_engine
    using (true) with check (true);
create policy app on integration.column_changes to pipeline_app
    using (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')))
    with check (tenant_id = (select nullif(current_setting('pipeline.tenant_id', true), '')));
