-- Time zones that a source names.
-- What: time_zone_or.
-- Reads: nothing.
-- Needs: nothing else.

create or replace function pipeline.time_zone_or(name text, fallback text) returns text
language plpgsql stable
as $$
begin
    perform now() at time zone name;
    return coalesce(name, fallback);
exception
    when invalid_parameter_value then
        return fallback;
end
$$;
comment on function pipeline.time_zone_or(text, text) is
    'The time zone of that name; the fallback where Postgres does not know it, or it is null.';
