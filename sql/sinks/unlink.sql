-- Forgets the links of adopted rows that have their values back.
-- What: how many, and the fault of each row that was refused, which keeps its link.
-- Reads: :written, the results of the sink's function.
-- Needs: filled in by marts/sinks/adoption.py, after undo.sql.

with written as materialized (
    select result.*
    from :written as result
),

forgotten as (
    delete from integration.sink_links
    where sink_links.tenant_id = :'tenant'
        and sink_links.system = :'system'
        and sink_links.sink = :'sink'
        and sink_links.confirmed_at is not null
        and sink_links.matched_by <> 'inserted'
        and sink_links.id > :after_id
        and sink_links.id <= :last_id
        and sink_links.id not in (
            select written.of_link
            from written
            where written.fault is not null
        )
    returning sink_links.id
)

select
    (select count(*) from forgotten),
    (
        select jsonb_agg(written.fault || jsonb_build_object('remote_id', written.of_record))
        from written
        where written.fault is not null
    )
