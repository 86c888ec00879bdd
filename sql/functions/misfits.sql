-- Why a value is not shown as it was sent.
-- What: functions that return a reason, or null where the value fits; empty values always fit.
-- Reads: nothing.
-- Needs: 0001_installation.sql, conversions.sql, standard_values.sql.

create or replace function pipeline.standard_misfit(kind text, value jsonb) returns text
language plpgsql immutable parallel safe
as $$
declare
    is_list boolean := jsonb_typeof(value) = 'array';
    parts jsonb;
begin
    if pipeline.is_empty(value) then
        return null;
    elsif kind = 'points' then
        return (
            select 'has an entry whose value is no text'
            from jsonb_array_elements(
                case when is_list then value else jsonb_build_array(value) end
            ) as entry (item)
            where pipeline.contact_point(entry.item) is null
                and not pipeline.is_empty(
                    case jsonb_typeof(entry.item)
                        when 'object' then entry.item - '{label,primary}'::text[]
                        else entry.item
                    end
                )
            limit 1
        );
    elsif kind = 'options' then
        return (
            select 'has an entry that is no option'
            from jsonb_array_elements(
                case when is_list then value else jsonb_build_array(value) end
            ) as entry (item)
            where pipeline.as_option(entry.item) is null
                and not pipeline.is_empty(entry.item)
            limit 1
        );
    elsif kind = 'day' then
        return pipeline.misfit('date', value);
    elsif kind = 'time_of_day' then
        return case when pipeline.as_time(value) is null then 'is no time of day' end;
    elsif kind = 'duration' then
        return case when pipeline.as_interval(value) is null then 'is no length of time' end;
    elsif kind = 'money' then
        return case
            when pipeline.is_empty(
                case jsonb_typeof(value) when 'object' then value -> 'amount' else value end
            ) then null
            when pipeline.as_numeric(
                case jsonb_typeof(value) when 'object' then value -> 'amount' else value end
            ) is null then 'amount is no number'
            when pipeline.has_parts(value -> 'currency') then 'currency is no text'
        end;
    elsif kind = 'address' then
        parts := pipeline.address_parts(value);
        if is_list or jsonb_typeof(value) = 'boolean' then
            return 'is no address';
        elsif parts is null or not parts
            ?| '{value,route,street_number,locality,postal_code,admin_area_level_1,country}' then
            return 'none of its parts is known';
        elsif pipeline.has_parts_of_parts(value) then
            return 'a part is no text';
        end if;
    end if;
    return null;
end
$$;
comment on function pipeline.standard_misfit(text, jsonb) is
    'Why a standard value is not shown, or not all of it; null where it is. Kinds: points (e-mails, '
    'phones), options (labels), address, money (amount, currency), day, time_of_day, duration.';

create or replace function pipeline.parts_misfit(value jsonb, known text[], misfit text)
returns text
language plpgsql immutable parallel safe
as $$
begin
    if misfit is null
        and jsonb_typeof(value) = 'object'
        and not exists (
            select
            from unnest(known) as part (name)
            where not pipeline.is_empty(value -> part.name)
        ) then
        return 'none of its parts is known';
    end if;
    return misfit;
end
$$;
comment on function pipeline.parts_misfit(jsonb, text[], text) is
    'The given misfit, or one for an object that has no part of those known.';

create or replace function pipeline.misfit(kind text, value jsonb) returns text
language plpgsql immutable parallel safe
as $$
declare
    main jsonb := case jsonb_typeof(value) when 'object' then value -> 'value' else value end;
    has_main boolean;
begin
    if pipeline.is_empty(value) then
        return null;
    elsif kind in ('text', 'choice') then
        return case when pipeline.as_text(value) is null then 'is no text' end;
    elsif kind = 'double' then
        return case when pipeline.as_numeric(value) is null then 'is no number' end;
    elsif kind in ('int', 'enum') then
        return case when pipeline.as_bigint(value) is null then 'is no whole number of 64 bits' end;
    elsif kind = 'set' then
        return case when pipeline.as_ids(value) is null then 'is no list of option ids' end;
    elsif kind = 'date' then
        return case when pipeline.as_date(value) is null then 'is no day of the calendar' end;
    elsif kind = 'reference' then
        return case when pipeline.as_reference(value) is null then 'is no id of a record' end;
    elsif kind = 'boolean' then
        return case when pipeline.as_boolean(value) is null then 'is neither true nor false' end;
    end if;
    has_main := not pipeline.is_empty(main);
    if kind = 'monetary' then
        return pipeline.parts_misfit(value, '{value,currency}', case
            when has_main and pipeline.as_numeric(main) is null then 'value is no number'
            when pipeline.has_parts(value -> 'currency') then 'currency is no text'
        end);
    elsif kind = 'daterange' then
        return pipeline.parts_misfit(value, '{value,until}', case
            when has_main and pipeline.as_date(main) is null
                then 'value is no day of the calendar'
            when not pipeline.is_empty(value -> 'until')
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
                when has_main and pipeline.as_time(main) is null then 'value is no time of day'
                when kind = 'timerange' and not pipeline.is_empty(value -> 'until')
                    and pipeline.as_time(value -> 'until') is null then 'until is no time of day'
                when pipeline.has_parts(value -> 'timezone_name')
                    or pipeline.has_parts(value -> 'timezone_id') then 'its time zone is no text'
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
                case when pipeline.has_parts_of_parts(value) then 'a part is no text' end
            )
        end;
    end if;
    return null; -- a type without a rule is kept as it was sent
end
$$;
comment on function pipeline.misfit(text, jsonb) is
    'Why a value of v2''s shape does not fit its kind of field; null where it does, or the kind is '
    'not one of those that have a rule.';
