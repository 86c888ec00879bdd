-- Values of custom fields: what a mapping could not use, and what is not yet known to be shown.
-- What: pipeline.as_ids anew, quicker; pipeline.value_of_v1 anew, with every part; the target of a
--       rejected value; what is still to be compared with views and marts.
-- Reads: nothing.
-- Needs: 0022_conversions.sql.

create or replace function pipeline.as_ids(value jsonb) returns bigint[]
language plpgsql immutable parallel safe
as $$
declare
    kind text := jsonb_typeof(value);
    found bigint[] := '{}';
    id bigint;
begin
    if kind = 'array' then
        -- Nearly every list is of this form; the loop takes five times as long.
        if value::text ~ '^\[[0-9]{1,18}(, [0-9]{1,18})*\]$' then
            found := translate(value::text, '[] ', '{}')::bigint[];
        else
            for place in 0 .. jsonb_array_length(value) - 1 loop
                id := pipeline.as_bigint(value -> place);
                if id is null then
                    return null;
                end if;
                found := found || id;
            end loop;
        end if;
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

alter table integration.rejected_values add column target text;
comment on column integration.rejected_values.target is
    'Column or attribute that a mapping could not fill with it; empty where the value does not fit '
    'raw or its own field''s type.';

alter table integration.mart_state
    add column unproven_loads text[] not null default '{}',
    add column is_proof_due boolean not null default true;
comment on column integration.mart_state.unproven_loads is
    'Loads whose values were not yet compared with what views and marts show of them.';
comment on column integration.mart_state.is_proof_due is
    'Whether all values are to be compared: views, mapping or types changed.';
