-- Stores what came of the rows that a sink's function wrote, in their links.
-- What: counts by outcome, and the fault of each row that was refused.
-- Reads: :written, the results of the function.
-- Needs: filled in by marts/sinks/feeding.py, after chunk.sql.

with written as materialized (
    select result.*
    from :written as result
),

renewed as (
    update integration.sink_links
    set row_id = written.of_row,
        remote_id = coalesce(written.of_record, sink_links.remote_id),
        app_key = written.key_now,
        asked = case
            when written.fault is null then written.values_asked
            else sink_links.asked
        end,
        stored = coalesce(written.values_now, sink_links.stored),
        before = case
            when sink_links.matched_by <> 'inserted'
                and written.outcome in ('updated', 'unchanged')
                then written.values_before || coalesce(sink_links.before, '{}')
            else sink_links.before
        end,
        fault = written.fault
    from written
    where sink_links.id = written.of_link
        and written.outcome <> 'missing'
),

added as (
    insert into integration.sink_links (
        tenant_id, system, sink, row_id, remote_id, app_key, matched_by, confirmed_at,
        confirmed_by, asked, stored, fault
    )
    select
        :'tenant', :'system', :'sink', written.of_row, written.of_record, written.key_now,
        'inserted', now(), 'a sync',
        case when written.fault is null then written.values_asked end,
        written.values_now, written.fault
    from written
    where written.of_link is null
        and written.outcome <> 'missing'
)

select
    (
        select jsonb_object_agg(counted.outcome, counted.rows)
        from (
            select written.outcome, count(*) as rows
            from written
            group by written.outcome
        ) as counted
    ),
    (
        select jsonb_agg(
            written.fault || jsonb_build_object('remote_id', written.of_record)
            order by written.of_record
        )
        from written
        where written.fault is not null
    )
