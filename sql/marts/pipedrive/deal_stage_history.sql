-- crm.deal_stage_history from Pipedrive: visits of deals to stages.
-- Entity: deals
-- Also changed by: deals_history (id)
-- Also changed by: deal_changes (deal_id)
-- Also changed by: leads (source_deal_id)
-- Grain: one row per Pipedrive deal and visit of a stage.
-- Reads: deals, deals_history, deal_changes and leads, in the tenant's raw schema (first on
--        search_path).
-- Needs: nothing else.
--
-- A deal's past is a sequence of states: those that its changelog gives, where it was read, then
-- those that reads saw later. A state begins a visit where the stage differs from the state before,
-- or the time of the last move does: then the deal was elsewhere in between. The order of reading
-- counts, not the clock of the source, which may go back.
--
-- Every window is over one deal, so that the ids of changed deals reach the index of deals_history.
with changes as not materialized (
    select
        change.*,
        row_number() over (
            partition by change.deal_id
            order by
                change.time asc,
                array_position(
                    array['pipeline_id', 'currency', 'value', 'stage_id', 'status'],
                    change.field_key
                ) asc,
                change.is_sequel asc,
                change.id asc
        ) as place
    from (
        select
            deal_changes.deal_id,
            deal_changes.id,
            deal_changes.time,
            deal_changes.field_key,
            deal_changes.old_value,
            deal_changes.new_value,
            deal_changes.actor_user_id,
            -- Of two changes in one second, the one that begins where the other ended.
            coalesce(
                deal_changes.old_value = any (
                    array_agg(deal_changes.new_value) over (
                        partition by
                            deal_changes.deal_id,
                            deal_changes.time,
                            deal_changes.field_key
                    )
                ),
                false
            ) as is_sequel
        from deal_changes
        where deal_changes.field_key in ('pipeline_id', 'currency', 'value', 'stage_id', 'status')
            and not coalesce(
                deal_changes.field_key = 'status'
                and 'deleted' in (deal_changes.old_value, deal_changes.new_value),
                false
            )
            and deal_changes.time is not null
            and deal_changes.deal_id is not null
    ) as change
),

-- The value of each field after a change: its last new value, else the first old one.
logged as not materialized (
    select
        changes.deal_id,
        changes.place,
        changes.time,
        case when changes.field_key = 'stage_id' then changes.actor_user_id end as actor_user_id,
        (max(array[to_char(changes.place, 'FM0000000000'), changes.new_value])
            filter (where changes.field_key = 'stage_id') over past)[2] as stage_after,
        (min(array[to_char(changes.place, 'FM0000000000'), changes.old_value])
            filter (where changes.field_key = 'stage_id') over whole)[2] as first_stage,
        max(changes.time) filter (where changes.field_key = 'stage_id') over past as moved_at,
        count(*) filter (where changes.field_key = 'stage_id') over whole as move_count,
        (max(array[to_char(changes.place, 'FM0000000000'), changes.new_value])
            filter (where changes.field_key = 'pipeline_id') over past)[2] as pipeline_after,
        (min(array[to_char(changes.place, 'FM0000000000'), changes.old_value])
            filter (where changes.field_key = 'pipeline_id') over whole)[2] as first_pipeline,
        (max(array[to_char(changes.place, 'FM0000000000'), changes.new_value])
            filter (where changes.field_key = 'status') over past)[2] as status_after,
        (min(array[to_char(changes.place, 'FM0000000000'), changes.old_value])
            filter (where changes.field_key = 'status') over whole)[2] as first_status,
        max(changes.time) filter (where changes.field_key = 'status') over past as status_at,
        (max(array[to_char(changes.place, 'FM0000000000'), changes.new_value])
            filter (where changes.field_key = 'value') over past)[2] as value_after,
        (min(array[to_char(changes.place, 'FM0000000000'), changes.old_value])
            filter (where changes.field_key = 'value') over whole)[2] as first_value,
        (max(array[to_char(changes.place, 'FM0000000000'), changes.new_value])
            filter (where changes.field_key = 'currency') over past)[2] as currency_after,
        (min(array[to_char(changes.place, 'FM0000000000'), changes.old_value])
            filter (where changes.field_key = 'currency') over whole)[2] as first_currency
    from changes
    window
        past as (partition by changes.deal_id order by changes.place asc),
        whole as (partition by changes.deal_id)
),

states as not materialized (
    -- From the changelog: the state that a deal was made in, and the one after each change. A field
    -- that never changed has the value of the first read. A changelog that lacks moves is not used.
    select
        logged.deal_id,
        1 as part,
        logged.place - 1 + moment.number as place,
        'source_history' as origin,
        case
            when moment.number = 0 or logged.stage_after is null
                then coalesce(logged.first_stage, first_read.stage_id::text)
            else logged.stage_after
        end as stage_id,
        case
            when moment.number = 0 or logged.pipeline_after is null
                then coalesce(logged.first_pipeline, first_read.pipeline_id::text)
            else logged.pipeline_after
        end as pipeline_id,
        case when moment.number = 1 then logged.moved_at end as moved_at,
        case
            when moment.number = 0 or logged.status_after is null
                then coalesce(logged.first_status, first_read.status)
            else logged.status_after
        end as status,
        case
            when moment.number = 1 and logged.status_at is not null then logged.status_at
            when logged.first_status is null
                then coalesce(first_read.won_time, first_read.lost_time)
        end as closed_at,
        case
            when moment.number = 0 or logged.value_after is null
                then coalesce(
                    pipeline.as_numeric(to_jsonb(logged.first_value)),
                    first_read.value::numeric
                )
            else pipeline.as_numeric(to_jsonb(logged.value_after))
        end as amount,
        case
            when moment.number = 0 or logged.currency_after is null
                then coalesce(logged.first_currency, first_read.currency)
            else logged.currency_after
        end as currency,
        logged.time as seen_at,
        case when moment.number = 1 then logged.actor_user_id end as actor_user_id
    from logged
    cross join lateral (
        select
            deals_history.stage_id,
            deals_history.pipeline_id,
            deals_history.stage_change_time,
            deals_history.won_time,
            deals_history.lost_time,
            deals_history.value,
            deals_history.currency,
            case
                when deals_history.status <> 'deleted' then deals_history.status
                when deals_history.won_time is not null then 'won'
                when deals_history.lost_time is not null then 'lost'
                else 'open'
            end as status
        from deals_history
        where deals_history.id = logged.deal_id
        order by deals_history.history_id asc
        limit 1
    ) as first_read
    cross join lateral generate_series(case when logged.place = 1 then 0 else 1 end, 1)
        as moment (number)
    where logged.move_count > 0
        or first_read.stage_change_time is null
    union all
    -- From reads.
    select
        deals_history.id as deal_id,
        2 as part,
        deals_history.history_id as place,
        deals_history.origin as origin,
        deals_history.stage_id::text as stage_id,
        deals_history.pipeline_id::text as pipeline_id,
        deals_history.stage_change_time as moved_at,
        -- A deleted deal is still won, lost or open.
        case
            when deals_history.status <> 'deleted' then deals_history.status
            when deals_history.won_time is not null then 'won'
            when deals_history.lost_time is not null then 'lost'
            else 'open'
        end as status,
        coalesce(deals_history.won_time, deals_history.lost_time) as closed_at,
        deals_history.value::numeric as amount,
        deals_history.currency as currency,
        coalesce(deals_history.update_time, deals_history.read_at) as seen_at,
        pipeline.as_bigint(to_jsonb(deals_history.actor_id)) as actor_user_id
    from deals_history
    union all
    -- A deal whose history was lost.
    select
        deals.id as deal_id,
        2 as part,
        0 as place,
        'read' as origin,
        deals.stage_id::text as stage_id,
        deals.pipeline_id::text as pipeline_id,
        deals.stage_change_time as moved_at,
        case
            when deals.status <> 'deleted' then deals.status
            when deals.won_time is not null then 'won'
            when deals.lost_time is not null then 'lost'
            else 'open'
        end as status,
        coalesce(deals.won_time, deals.lost_time) as closed_at,
        deals.value::numeric as amount,
        deals.currency as currency,
        coalesce(deals.update_time, pipeline.loaded_at(deals._dlt_load_id)) as seen_at,
        null::bigint as actor_user_id
    from deals
    where not exists (
        select
        from deals_history
        where deals_history.id = deals.id
    )
),

-- What was read before the changelog's last change is in the changelog.
known as not materialized (
    select
        later.*,
        deals.add_time,
        coalesce(deals.is_deleted, false)
        or coalesce(deals.status = 'deleted', false) as is_deleted
    from (
        select
            states.deal_id,
            states.part,
            states.place,
            states.origin,
            states.stage_id,
            states.pipeline_id,
            states.moved_at,
            states.status,
            states.closed_at,
            states.amount,
            states.currency,
            states.seen_at,
            states.actor_user_id,
            max(states.seen_at) filter (where states.part = 1)
                over (partition by states.deal_id) as logged_until
        from states
    ) as later
    inner join deals
        on deals.id = later.deal_id
    where later.part = 1
        or later.logged_until is null
        or later.seen_at > later.logged_until
),

compared as not materialized (
    select
        known.*,
        row_number() over chronology as step,
        lag(known.stage_id) over chronology as former_stage_id,
        lag(known.moved_at) over chronology as former_moved_at,
        lag(known.status) over chronology as former_status,
        lag(known.part) over chronology as former_part
    from known
    window chronology as (
        partition by known.deal_id
        order by
            known.part asc,
            known.place asc
    )
),

steps as not materialized (
    select
        compared.*,
        compared.step = 1
        or compared.stage_id is distinct from compared.former_stage_id
        or (
            compared.moved_at is distinct from compared.former_moved_at
            and compared.moved_at is not null
            -- The changelog and the deal may differ by a moment about the same move.
            and not (
                compared.former_part < compared.part
                and coalesce(
                    compared.moved_at - compared.former_moved_at
                    between interval '-5 seconds' and interval '5 seconds',
                    false
                )
            )
        ) as is_entry,
        compared.step = 1
        or compared.status is distinct from compared.former_status as is_status_change,
        compared.moved_at is not null
        and (
            compared.step = 1
            or compared.moved_at is distinct from compared.former_moved_at
        ) as is_move_timed
    from compared
),

numbered as not materialized (
    select
        steps.*,
        count(*) filter (where steps.is_entry) over chronology as visit,
        count(*) filter (where steps.is_status_change) over chronology as status_number,
        case
            when steps.is_move_timed then steps.moved_at
            when steps.step = 1 then coalesce(steps.add_time, steps.seen_at)
            else steps.seen_at
        end as entered_at,
        case
            when steps.is_move_timed then true
            when steps.step = 1 then steps.add_time is not null
            else steps.part = 1
        end as entered_at_is_exact
    from steps
    window chronology as (
        partition by steps.deal_id
        order by steps.step asc
    )
),

-- One row per visit and status in it.
periods as not materialized (
    select
        numbered.deal_id,
        numbered.visit,
        numbered.status_number,
        (array_agg(numbered.status order by numbered.step asc))[1] as status,
        (array_agg(numbered.former_status order by numbered.step asc))[1] as former_status,
        bool_or(numbered.is_status_change) as is_new,
        min(numbered.step) as step,
        -- The time of a win may be corrected at the source.
        (array_agg(numbered.closed_at order by numbered.step desc))[1] as closed_at,
        (array_agg(numbered.seen_at order by numbered.step asc))[1] as seen_at,
        (array_agg(numbered.part order by numbered.step asc))[1] as part,
        (array_agg(numbered.entered_at order by numbered.step asc))[1] as entered_at,
        (array_agg(numbered.entered_at_is_exact order by numbered.step asc))[1]
            as entered_at_is_exact,
        (array_agg(numbered.origin order by numbered.step asc))[1] as origin,
        (array_agg(numbered.stage_id order by numbered.step asc))[1] as stage_id,
        (array_agg(numbered.pipeline_id order by numbered.step asc))[1] as pipeline_id,
        (array_agg(numbered.amount order by numbered.step asc))[1] as amount,
        (array_agg(numbered.currency order by numbered.step asc))[1] as currency,
        (array_agg(numbered.actor_user_id order by numbered.step asc))[1] as actor_user_id,
        bool_or(numbered.is_deleted) as is_deleted
    from numbered
    group by
        numbered.deal_id,
        numbered.visit,
        numbered.status_number
),

timed as not materialized (
    select
        periods.*,
        case
            when periods.status in ('won', 'lost') and periods.closed_at is not null
                then periods.closed_at
            else periods.seen_at
        end as status_at,
        case
            when periods.status in ('won', 'lost') then periods.closed_at is not null
            else periods.part = 1
        end as status_at_is_exact,
        min(periods.step) over (
            partition by
                periods.deal_id,
                periods.visit
        ) = periods.step as is_first,
        first_value(periods.entered_at) over (
            partition by
                periods.deal_id,
                periods.visit
            order by periods.step asc
        ) as visit_entered_at
    from periods
),

-- The first status of a deal is a change only if it is closed: it was open before. A status that
-- came after the entry had another one before it.
changed as not materialized (
    select
        timed.*,
        timed.is_new
        and (timed.former_status is not null or timed.status <> 'open') as is_change,
        timed.is_new
        and (timed.former_status is not null or timed.status <> 'open')
        and timed.status_at > timed.visit_entered_at as is_later
    from timed
),

entries as not materialized (
    select
        changed.*,
        entry.position,
        jsonb_build_object(
            'status', entry.status,
            'at', entry.at,
            'is_exact', entry.is_exact,
            'is_change', entry.is_change
        ) as entry,
        entry.status as entry_status,
        entry.at as entry_at
    from changed
    cross join lateral (
        values
        (
            1,
            case
                when changed.is_later then coalesce(changed.former_status, 'open')
                else changed.status
            end,
            case
                when changed.is_change then least(changed.status_at, changed.visit_entered_at)
                else changed.visit_entered_at
            end,
            changed.entered_at_is_exact
            and not (changed.is_later and changed.former_status is null),
            changed.is_change and not changed.is_later,
            changed.is_first
        ),
        (
            2,
            changed.status,
            changed.status_at,
            changed.status_at_is_exact,
            true,
            changed.is_change and (changed.is_later or not changed.is_first)
        )
    ) as entry (position, status, at, is_exact, is_change, is_there)
    where entry.is_there
),

visits as not materialized (
    select
        entries.deal_id,
        entries.visit,
        (array_agg(entries.stage_id order by entries.step asc))[1] as stage_id,
        (array_agg(entries.pipeline_id order by entries.step asc))[1] as pipeline_id,
        min(entries.visit_entered_at) as entered_at,
        (array_agg(entries.entered_at_is_exact order by entries.step asc))[1]
            as entered_at_is_exact,
        (array_agg(entries.amount order by entries.step asc))[1] as amount,
        (array_agg(entries.currency order by entries.step asc))[1] as currency,
        (array_agg(entries.actor_user_id order by entries.step asc))[1] as actor_user_id,
        (array_agg(entries.origin order by entries.step asc))[1] as origin,
        min(entries.step) as step,
        bool_or(entries.is_deleted) as is_deleted,
        array_agg(entries.entry_status order by entries.step asc, entries.position asc)
            as statuses,
        array_agg(entries.entry_at order by entries.step asc, entries.position asc)
            as statuses_at,
        jsonb_agg(entries.entry order by entries.step asc, entries.position asc) as status_list,
        max(entries.status_at) filter (where entries.is_change and entries.status = 'won')
            as won_at,
        max(entries.status_at) filter (where entries.is_change and entries.status = 'lost')
            as lost_at,
        max(entries.status_at) filter (where entries.is_change and entries.status = 'open')
            as reopened_at
    from entries
    group by
        entries.deal_id,
        entries.visit
),

followed as not materialized (
    select
        visits.*,
        greatest(lead(visits.entered_at) over chronology, visits.entered_at) as next_entered_at,
        lead(visits.visit) over chronology as next_visit,
        lead(visits.entered_at_is_exact) over chronology
        and lead(visits.stage_id) over chronology is distinct from visits.stage_id
            as is_leaving_exact,
        row_number() over (
            partition by
                visits.deal_id,
                visits.stage_id,
                visits.entered_at
            order by visits.visit asc
        ) as same_number,
        array_agg(visits.stage_id) over chronology as stage_ids
    from visits
    window chronology as (
        partition by visits.deal_id
        order by visits.visit asc
    )
),

measured as not materialized (
    select
        followed.*,
        case
            when followed.next_visit is null
                and followed.statuses[cardinality(followed.statuses)] = 'open'
                then null
            -- Nearly every visit has one status.
            when cardinality(followed.statuses) > 1
                then (
                    select coalesce(sum(period.seconds) filter (where period.name = 'open'), 0)
                    from (
                        select
                            status.name,
                            extract(
                                epoch from greatest(
                                    coalesce(
                                        lead(status.at) over (order by status.position asc),
                                        followed.next_entered_at
                                    ) - status.at,
                                    interval '0'
                                )
                            ) as seconds
                        from (
                            select
                                change.name,
                                change.position,
                                least(
                                    greatest(change.at, followed.entered_at),
                                    case
                                        when followed.next_visit is not null
                                            then followed.next_entered_at
                                    end
                                ) as at
                            from unnest(followed.statuses, followed.statuses_at) with ordinality
                                as change (name, at, position)
                        ) as status
                    ) as period
                )
            when followed.statuses[1] = 'open'
                then extract(epoch from followed.next_entered_at - followed.entered_at)
            else 0
        end::bigint as open_seconds
    from followed
)

select
    measured.deal_id as record_id,
    concat_ws(
        '/',
        measured.deal_id,
        measured.stage_id,
        trim_scale(extract(epoch from measured.entered_at)),
        case when measured.same_number > 1 then measured.same_number end
    ) as remote_id,
    measured.deal_id::text as deal_remote_id,
    measured.stage_id as stage_remote_id,
    measured.pipeline_id as pipeline_remote_id,
    measured.actor_user_id::text as changed_by_remote_id,
    measured.entered_at as entered_at,
    case when measured.next_visit is not null then measured.next_entered_at end as left_at,
    measured.entered_at_is_exact as entered_at_is_exact,
    case when measured.next_visit is not null then measured.is_leaving_exact end as left_at_is_exact,
    measured.open_seconds as open_seconds,
    measured.status_list as statuses,
    measured.statuses[cardinality(measured.statuses)] as last_status,
    lead(measured.visit) over in_stage is null as is_last_in_stage,
    case
        when lead(measured.visit) over in_stage is null
            and count(measured.open_seconds) over whole_stage = count(*) over whole_stage
            then sum(measured.open_seconds) over whole_stage
    end::bigint as stage_open_seconds,
    case
        when measured.next_visit is null
            then array(
                select distinct visited.stage_id
                from unnest(measured.stage_ids) as visited (stage_id)
                where visited.stage_id is not null
                order by visited.stage_id asc
            )
        else '{}'
    end as stages_visited,
    measured.won_at as won_at,
    measured.lost_at as lost_at,
    measured.reopened_at as reopened_at,
    trim_scale(measured.amount) as amount,
    measured.currency as currency,
    case
        when measured.origin in ('source_history', 'webhook') then measured.origin
        when measured.step = 1 then 'seeded'
        else 'diff'
    end as origin,
    case
        when measured.deal_id in (
            select leads.source_deal_id
            from leads
            where leads.source_deal_id is not null
        ) then 'converted'
    end as deletion_reason,
    measured.is_deleted as is_deleted
from measured
window
    in_stage as (
        partition by
            measured.deal_id,
            measured.stage_id
        order by
            measured.entered_at asc,
            measured.visit asc
    ),
    whole_stage as (
        in_stage
        rows between unbounded preceding and unbounded following
    )
