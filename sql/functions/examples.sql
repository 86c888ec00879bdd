-- Example values of a view's columns.
-- What: example_values.
-- Reads: the view that it is given.
-- Needs: nothing else.

create or replace function pipeline.example_values(relation oid) returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
    examples jsonb;
begin
    -- With the rights of the reader: a view that they may not read has no examples.
    if not has_table_privilege(relation, 'select') then
        return null;
    end if;
    execute format(
        $query$
        select jsonb_object_agg(entry.column_name, entry.value)
        from (
            select distinct on (entry.column_name)
                entry.column_name as column_name,
                case
                    when length(entry.value) > 60 then left(entry.value, 59) || '…'
                    else entry.value
                end as value
            from (
                select to_jsonb(shown) as column_values
                from %s as shown
                limit 20
            ) as sample
            cross join lateral jsonb_each_text(sample.column_values) as entry (column_name, value)
            where entry.value not in ('', '[]', '{}')
        ) as entry
        $query$,
        relation::regclass
    ) into examples;
    return examples;
exception
    when others then
        return null; -- a view that somebody else made here, and that fails
end
$$;
comment on function pipeline.example_values(oid) is
    'A value of each column of a view, from a few of its rows: the first that is neither null nor '
    'empty. Reads with the rights of the caller.';
