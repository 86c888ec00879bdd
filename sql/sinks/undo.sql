-- Gives a chunk of adopted rows the values back that they had, and forgets their links.
-- What: how many rows were given back, how many are refused, one fault.
-- Reads: integration.sink_links; the app's table, through the sink's function.
-- Needs: filled in by marts/sinks/adoption.py.
--
-- A column that the app has edited since keeps the app's value.

with adopted as materialized (
    select sink_links.*
    from integration.sink_links
    where sink_links.tenant_id = :'tenant'
        and sink_links.system = :'system'
        and sink_links.sink = :'sink'
        and sink_links.confirmed_at is not null
        and sink_links.matched_by <> 'inserted'
        and sink_links.id > :after_id
    order by sink_links.id
    limit :chunk_rows
),

written as materialized (
    select result.*
    from (
        select jsonb_agg(
            jsonb_build_object(
                'row_id', adopted.row_id,
                'remote_id', adopted.remote_id,
                'link_id', adopted.id,
                'app_key', adopted.app_key,
                'may_insert', false,
                'wanted', adopted.before,
                'stored', adopted.stored,
                'kept', array(select jsonb_object_keys(adopted.before))
            )
        ) as items
        from adopted
        where adopted.before is not null
    ) as given
    cross join lateral :write (coalesce(given.items, '[]')) as result
),

forgotten as (
    delete from integration.sink_links
    using adopted
    where sink_links.id = adopted.id
        and adopted.id not in (
            select written.of_link from written where written.fault is not null
        )
    returning sink_links.id
)

select
    (select count(*) from adopted),
    (select max(adopted.id) from adopted),
    (select count(*) from forgotten),
    (
        select jsonb_agg(
            written.fault || jsonb_build_object('remote_id', written.of_record)
        )
        from written
        where written.fault is not null
    )
