-- The function that reads one sink's table, with the rights of the sink's role.
-- What: a function of pipeline_sinks; key and values of each row of the tenant, as text.
-- Reads: the app's table.
-- Needs: filled in by marts/sinks/writer.py from the declaration and the catalogue.

create function :function ()
returns table (app_key text[], shown jsonb)
language plpgsql security definer
set search_path = :search_path
set lock_timeout = '5s'
as $sink$
begin
    :settings
    return query
        select :key, :shown
        from :table as target
        where :is_of_tenant;
end
$sink$
