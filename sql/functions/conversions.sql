-- Conversions of JSON values into types.
-- What: functions that return a value of a type, or null where the JSON value does not fit it.
-- Reads: nothing.
-- Needs: 0001_installation.sql.
--
-- None of them fails for any value. They are PL/pgSQL: nested SQL functions were too expensive for
-- Postgres to inline, and took 65 microseconds a value. The form that nearly all values have comes
-- first: PL/pgSQL takes a microsecond to enter, and a fifth of one for each expression.

create or replace function pipeline.as_text(value jsonb) returns text
language plpgsql immutable parallel safe
as $$
begin
    if jsonb_typeof(value) in ('string', 'number', 'boolean') then
        return value #>> '{}';
    end if;
    return null;
end
$$;
comment on function pipeline.as_text(jsonb) is
    'A string, number or boolean as text.';

create or replace function pipeline.as_numeric(value jsonb) returns numeric
language plpgsql immutable parallel safe
as $$
declare
    kind text := jsonb_typeof(value);
    written text;
begin
    if kind = 'number' then
        return value::numeric;
    elsif kind = 'string' then
        written := value #>> '{}';
        if length(written) <= 400
            and written ~ '^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$' then
            return written::numeric;
        end if;
    end if;
    return null;
end
$$;
comment on function pipeline.as_numeric(jsonb) is
    'A number with all its digits; also one written as text with a point, such as "12.50".';

create or replace function pipeline.as_bigint(value jsonb) returns bigint
language plpgsql immutable parallel safe
as $$
declare
    number numeric;
begin
    if value::text ~ '^-?[0-9]{1,18}$' then
        return value::bigint;
    end if;
    number := pipeline.as_numeric(value);
    if number between -9223372036854775808 and 9223372036854775807 and number % 1 = 0 then
        return number::bigint;
    end if;
    return null;
end
$$;
comment on function pipeline.as_bigint(jsonb) is
    'A whole number of 64 bits.';

create or replace function pipeline.as_boolean(value jsonb) returns boolean
language plpgsql immutable parallel safe
as $$
declare
    written text := pipeline.as_text(value);
begin
    if written in ('true', '1') then
        return true;
    elsif written in ('false', '0') then
        return false;
    end if;
    return null;
end
$$;
comment on function pipeline.as_boolean(jsonb) is
    'true and false, 1 and 0, also written as text.';

create or replace function pipeline.as_date(value jsonb) returns date
language plpgsql immutable parallel safe
as $$
declare
    written text;
    first_day date;
    day_number integer;
begin
    written := value #>> '{}';
    if written ~ '^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$' then
        return written::date; -- a day that every month has
    elsif jsonb_typeof(value) is distinct from 'string'
        or written !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
        or left(written, 4) = '0000' then
        return null;
    end if;
    first_day := make_date(left(written, 4)::integer, substr(written, 6, 2)::integer, 1);
    day_number := substr(written, 9, 2)::integer;
    if day_number > 28
        and day_number > extract(day from first_day + interval '1 month' - interval '1 day') then
        return null;
    end if;
    return first_day + (day_number - 1);
end
$$;
comment on function pipeline.as_date(jsonb) is
    'A day of the calendar written YYYY-MM-DD, from year 1 to 9999.';

create or replace function pipeline.as_time(value jsonb) returns time
language plpgsql immutable parallel safe
as $$
declare
    written text;
begin
    if jsonb_typeof(value) = 'string' then
        written := value #>> '{}';
        if written ~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$' then
            return make_time(
                left(written, 2)::integer,
                substr(written, 4, 2)::integer,
                coalesce(nullif(substr(written, 7), ''), '0')::double precision
            );
        end if;
    end if;
    return null;
end
$$;
comment on function pipeline.as_time(jsonb) is
    'A time of day from 00:00 to 23:59:59, written HH:MM or HH:MM:SS.';

create or replace function pipeline.as_interval(value jsonb) returns interval
language plpgsql immutable parallel safe
as $$
declare
    written text;
begin
    if jsonb_typeof(value) = 'string' then
        written := value #>> '{}';
        if written ~ '^[0-9]{1,4}:[0-5][0-9](:[0-5][0-9])?$' then
            return make_interval(
                hours => split_part(written, ':', 1)::integer,
                mins => split_part(written, ':', 2)::integer,
                secs => coalesce(nullif(split_part(written, ':', 3), ''), '0')::integer
            );
        end if;
    end if;
    return null;
end
$$;
comment on function pipeline.as_interval(jsonb) is
    'A length of time written HH:MM or HH:MM:SS.';

create or replace function pipeline.as_reference(value jsonb) returns bigint
language plpgsql immutable parallel safe
as $$
begin
    if value::text ~ '^-?[0-9]{1,18}$' then
        return value::bigint;
    elsif jsonb_typeof(value) = 'object' then
        return pipeline.as_bigint(
            coalesce(nullif(value -> 'id', 'null'), nullif(value -> 'value', 'null'))
        );
    end if;
    return pipeline.as_bigint(value);
end
$$;
comment on function pipeline.as_reference(jsonb) is
    'The id of another record: the number, or the id or value of an object.';

create or replace function pipeline.as_ids(value jsonb) returns bigint[]
language plpgsql immutable parallel safe
as $$
declare
    written text := value::text;
    ids bigint[];
    id bigint;
begin
    if written ~ '^\[[0-9]{1,18}(, [0-9]{1,18})*\]$' then
        ids := translate(written, '[] ', '{}')::bigint[];
    elsif jsonb_typeof(value) = 'array' then
        ids := '{}';
        for place in 0 .. jsonb_array_length(value) - 1 loop
            id := pipeline.as_bigint(value -> place);
            if id is null then
                return null;
            end if;
            ids := ids || id;
        end loop;
    elsif jsonb_typeof(value) = 'string'
        and value #>> '{}' ~ '^ *[0-9]{1,18} *(, *[0-9]{1,18} *)*$' then
        ids := string_to_array(replace(value #>> '{}', ' ', ''), ',')::bigint[];
    else
        id := pipeline.as_bigint(value);
        return case when id is not null then array[id] end;
    end if;
    for place in 2 .. cardinality(ids) loop
        if ids[place - 1] >= ids[place] then -- to be sorted, or twice the same
            return array(select distinct entry from unnest(ids) as entry order by entry);
        end if;
    end loop;
    return ids;
end
$$;
comment on function pipeline.as_ids(jsonb) is
    'Whole numbers, ascending and each once: an array, one number, or text such as "12,15".';

-- v2 sends {"custom_fields": {key: value}}, v1 {key: value, key_currency: …} at the top level.
create or replace function pipeline.field_value(custom_fields jsonb, extra jsonb, key text)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    field jsonb := custom_fields -> key;
begin
    if field is null or field = 'null' then
        field := extra -> key;
        if field = 'null' then
            return null;
        end if;
    end if;
    return field;
end
$$;
comment on function pipeline.field_value(jsonb, jsonb, text) is
    'A field''s value, of the shape of v2 or, if there is none, of v1.';

create or replace function pipeline.field_part(
    custom_fields jsonb, extra jsonb, key text, part text
) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    field jsonb := pipeline.field_value(custom_fields, extra, key);
begin
    if jsonb_typeof(field) = 'object' then
        field := field -> part;
    elsif part <> 'value' then
        field := extra -> (key || '_' || part);
    end if;
    if field = 'null' then
        return null;
    end if;
    return field;
end
$$;
comment on function pipeline.field_part(jsonb, jsonb, text, text) is
    'One part of a field of several, such as value, currency, until; the whole is its part value '
    'where it has no parts.';

create or replace function pipeline.value_of_v1(kind text, extra jsonb, key text) returns jsonb
language plpgsql immutable parallel safe
as $$
begin
    if kind in ('monetary', 'daterange', 'time', 'timerange', 'address')
        and jsonb_typeof(extra -> key) is distinct from 'object' then
        return nullif(
            jsonb_strip_nulls(jsonb_build_object('value', extra -> key)) || coalesce(
                (
                    select jsonb_object_agg(part, extra -> (key || '_' || part))
                    from unnest(
                        '{currency,until,timezone_id,timezone_name,country,admin_area_level_1,'
                        'admin_area_level_2,locality,sublocality,route,street_number,subpremise,'
                        'postal_code,formatted_address}'::text[]
                    ) as part
                    where nullif(extra -> (key || '_' || part), 'null') is not null
                ),
                '{}'
            ),
            '{}'
        );
    end if;
    return nullif(extra -> key, 'null');
end
$$;
comment on function pipeline.value_of_v1(text, jsonb, text) is
    'A value that stands at the top level of its record, in the shape of v2.';

create or replace function pipeline.labels_of(ids bigint[], labels jsonb) returns text[]
language plpgsql immutable parallel safe
as $$
declare
    names text[] := '{}';
    id bigint;
begin
    if ids is null then
        return null;
    end if;
    foreach id in array ids loop
        names := names || coalesce(labels ->> id::text, id::text);
    end loop;
    return names;
end
$$;
comment on function pipeline.labels_of(bigint[], jsonb) is
    'The labels of options in the order of the ids; the id where no label was ever known.';

create or replace function pipeline.loaded_at(load_id text) returns timestamptz
language plpgsql stable parallel safe
as $$
begin
    if load_id ~ '^[0-9]{1,10}(\.[0-9]+)?$' then
        return to_timestamp(load_id::double precision);
    end if;
    return now();
end
$$;
comment on function pipeline.loaded_at(text) is
    'When a load of raw began: its id is that time in seconds.';
