-- The function that writes one sink's table, with the rights of the sink's role.
-- What: a function of pipeline_sinks; for each row that is not as wanted its outcome, and what the
--       app's row was and is.
-- Reads: the app's table.
-- Needs: filled in by marts/sinks/writer.py from the declaration and the catalogue.
--
-- A trigger of the app runs inside, with these rights, and in a security-restricted operation
-- (marts/sinks/app_access.py): Postgres refuses `set role`, temporary objects and deferred triggers
-- there. Constraints are immediate, so that those of the app that are deferred are no error.
--
-- `given` has an object for each row: row_id, remote_id, link_id, app_key, may_insert, wanted (values by column), asked
-- and stored (of the last time), kept (columns whose edits by the app are kept).

create function :function (given jsonb)
returns table (
    of_row uuid, of_record text, of_link bigint, outcome text, key_now text[], values_asked jsonb, values_now jsonb,
    values_before jsonb, fault jsonb
)
language plpgsql security definer
set search_path = :search_path
set lock_timeout = '5s'
as $sink$
declare
    item record;
    asked_now jsonb;
    changed text[];
    state text;
    bad_schema text;
    bad_table text;
    bad_column text;
    bad_constraint text;
    probed record;
begin
    :settings
    set constraints all immediate;
    for item in
        select entry.*, app_row.shown
        from jsonb_to_recordset(given) as entry (
            row_id uuid, remote_id text, link_id bigint, app_key text[], may_insert boolean, wanted jsonb, asked jsonb,
            stored jsonb, kept text[]
        )
        left join lateral (
            select :shown as shown
            from :table as target
            where :is_row
        ) as app_row on true
        where app_row.shown is null
            or entry.asked is distinct from entry.wanted
            or entry.stored is distinct from app_row.shown
    loop
        of_row := item.row_id;
        of_record := item.remote_id;
        of_link := item.link_id;
        key_now := item.app_key;
        values_asked := item.wanted;
        values_before := item.shown;
        values_now := null;
        fault := null;
        begin
            if item.shown is null and not item.may_insert then
                outcome := 'missing';
            elsif item.shown is null then
                outcome := 'created';
                insert into :table as target (:inserted_columns)
                select :inserted_values
                from jsonb_to_record(item.wanted) as given_row (:given_columns)
                returning :key into key_now;
                if not found then
                    raise triggered_action_exception using table = :'table_name';
                end if;
            else
                select :given_shown into asked_now
                from jsonb_to_record(item.wanted) as given_row (:given_columns);
                -- Not what a trigger made of the same value before, and not what the app may keep.
                changed := array(
                    select entry.name
                    from jsonb_object_keys(item.wanted) as entry (name)
                    where entry.name <> all (:key_names)
                        and item.shown -> entry.name is distinct from asked_now -> entry.name
                        and not coalesce(
                            item.asked -> entry.name = item.wanted -> entry.name
                            and item.stored -> entry.name = item.shown -> entry.name,
                            false
                        )
                        and not (
                            entry.name = any (item.kept)
                            and coalesce(
                                item.stored -> entry.name <> item.shown -> entry.name, false
                            )
                        )
                );
                outcome := 'unchanged';
                if cardinality(changed) > 0 then
                    outcome := 'updated';
                    update :table as target
                    set :assignments
                    from jsonb_to_record(item.wanted) as given_row (:given_columns)
                    where :is_item;
                    if not found then
                        raise triggered_action_exception using table = :'table_name';
                    end if;
                end if;
            end if;
            if outcome <> 'missing' then
                select :shown into values_now
                from :table as target
                where :is_now;
                -- What the app keeps, and what was not asked for, is compared with the same again.
                select
                    values_asked - coalesce(array_agg(entry.name) filter (where is_kept), '{}')
                    || coalesce(
                        jsonb_object_agg(entry.name, item.asked -> entry.name)
                            filter (where is_kept and item.asked ? entry.name),
                        '{}'
                    ),
                    values_now || coalesce(
                        jsonb_object_agg(entry.name, entry.value)
                            filter (where is_kept or not item.wanted ? entry.name),
                        '{}'
                    )
                into values_asked, values_now
                from jsonb_each(case when outcome <> 'created' then item.stored end)
                    as entry (name, value)
                cross join lateral (
                    select entry.name = any (item.kept)
                        and entry.value <> item.shown -> entry.name as is_kept
                ) as decision;
            end if;
        exception
            when others then
                get stacked diagnostics
                    state = returned_sqlstate,
                    bad_schema = schema_name,
                    bad_table = table_name,
                    bad_column = column_name,
                    bad_constraint = constraint_name;
                -- A lock, a deadlock, a cancelled query, no memory: not the fault of this row.
                if left(state, 2) in ('08', '25', '40', '53', '55', '57', '58', 'XX') then
                    raise;
                end if;
                outcome := 'refused';
                values_now := null;
                key_now := item.app_key;
                if left(state, 2) = '22' and bad_column = '' then
                    for probed in
                        select * from unnest(:column_names, :column_types) as each (name, type)
                    loop
                        begin
                            execute format(
                                'select from jsonb_to_record($1) as probe (%I %s)',
                                probed.name, probed.type
                            ) using item.wanted;
                        exception
                            when others then
                                bad_column := probed.name;
                        end;
                    end loop;
                end if;
                fault := jsonb_strip_nulls(jsonb_build_object(
                    'sqlstate', state,
                    'table', coalesce(
                        nullif(concat_ws('.', nullif(bad_schema, ''), nullif(bad_table, '')), ''),
                        :'table_name'
                    ),
                    'column', nullif(bad_column, ''),
                    'constraint', nullif(bad_constraint, '')
                ));
        end;
        return next;
    end loop;
    set constraints all immediate;
end
$sink$
