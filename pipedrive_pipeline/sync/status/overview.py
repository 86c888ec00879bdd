"""All tenants at a glance, for the operator: which need a person, how old the data of each is.

One statement, so that a page of a thousand tenants costs what it shows: states of all are computed
from small indexes, and budgets and days only for the tenants of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import dict_row

from pipedrive_pipeline.sync.status.problems import OPEN_PROBLEMS, ProblemKind

PAGE_TENANTS: Final = 25
DAYS_SHOWN: Final = 14

OverviewState = Literal["stopped", "decide", "paused", "running", "complete", "never"]
OverviewSort = Literal["attention", "oldest", "budget", "name"]
STATES: Final[tuple[OverviewState, ...]] = (
    "stopped", "decide", "paused", "running", "complete", "never",
)  # fmt: skip


@dataclass(frozen=True)
class OverviewFilter:
    """Which tenants, in which order, and which page of them; None is no condition."""

    text: str = ""  # in the name or id
    state: str | None = None  # `person` is both stopped and decide
    system: str | None = None
    sort: OverviewSort = "attention"
    page: int = 1


@dataclass(frozen=True)
class TenantSummary:
    """One tenant at a glance."""

    slug: str
    name: str
    state: OverviewState
    systems: Sequence[str]  # that are connected, or need a new consent
    problem_count: int
    problem_kind: str | None  # of the worst problem
    problem_system: str | None
    problem_code: str | None
    resume_at: datetime | None  # of a paused sync
    data_as_of: datetime | None  # of the system that was read longest ago
    tokens_today: int
    tokens_limit: int | None
    days: Sequence[str | None] = field(default=())  # oldest first: complete, failed, or no run


@dataclass(frozen=True)
class Overview:
    """One page of tenants, and how many there are in each state."""

    tenants: Sequence[TenantSummary]
    matching_count: int
    counts: Mapping[str, int]
    oldest_data_at: datetime | None  # of the tenants that nothing holds up

    @property
    def tenant_count(self) -> int:
        """All tenants."""
        return sum(self.counts.values())

    @property
    def person_count(self) -> int:
        """Tenants that need a person."""
        return self.counts.get("stopped", 0) + self.counts.get("decide", 0)


def overview(connection: psycopg.Connection, wanted: OverviewFilter) -> Overview:
    """The tenants of one page; as the engine, which sees all."""
    states = ["stopped", "decide"] if wanted.state == "person" else [wanted.state]
    values: dict[str, Any] = {
        "tenant": None,
        "kinds": [kind.value for kind in ProblemKind],
        "stopping": [kind.value for kind in ProblemKind if kind.stops_data],
        "text": wanted.text.strip().lower(),
        "states": states if wanted.state else None,
        "order": list(STATES),
        "system": wanted.system,
        "sort": wanted.sort,
        "limit": PAGE_TENANTS,
        "offset": (max(1, wanted.page) - 1) * PAGE_TENANTS,
        "days": DAYS_SHOWN,
    }
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(_OVERVIEW.encode(), values).fetchall()
    shared = {name: rows[0][name] for name in ("matching_count", "counts", "oldest_data_at")}
    tenants = [
        TenantSummary(**{name: value for name, value in row.items() if name not in shared})
        for row in rows
        if row["slug"] is not None
    ]
    return Overview(tenants, shared["matching_count"], shared["counts"], shared["oldest_data_at"])


_OVERVIEW: Final = f"""
with problems as materialized (
    select
        listed.tenant_id,
        count(*)::integer as problem_count,
        bool_or(listed.kind = any (%(stopping)s)) as is_stopped,
        (array_agg(listed.kind order by array_position(%(kinds)s::text[], listed.kind)))[1] as kind,
        (array_agg(listed.system order by array_position(%(kinds)s::text[], listed.kind)))[1]
            as system,
        (array_agg(listed.code order by array_position(%(kinds)s::text[], listed.kind)))[1] as code
    from ({OPEN_PROBLEMS}) as listed
    group by listed.tenant_id
),
running as (
    select distinct runs.tenant_id
    from integration.runs
    where runs.status = 'running'
),
connected as (
    select
        connections.tenant_id,
        array_agg(connections.system order by connections.system) as systems,
        min(newest.resume_at) filter (where newest.status = 'paused' and newest.resume_at > now())
            as resume_at,
        min(complete.started_at) as data_as_of
    from integration.connections
    left join lateral (
        select runs.status, runs.resume_at
        from integration.runs
        where runs.tenant_id = connections.tenant_id
            and runs.system = connections.system
        order by runs.started_at desc, runs.id desc
        limit 1
    ) as newest on true
    left join lateral (
        select runs.started_at
        from integration.runs
        where runs.tenant_id = connections.tenant_id
            and runs.system = connections.system
            and runs.status in ('success', 'partial')
            and runs.sync_type in ('incremental', 'full')
        order by runs.started_at desc, runs.id desc
        limit 1
    ) as complete on true
    where connections.state in ('connected', 'needs_reauth')
    group by connections.tenant_id
),
classified as materialized (
    select
        tenants.slug,
        coalesce(nullif(tenants.display_name, ''), tenants.slug) as name,
        case
            when problems.is_stopped then 'stopped'
            when problems.problem_count > 0 then 'decide'
            when connected.resume_at is not null then 'paused'
            when running.tenant_id is not null then 'running'
            when connected.systems is not null then 'complete'
            else 'never'
        end as state,
        coalesce(connected.systems, '{{}}') as systems,
        coalesce(problems.problem_count, 0) as problem_count,
        problems.kind as problem_kind,
        problems.system as problem_system,
        problems.code as problem_code,
        connected.resume_at,
        connected.data_as_of
    from integration.tenants
    left join connected on connected.tenant_id = tenants.slug
    left join problems on problems.tenant_id = tenants.slug
    left join running on running.tenant_id = tenants.slug
),
spent as (
    select api_usage.tenant_id, sum(api_usage.tokens)::bigint as tokens
    from integration.api_usage
    where api_usage.used_on = current_date
    group by api_usage.tenant_id
),
matching as (
    select
        classified.*,
        coalesce(spent.tokens, 0) as tokens_today,
        row_number() over (
            order by
                case %(sort)s when 'budget' then -coalesce(spent.tokens, 0) end,
                case %(sort)s when 'attention'
                    then array_position(%(order)s::text[], classified.state)
                end,
                case when %(sort)s in ('attention', 'oldest') then classified.data_as_of end
                    asc nulls last,
                lower(classified.name),
                classified.slug
        ) as position
    from classified
    left join spent on spent.tenant_id = classified.slug
    where (
            %(text)s = ''
            or position(%(text)s in lower(classified.name)) > 0
            or position(%(text)s in classified.slug) > 0
        )
        and (%(states)s::text[] is null or classified.state = any (%(states)s))
        and (%(system)s::text is null or %(system)s = any (classified.systems))
),
page as (
    select matching.*
    from matching
    where matching.position > %(offset)s
        and matching.position <= %(offset)s + %(limit)s
),
totals as (
    select
        (
            select coalesce(jsonb_object_agg(by_state.state, by_state.tenants), '{{}}')
            from (
                select classified.state, count(*) as tenants
                from classified
                group by classified.state
            ) as by_state
        ) as counts,
        (
            select min(classified.data_as_of)
            from classified
            where classified.state in ('complete', 'running')
        ) as oldest_data_at,
        (select count(*) from matching) as matching_count
)
select
    totals.counts,
    totals.oldest_data_at,
    totals.matching_count,
    page.slug,
    page.name,
    page.state,
    page.systems,
    page.problem_count,
    page.problem_kind,
    page.problem_system,
    page.problem_code,
    page.resume_at,
    page.data_as_of,
    page.tokens_today,
    budget.tokens_limit,
    past.days
from totals
left join page on true
left join lateral (
    select sum(budget_statements.daily_limit)::bigint as tokens_limit
    from integration.budget_statements
    where budget_statements.tenant_id = page.slug
) as budget on true
left join lateral (
    select array_agg(day.state order by day.number desc) as days
    from (
        select
            numbers.number,
            case
                when bool_or(runs.status in ('success', 'partial')) then 'complete'
                when bool_or(runs.status = 'failed') then 'failed'
            end as state
        from generate_series(0, %(days)s - 1) as numbers (number)
        left join integration.runs
            on runs.tenant_id = page.slug
            and runs.started_at >= current_date - numbers.number
            and runs.started_at < current_date - numbers.number + 1
        group by numbers.number
    ) as day
) as past on true
order by page.position
"""
