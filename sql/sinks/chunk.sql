-- Writes one chunk of a mart's rows into a sink's table, with their links.
-- What: counts of the rows read and given, the last row read, outcomes, faults.
-- Reads: the sink's mart, integration.sink_links; the app's table, through the sink's function.
-- Needs: filled in by marts/sinks/feeding.py.
--
-- A row of the mart that was deleted and made again has another id, and still its remote_id: the
-- link is then that of the former row. A row with an open proposal waits for a person.

with due as materialized (
    select :columns
    from :mart as mart
    where mart.tenant_id = :'tenant'
        and mart.system = :'system'
        and :is_due
    order by
        mart.updated_at asc,
        mart.id asc
    limit :chunk_rows
),

linked as materialized (
    select
        mart.*,
        link.id as link_id,
        link.app_key as link_key,
        :wanted as wanted,
        link.asked as asked,
        link.stored as stored,
        :may_insert as may_insert,
        :kept as kept
    from due as mart
    left join lateral (
        select sink_links.*
        from integration.sink_links
        where sink_links.tenant_id = :'tenant'
            and sink_links.system = :'system'
            and sink_links.sink = :'sink'
            and sink_links.confirmed_at is not null
            and (
                sink_links.row_id = mart.id
                or sink_links.remote_id = mart.remote_id
                and not exists (
                    select from :mart as former where former.id = sink_links.row_id
                )
            )
        order by sink_links.row_id = mart.id desc
        limit 1
    ) as link on true
    where not exists (
        select
        from integration.sink_links as proposal
        where proposal.tenant_id = :'tenant'
            and proposal.system = :'system'
            and proposal.sink = :'sink'
            and proposal.row_id = mart.id
            and proposal.confirmed_at is null
    )
),

eligible as materialized (
    select linked.*
    from linked
    where linked.wanted is not null
        and (linked.link_key is not null or linked.deleted_at is null and :inserts)
),

written as materialized (
    select result.*
    from (
        select jsonb_agg(
            jsonb_build_object(
                'row_id', eligible.id,
                'app_key', eligible.link_key,
                'may_insert', eligible.may_insert and eligible.deleted_at is null,
                'wanted', eligible.wanted,
                'asked', eligible.asked,
                'stored', eligible.stored,
                'kept', eligible.kept
            )
            order by eligible.updated_at, eligible.id
        ) as items
        from eligible
    ) as given
    cross join lateral :write (coalesce(given.items, '[]')) as result
),

outcomes as materialized (
    select
        written.*,
        eligible.id as row_id,
        eligible.remote_id,
        eligible.link_id
    from written
    inner join eligible
        on eligible.id = written.of_row
),

renewed as (
    update integration.sink_links
    set row_id = outcomes.row_id,
        remote_id = coalesce(outcomes.remote_id, sink_links.remote_id),
        app_key = outcomes.key_now,
        asked = case
            when outcomes.fault is null then outcomes.values_asked
            else sink_links.asked
        end,
        stored = coalesce(outcomes.values_now, sink_links.stored),
        before = case
            when sink_links.matched_by <> 'inserted'
                and outcomes.outcome in ('updated', 'unchanged')
                then outcomes.values_before || coalesce(sink_links.before, '{}')
            else sink_links.before
        end,
        fault = outcomes.fault
    from outcomes
    where sink_links.id = outcomes.link_id
        and outcomes.outcome <> 'missing'
),

-- Refused before, and its record is gone by now.
forgotten as (
    delete from integration.sink_links
    using linked
    where sink_links.id = linked.link_id
        and linked.link_key is null
        and linked.deleted_at is not null
),

added as (
    insert into integration.sink_links (
        tenant_id, system, sink, row_id, remote_id, app_key, matched_by, confirmed_at,
        confirmed_by, asked, stored, fault
    )
    select
        :'tenant', :'system', :'sink', outcomes.row_id, outcomes.remote_id, outcomes.key_now,
        'inserted', now(), 'a sync',
        case when outcomes.fault is null then outcomes.values_asked end,
        outcomes.values_now, outcomes.fault
    from outcomes
    where outcomes.link_id is null
        and outcomes.outcome <> 'missing'
)

select
    (select count(*) from due),
    (select count(*) from eligible),
    (select due.updated_at from due order by due.updated_at desc, due.id desc limit 1),
    (select due.id from due order by due.updated_at desc, due.id desc limit 1),
    (
        select jsonb_object_agg(counted.outcome, counted.rows)
        from (
            select outcomes.outcome, count(*) as rows
            from outcomes
            group by outcomes.outcome
        ) as counted
    ),
    (
        select jsonb_agg(
            outcomes.fault || jsonb_build_object('remote_id', outcomes.remote_id)
            order by outcomes.remote_id
        )
        from outcomes
        where outcomes.fault is not null
    )
