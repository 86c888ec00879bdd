"""A tenant's runs over time, in three figures each: rows read, seconds, tokens spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope

RUNS_SHOWN: Final = 30  # a month of daily syncs
RUNS_MAX: Final = 400  # what `HISTORY_KEPT_DAYS` keeps of them by default


@dataclass(frozen=True)
class RunFigures:
    """One run that has ended."""

    started_at: datetime
    sync_type: str
    status: str
    rows_read: int
    seconds: float
    tokens_spent: int
    api_calls: int


def run_figures(connection: psycopg.Connection, scope: Scope, *, limit: int) -> list[RunFigures]:
    """Returns the newest runs of one system that have ended, oldest first; at most ``limit``."""
    values = {"tenant": scope.tenant.slug, "system": scope.system, "limit": limit}
    cursor = connection.cursor(row_factory=class_row(RunFigures))
    return cursor.execute(_FIGURES, values).fetchall()[::-1]


_FIGURES = """
select
    runs.started_at,
    runs.sync_type,
    runs.status,
    (
        select coalesce(sum(run_entities.fetched), 0)::bigint
        from integration.run_entities
        where run_entities.tenant_id = runs.tenant_id
            and run_entities.run_id = runs.id
    ) as rows_read,
    round(extract(epoch from runs.completed_at - runs.started_at), 1)::float as seconds,
    runs.tokens_spent,
    runs.api_calls
from integration.runs
where runs.tenant_id = %(tenant)s
    and runs.system = %(system)s
    and runs.completed_at is not null
order by
    runs.started_at desc,
    runs.id desc
limit %(limit)s
"""
