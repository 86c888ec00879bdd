-- Conversions that are quick where many columns are read.
-- What: the functions of the schema pipeline anew, in PL/pgSQL.
-- Reads: nothing.
-- Needs: 0021_misfits_of_parts.sql.
--
-- Nested, the SQL functions were too dear to be inlined, and each call set up a query of its own:
-- 65 microseconds a value. They answer as before.

grant usage on schema pipeline to public; -- a view's functions run with the reader's rights

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

create or replace function pipeline.as_bigint(value jsonb) returns bigint
language plpgsql immutable parallel safe
as $$
declare
    number numeric := pipeline.as_numeric(value);
begin
    if number between -9223372036854775808 and 9223372036854775807 and number % 1 = 0 then
        return number::bigint;
    end if;
    return null;
end
$$;

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

create or replace function pipeline.as_date(value jsonb) returns date
language plpgsql immutable parallel safe
as $$
declare
    written text;
    first_day date;
    day_number integer;
begin
    if jsonb_typeof(value) is distinct from 'string' then
        return null;
    end if;
    written := value #>> '{}';
    if written !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
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

create or replace function pipeline.as_reference(value jsonb) returns bigint
language plpgsql immutable parallel safe
as $$
begin
    if jsonb_typeof(value) = 'object' then
        return pipeline.as_bigint(
            coalesce(nullif(value -> 'id', 'null'), nullif(value -> 'value', 'null'))
        );
    end if;
    return pipeline.as_bigint(value);
end
$$;

create or replace function pipeline.as_ids(value jsonb) returns bigint[]
language plpgsql immutable parallel safe
as $$
declare
    kind text := jsonb_typeof(value);
    found bigint[] := '{}';
    item jsonb;
    id bigint;
begin
    if kind = 'array' then
        for place in 0 .. jsonb_array_length(value) - 1 loop
            item := value -> place;
            id := pipeline.as_bigint(item);
            if id is null then
                return null;
            end if;
            found := found || id;
        end loop;
    elsif kind = 'string' and value #>> '{}' ~ '^ *[0-9]{1,18} *(, *[0-9]{1,18} *)*$' then
        found := string_to_array(replace(value #>> '{}', ' ', ''), ',')::bigint[];
    elsif pipeline.as_bigint(value) is not null then
        return array[pipeline.as_bigint(value)];
    else
        return null;
    end if;
    if cardinality(found) < 2 then
        return found;
    end if;
    return array(select distinct entry from unnest(found) as entry order by entry);
end
$$;

create or replace function pipeline.field_value(custom_fields jsonb, extra jsonb, key text)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    found jsonb := custom_fields -> key;
begin
    if found is null or found = 'null' then
        found := extra -> key;
        if found = 'null' then
            return null;
        end if;
    end if;
    return found;
end
$$;

create or replace function pipeline.field_part(
    custom_fields jsonb, extra jsonb, key text, part text
) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    found jsonb := pipeline.field_value(custom_fields, extra, key);
begin
    if jsonb_typeof(found) = 'object' then
        found := found -> part;
    elsif part <> 'value' then
        found := extra -> (key || '_' || part);
    end if;
    if found = 'null' then
        return null;
    end if;
    return found;
end
$$;

create or replace function pipeline.labels_of(ids bigint[], labels jsonb) returns text[]
language plpgsql immutable parallel safe
as $$
declare
    found text[] := '{}';
    id bigint;
begin
    if ids is null then
        return null;
    end if;
    foreach id in array ids loop
        found := found || coalesce(labels ->> id::text, id::text);
    end loop;
    return found;
end
$$;

create or replace function pipeline.parts_misfit(value jsonb, known text[], misfit text)
returns text
language plpgsql immutable parallel safe
as $$
begin
    if misfit is null
        and jsonb_typeof(value) = 'object'
        and not jsonb_strip_nulls(value) ?| known
        and jsonb_strip_nulls(value) <> '{}' then
        return 'none of its parts is known';
    end if;
    return misfit;
end
$$;

create or replace function pipeline.misfit(kind text, value jsonb) returns text
language plpgsql immutable parallel safe
as $$
declare
    main jsonb := case
        when jsonb_typeof(value) = 'object' then nullif(value -> 'value', 'null')
        else value
    end;
begin
    if value is null or value = 'null' then
        return null;
    elsif kind in ('varchar', 'varchar_auto', 'text', 'phone') then
        return case when pipeline.as_text(value) is null then 'is no text' end;
    elsif kind = 'double' then
        return case when pipeline.as_numeric(value) is null then 'is no number' end;
    elsif kind in ('int', 'enum') then
        return case when pipeline.as_bigint(value) is null then 'is no whole number of 64 bits' end;
    elsif kind = 'set' then
        return case when pipeline.as_ids(value) is null then 'is no list of option ids' end;
    elsif kind = 'date' then
        return case when pipeline.as_date(value) is null then 'is no day of the calendar' end;
    elsif kind in ('user', 'org', 'people') then
        return case when pipeline.as_reference(value) is null then 'is no id of a record' end;
    elsif kind = 'boolean' then
        return case when pipeline.as_boolean(value) is null then 'is neither true nor false' end;
    elsif kind = 'monetary' then
        return pipeline.parts_misfit(value, '{value,currency}', case
            when main is not null and pipeline.as_numeric(main) is null then 'value is no number'
            when jsonb_typeof(value -> 'currency') in ('object', 'array')
                then 'currency is no text'
        end);
    elsif kind = 'daterange' then
        return pipeline.parts_misfit(value, '{value,until}', case
            when main is not null and pipeline.as_date(main) is null
                then 'value is no day of the calendar'
            when nullif(value -> 'until', 'null') is not null
                and pipeline.as_date(value -> 'until') is null
                then 'until is no day of the calendar'
        end);
    elsif kind in ('time', 'timerange') then
        return pipeline.parts_misfit(
            value,
            case kind
                when 'time' then '{value,timezone_id,timezone_name}'::text[]
                else '{value,until,timezone_id,timezone_name}'
            end,
            case
                when main is not null and pipeline.as_time(main) is null
                    then 'value is no time of day'
                when kind = 'timerange' and nullif(value -> 'until', 'null') is not null
                    and pipeline.as_time(value -> 'until') is null then 'until is no time of day'
                when jsonb_typeof(value -> 'timezone_name') in ('object', 'array')
                    or jsonb_typeof(value -> 'timezone_id') in ('object', 'array')
                    then 'its time zone is no text'
            end
        );
    elsif kind = 'address' then
        return case
            when jsonb_typeof(value) <> 'object' and pipeline.as_text(value) is null
                then 'is no address'
            else pipeline.parts_misfit(
                value,
                '{value,country,admin_area_level_1,admin_area_level_2,locality,sublocality,route,'
                'street_number,subpremise,postal_code,formatted_address}',
                case
                    when jsonb_path_exists(
                        value, '$.* ? (@.type() == "object" || @.type() == "array")', '{}', true
                    ) then 'a part is no text'
                end
            )
        end;
    end if;
    return null; -- a type without a rule is kept as it was sent
end
$$;
