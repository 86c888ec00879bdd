"""A tenant's last 30 days in four figures each: rows changed, seconds, tokens, failed runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope

DAYS_SHOWN: Final = 30


@dataclass(frozen=True)
class DayFigures:
    """The runs of one system that began on one day and have ended."""

    day: date
    runs: int = 0
    failed: int = 0  # runs that ended with nothing read
    rows: int = 0  # rows of the marts that were made, changed or marked as deleted
    seconds: float = 0  # of the longest run
    tokens: int = 0


def day_figures(
    connection: psycopg.Connection, scope: Scope, now: datetime, zone: ZoneInfo
) -> list[DayFigures]:
    """Returns the figures of each of the last days, oldest first; one without runs is all zero.

    Args:
        connection: a transaction of the tenant.
        scope: the tenant and system.
        now: an instant of the last day.
        zone: whose midnight divides the days.
    """
    today = now.astimezone(zone).date()
    first = today - timedelta(days=DAYS_SHOWN - 1)
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "zone": zone.key,
        "since": datetime(first.year, first.month, first.day, tzinfo=zone),
    }
    cursor = connection.cursor(row_factory=class_row(DayFigures))
    known = {row.day: row for row in cursor.execute(_DAYS, values)}
    days = (first + timedelta(days=number) for number in range(DAYS_SHOWN))
    return [known.get(day) or DayFigures(day) for day in days]


_DAYS = """
with built as (
    select
        run_marts.run_id,
        sum(run_marts.created + run_marts.updated + run_marts.deleted) as rows
    from integration.run_marts
    where run_marts.tenant_id = %(tenant)s
        and run_marts.run_id in (
            select runs.id
            from integration.runs
            where runs.tenant_id = %(tenant)s
                and runs.system = %(system)s
                and runs.started_at >= %(since)s
        )
    group by run_marts.run_id
)
select
    (runs.started_at at time zone %(zone)s)::date as day,
    count(*)::int as runs,
    (count(*) filter (where runs.status = 'failed'))::int as failed,
    coalesce(sum(built.rows), 0)::bigint as rows,
    round(extract(epoch from max(runs.completed_at - runs.started_at)), 1)::float8 as seconds,
    coalesce(sum(runs.tokens_spent), 0)::bigint as tokens
from integration.runs
left join built
    on built.run_id = runs.id
where runs.tenant_id = %(tenant)s
    and runs.system = %(system)s
    and runs.started_at >= %(since)s
    and runs.completed_at is not null
group by day
"""
