-- What does not fit a field of several parts is told without an error, and told always.
-- What: pipeline.misfit anew: `.keyvalue()` failed for an address that is no object, and with it
--       the build. pipeline.parts_misfit anew: a known part that is null does not count as one.
-- Reads: nothing.
-- Needs: 0020_fields.sql.

create or replace function pipeline.parts_misfit(value jsonb, known text[], misfit text) returns text
language sql immutable parallel safe
return case
    when misfit is not null then misfit
    when jsonb_typeof(value) = 'object'
        and not jsonb_strip_nulls(value) ?| known
        and jsonb_strip_nulls(value) <> '{}'
        then 'none of its parts is known'
end;
create or replace function pipeline.misfit(kind text, value jsonb) returns text
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
        case kind
            when 'time' then '{value,timezone_id,timezone_name}'::text[]
            else '{value,until,timezone_id,timezone_name}'
        end,
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
                    value, '$.* ? (@.type() == "object" || @.type() == "array")', '{}', true
                ) then 'a part is no text'
            end
        )
    end
end;
