-- Chooses one chunk of a mart's rows that a sink's function is to write (app_access.py).
-- What: counts of the rows read and given, the last row read; the rows, in pipeline.sink_rows.
-- Reads: the sink's mart, integration.sink_links.
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
    -- With a limit each row is looked up by its index, whatever the statistics say.
    left join lateral (
        select sink_links.*
        from integration.sink_links
        where sink_links.tenant_id = :'tenant'
            and sink_links.system = :'system'
            and sink_links.sink = :'sink'
            and sink_links.row_id = mart.id
            and sink_links.confirmed_at is not null
        limit 1
    ) as own on true
    left join lateral (
        select sink_links.*
        from integration.sink_links
        where own.id is null
            and sink_links.tenant_id = :'tenant'
            and sink_links.system = :'system'
            and sink_links.sink = :'sink'
            and sink_links.remote_id = mart.remote_id
            and sink_links.confirmed_at is not null
            and not exists (select from :mart as former where former.id = sink_links.row_id)
        limit 1
    ) as former on true
    cross join lateral (
        select
            coalesce(own.id, former.id) as id,
            coalesce(own.app_key, former.app_key) as app_key,
            coalesce(own.asked, former.asked) as asked,
            coalesce(own.stored, former.stored) as stored
    ) as link
    left join lateral (
        select sink_links.id
        from integration.sink_links
        where sink_links.tenant_id = :'tenant'
            and sink_links.system = :'system'
            and sink_links.sink = :'sink'
            and sink_links.row_id = mart.id
            and sink_links.confirmed_at is null
        limit 1
    ) as proposal on true
    where proposal.id is null
),

eligible as materialized (
    select linked.*
    from linked
    where linked.wanted is not null
        and (linked.link_key is not null or linked.deleted_at is null and :inserts)
),

-- Refused before, and its record is gone by now.
forgotten as (
    delete from integration.sink_links
    using linked
    where sink_links.id = linked.link_id
        and linked.link_key is null
        and linked.deleted_at is not null
)

select
    (select count(*) from due),
    (select count(*) from eligible),
    (select due.updated_at from due order by due.updated_at desc, due.id desc limit 1),
    (select due.id from due order by due.updated_at desc, due.id desc limit 1),
    length(
        set_config(
            'pipeline.sink_rows',
            (
                select
                    coalesce(
                        jsonb_agg(
                            jsonb_build_object(
                                'row_id', eligible.id,
                                'remote_id', eligible.remote_id,
                                'link_id', eligible.link_id,
                                'app_key', eligible.link_key,
                                'may_insert', eligible.may_insert and eligible.deleted_at is null,
                                'wanted', eligible.wanted,
                                'asked', eligible.asked,
                                'stored', eligible.stored,
                                'kept', eligible.kept
                            )
                            order by eligible.updated_at, eligible.id
                        ),
                        '[]'
                    )::text
                from eligible
            ),
            true
        )
    )
