-- Chooses a chunk of adopted rows whose former values a sink's function is to write (app_access.py).
-- What: how many links there are, and the last; the rows, in pipeline.sink_rows.
-- Reads: integration.sink_links.
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
)

select
    (select count(*) from adopted),
    (select max(adopted.id) from adopted),
    length(
        set_config(
            'pipeline.sink_rows',
            (
                select
                    coalesce(
                        jsonb_agg(
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
                        ),
                        '[]'
                    )::text
                from adopted
                where adopted.before is not null
            ),
            true
        )
    )
