"""Finds overdue tenants: a sync was due, the grace period has passed, and none has succeeded.

Dagster's own freshness checks look at an asset's newest materialization only, so one fresh tenant
would hide all overdue ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.schedule.due import DEFAULT_SYNC_TIME, ScheduleStatus
from pipedrive_pipeline.sync.status.alerts import OVERDUE, Cause
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

GRACE = timedelta(hours=3)  # time for retries, the queue and a full read at night


@dataclass(frozen=True)
class Overdue:
    """A tenant whose tables are older than its schedule allows."""

    scope: Scope
    due_at: datetime
    good_at: datetime | None  # when the last sync that succeeded began
    why: str  # how its last run ended, or that its connection is gone

    def __str__(self) -> str:
        since = f"last good sync {self.good_at:%Y-%m-%d %H:%M} UTC" if self.good_at else "never"
        return f"{self.scope}: due {self.due_at:%Y-%m-%d %H:%M} UTC, {since}; {self.why}"

    def cause(self) -> Cause:
        """Returns the cause for an alert, sent unless the tenant has another open alert."""
        return Cause(self.scope.tenant, self.scope.system, OVERDUE, str(self), "the operator")


@dataclass(frozen=True)
class Freshness:
    """The result of one check of all tenants."""

    scopes: tuple[Scope, ...]  # with scheduled syncs
    overdue: tuple[Overdue, ...]  # the longest waiting first
    last_run_ended_at: datetime | None = None  # of any of them

    @property
    def looked_at(self) -> int:
        """Number of tenants and systems with scheduled syncs."""
        return len(self.scopes)

    def of(self, system: str) -> Freshness:
        """Returns the part of one system."""
        return Freshness(
            tuple(scope for scope in self.scopes if scope.system == system),
            tuple(overdue for overdue in self.overdue if overdue.scope.system == system),
            self.last_run_ended_at,
        )


def freshness(warehouse: Warehouse, now: datetime) -> Freshness:
    """Checks every tenant with scheduled syncs, and returns those that are overdue."""
    with warehouse.transaction() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        rows = cursor.execute(_STANDINGS, {"sync_time": DEFAULT_SYNC_TIME}).fetchall()
    scopes = tuple(Scope(Tenant(row["tenant_id"]), row["system"]) for row in rows)
    ends = [ended_at for row in rows if (ended_at := row.pop("completed_at"))]
    overdue = [tenant for tenant in (_overdue(row, now) for row in rows) if tenant]
    return Freshness(
        scopes,
        tuple(sorted(overdue, key=lambda late: (late.due_at, late.scope))),
        max(ends, default=None),
    )


def _overdue(row: dict[str, Any], now: datetime) -> Overdue | None:
    names = ("state", "status", "code", "resume_at")
    state, last_status, last_code, resume_at = (row.pop(name) for name in names)
    # A pause keeps a sync from starting; it does not make the tables any fresher.
    standing = ScheduleStatus(**row, paused_until=None)
    due_at = standing.due_at(now - GRACE)
    if due_at is None or last_status == "running":
        return None
    why = f"its connection is {state}" if state != "connected" else f"its last run: {last_status}"
    if resume_at and last_status == "paused":
        why += f" until {resume_at:%Y-%m-%d %H:%M} UTC"
    return Overdue(
        scope=standing.scope,
        due_at=due_at,
        good_at=standing.last_started_at,
        why=f"{why} ({last_code})" if last_code else why,
    )


_STANDINGS = """
select connections.tenant_id,
    connections.system,
    coalesce(sync_settings.sync_time, %(sync_time)s) as sync_time,
    coalesce(sync_settings.time_zone, tenants.time_zone) as time_zone,
    sync_settings.every_hours,
    connections.connected_at,
    good_run.started_at as last_started_at,
    connections.state,
    last_run.resume_at,
    last_run.completed_at,
    coalesce(last_run.status, 'none') as status,
    last_run.errors -> -1 ->> 'code' as code
from integration.connections as connections
inner join integration.tenants as tenants on tenants.slug = connections.tenant_id
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
left join lateral (
    select runs.status, runs.resume_at, runs.completed_at, runs.errors
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.sync_type not in ('remap', 'verify')
    order by runs.started_at desc, runs.id desc
    limit 1
) as last_run on true
left join lateral (
    select runs.started_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.sync_type not in ('remap', 'verify')
        and runs.status = 'success'
    order by runs.started_at desc, runs.id desc
    limit 1
) as good_run on true
where connections.state in ('connected', 'needs_reauth')
    and connections.connected_at is not null
    and coalesce(sync_settings.auto_sync, true)
"""
