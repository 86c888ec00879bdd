"""Reads a tenant's history page by page: runs and waiting requests, newest first.

A page continues after the last run shown, by its instant and id, so that a run that begins
meanwhile neither repeats nor hides another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg.rows import args_row

from pipedrive_pipeline.tenants import Tenant


@dataclass(frozen=True)
class RunCursor:
    """The run after which a page begins."""

    at: datetime
    id: UUID


@dataclass(frozen=True)
class RunFilter:
    """Conditions on runs; None is no condition."""

    statuses: Sequence[str] | None = None
    sync_type: str | None = None
    trigger: str | None = None
    since: datetime | None = None  # inclusive
    until: datetime | None = None  # exclusive


class RunSummary(Struct, frozen=True):
    """One run; a request without a run has only the request's values.

    The fields are in the order of the query's columns, and JSON stays text: a page of 21 is read in
    0.2 ms, compared with 0.8 ms for dataclasses with parsed JSON.
    """

    id: UUID
    at: datetime  # of the start, or of the request
    status: str
    sync_type: str
    trigger: str
    requested_at: datetime | None
    requested_by: str | None
    started_at: datetime | None
    completed_at: datetime | None
    entities_json: str  # by name: status, code, reason, fetched, rejected, erased
    marts_json: str  # by name: created, updated, unchanged, deleted
    tokens_spent: int
    api_calls: int
    watermarks_json: str
    progress_json: str | None
    resume_at: datetime | None
    errors_json: str
    dagster_run_id: str | None

    @property
    def place(self) -> RunCursor:
        """Returns the cursor for the page after this run."""
        return RunCursor(self.at, self.id)


@dataclass(frozen=True)
class CurrentRuns:
    """A tenant's open runs, and the run that ended last."""

    current: list[RunSummary]  # running or waiting, newest first
    last: RunSummary | None  # None if no run has ended


ALL_RUNS = RunFilter()
OPEN = frozenset({"queued", "running"})


def list_runs(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    wanted: RunFilter = ALL_RUNS,
    *,
    after: RunCursor | None = None,
    limit: int,
) -> list[RunSummary]:
    """Returns the newest runs that match, after a cursor if given; at most ``limit``."""
    values: dict[str, Any] = {
        "tenant": tenant.slug,
        "system": system,
        "limit": limit,
        "statuses": list(wanted.statuses or ()),
        "sync_type": wanted.sync_type,
        "trigger": wanted.trigger,
        "since": wanted.since,
        "until": wanted.until,
        "at": after and after.at,
        "id": after and after.id,
    }
    given = {**asdict(wanted), "after": after}
    query = _page_query(frozenset(name for name, value in given.items() if value))
    # Binary: a page of 21 takes psycopg 0.086 ms, with its ids, instants and lists in text 0.106.
    cursor = connection.cursor(row_factory=args_row(RunSummary), binary=True)
    return cursor.execute(query, values).fetchall()


def current_runs(runs: Sequence[RunSummary]) -> CurrentRuns:
    """Splits the rows of the query `CURRENT_RUNS` into open runs and the one that ended last."""
    return CurrentRuns(
        current=[run for run in runs if run.status in OPEN],
        last=next((run for run in runs if run.status not in OPEN), None),
    )


def find_run(
    connection: psycopg.Connection, tenant: Tenant, system: str, run_id: UUID
) -> RunSummary | None:
    """Returns the run or the waiting request with this id; None if the tenant has neither."""
    values = {"tenant": tenant.slug, "system": system, "limit": 1, "id": run_id}
    query = _page_query(frozenset({"id"}))
    return connection.cursor(row_factory=args_row(RunSummary)).execute(query, values).fetchone()


@cache
def _page_query(conditions: frozenset[str]) -> LiteralString:
    """Returns the query with these conditions only, so that Postgres can use the index; cached."""
    return _PAGE.format(
        of_runs=_spelled(conditions, "runs", "started_at", "status"),
        of_requests=_spelled(conditions, "sync_requests", "requested_at", "state"),
    )


def _spelled(
    conditions: frozenset[str], table: LiteralString, at: LiteralString, status: LiteralString
) -> LiteralString:
    spelled: dict[str, LiteralString] = {
        "statuses": "and {table}.{status} = any(%(statuses)s)",
        "sync_type": "and {table}.sync_type = %(sync_type)s",
        "trigger": "and {table}.trigger = %(trigger)s",
        "since": "and {table}.{at} >= %(since)s",
        "until": "and {table}.{at} < %(until)s",
        "after": "and ({table}.{at}, {table}.id) < (%(at)s, %(id)s)",
        "id": "and {table}.id = %(id)s",
    }
    return " ".join(spelled[name] for name in sorted(conditions)).format(
        table=table, at=at, status=status
    )


_RUNS = """
select
    runs.id,
    runs.started_at as at,
    runs.status,
    runs.sync_type,
    runs.trigger,
    request.requested_at,
    request.requested_by,
    runs.started_at,
    runs.completed_at,
    coalesce(read.entities, '{{}}')::text as entities_json,
    coalesce(built.marts, '{{}}')::text as marts_json,
    runs.tokens_spent,
    runs.api_calls,
    coalesce(read.watermarks, '{{}}')::text as watermarks_json,
    runs.progress::text as progress_json,
    runs.resume_at,
    runs.errors::text as errors_json,
    runs.dagster_run_id
from integration.runs
left join lateral (
    select
        jsonb_object_agg(
            run_entities.entity,
            jsonb_build_object(
                'status', run_entities.status,
                'code', run_entities.code,
                'reason', run_entities.reason,
                'fetched', run_entities.fetched,
                'rejected', run_entities.rejected,
                'erased', run_entities.erased
            )
        ) as entities,
        jsonb_object_agg(
            run_entities.entity,
            jsonb_build_object(
                'before', run_entities.watermark_before,
                'after', run_entities.watermark_after
            )
        ) filter (where run_entities.status is not null) as watermarks
    from integration.run_entities
    where run_entities.tenant_id = runs.tenant_id
        and run_entities.run_id = runs.id
) as read on true
left join lateral (
    select
        jsonb_object_agg(
            run_marts.mart,
            jsonb_build_object(
                'created', run_marts.created,
                'updated', run_marts.updated,
                'unchanged', run_marts.unchanged,
                'deleted', run_marts.deleted
            )
        ) as marts
    from integration.run_marts
    where run_marts.tenant_id = runs.tenant_id
        and run_marts.run_id = runs.id
) as built on true
left join lateral (
    select
        sync_requests.requested_at,
        sync_requests.requested_by
    from integration.sync_requests
    where sync_requests.tenant_id = %(tenant)s
        and sync_requests.run_id = runs.id
    order by
        sync_requests.requested_at asc,
        sync_requests.id asc
    limit 1
) as request on true
where runs.tenant_id = %(tenant)s
    and runs.system = %(system)s
    {of_runs}
order by
    runs.started_at desc,
    runs.id desc
"""
_REQUESTS = """
select
    sync_requests.id,
    sync_requests.requested_at as at,
    sync_requests.state as status,
    sync_requests.sync_type,
    sync_requests.trigger,
    sync_requests.requested_at,
    sync_requests.requested_by,
    null as started_at,
    sync_requests.settled_at as completed_at,
    '{{}}' as entities_json,
    '{{}}' as marts_json,
    0 as tokens_spent,
    0 as api_calls,
    '{{}}' as watermarks_json,
    null as progress_json,
    null as resume_at,
    case
        when sync_requests.state = 'failed' then jsonb_build_array(jsonb_build_object(
            'code', 'not_begun',
            'message', 'It was ended before it began: the tenant was disconnected.'
        ))::text
        when sync_requests.state = 'cancelled' then jsonb_build_array(jsonb_build_object(
            'code', 'cancelled',
            'message', 'A person ended it before it began.'
        ))::text
        else '[]'
    end as errors_json,
    null as dagster_run_id
from integration.sync_requests
where sync_requests.tenant_id = %(tenant)s
    and sync_requests.system = %(system)s
    and sync_requests.run_id is null
    and sync_requests.state in ('queued', 'failed', 'cancelled')
    {of_requests}
order by
    sync_requests.requested_at desc,
    sync_requests.id desc
"""
_PAGE = (
    "select page.* from (("
    + _RUNS
    + "limit %(limit)s) union all ("
    + _REQUESTS
    + "limit %(limit)s)) as page order by page.at desc, page.id desc limit %(limit)s"
)
_RUNNING_AND_LAST_ENDED = """
    and runs.id in (
        select running.id
        from integration.runs as running
        where running.tenant_id = %(tenant)s
            and running.status = 'running'
        union all
        (
            select ended.id
            from integration.runs as ended
            where ended.tenant_id = %(tenant)s
                and ended.system = %(system)s
                and ended.status <> 'running'
            order by
                ended.started_at desc,
                ended.id desc
            limit 1
        )
    )
"""
# The open runs and the last one of a tenant and system, in a single query.
CURRENT_RUNS: Final = (
    "select page.* from (("
    + _RUNS.format(of_runs=_RUNNING_AND_LAST_ENDED)
    + ") union all ("
    + _REQUESTS.format(of_requests="and sync_requests.state = 'queued'")
    + ")) as page order by page.at desc, page.id desc"
)
