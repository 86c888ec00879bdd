"""Computes which tenants are due from our tables alone, so that a missed tick loses no sync.

Any run that began at or after a due time answers it, however it was started. A sweep's due time is
answered by a sweep or full read that began to read all records at or after it. After downtime only
the latest due time counts: a single run catches up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from math import ceil
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import DEFAULT_SHARE, smallest_budget
from pipedrive_pipeline.sync.budget.pricing import sweep_tokens
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

DEFAULT_SYNC_TIME = time(2, 0)
SWEEP_AFTER_SYNC = timedelta(hours=1)  # the day's incremental syncs spend their tokens first
SWEEP_DAILY_COST = 0.05  # of a run's daily allowance; a sweep that costs more is weekly
SWEEP_EVERY_DAYS = 7
DAY_HOURS = 24


@dataclass(frozen=True)
class DueSync:
    """One tenant whose sync is due."""

    scope: Scope
    due_at: datetime  # the instant that no run has answered yet
    sync_type: SyncType = "incremental"

    @property
    def run_key(self) -> str:
        """The same for every question about the same due time."""
        return f"{self.scope.system}/{self.scope.tenant}/{self.due_at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class ScheduleStatus:
    """The settings and last runs that a tenant's due times depend on."""

    tenant_id: str
    system: str
    sync_time: time
    time_zone: str
    every_hours: int | None
    connected_at: datetime
    last_started_at: datetime | None
    paused_until: datetime | None  # of the last run, if the day's budget ended it
    is_incremental: bool = True

    @property
    def scope(self) -> Scope:
        """The tenant and system of the row."""
        return Scope(Tenant(self.tenant_id), self.system)

    def due_at(self, now: datetime) -> datetime | None:
        """Returns the latest unanswered due time; None if there is none."""
        if self.paused_until is not None and self.paused_until > now:
            return None  # the paused sync is in the queue of requests until then
        latest = self._latest(now)
        answered_at = max(self.last_started_at or self.connected_at, self.connected_at)
        return latest if latest > answered_at else None

    def _latest(self, now: datetime) -> datetime:
        zone = ZoneInfo(self.time_zone)
        daily = latest_daily(now, self.sync_time, zone)
        if self.every_hours is None:
            return daily
        if self.every_hours > DAY_HOURS:
            day = daily.astimezone(zone).date()
            while not is_sync_day(day, self.every_hours):
                day -= timedelta(days=1)
            return datetime.combine(day, self.sync_time, tzinfo=zone).astimezone(UTC)
        interval = timedelta(hours=self.every_hours)
        return daily + interval * ((now - daily) // interval)


@dataclass(frozen=True)
class DueSweep:
    """One tenant whose sweep is due."""

    scope: Scope
    due_at: datetime  # the instant that no sweep and no full read has answered yet

    @property
    def run_key(self) -> str:
        """The same for every question about the same due time."""
        return f"sweep/{self.scope.system}/{self.scope.tenant}/{self.due_at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class DueVerification:
    """One tenant whose comparison of marts with raw is due."""

    scope: Scope
    due_at: datetime  # the instant that no verification has answered yet

    @property
    def run_key(self) -> str:
        """The same for every question about the same due time."""
        return f"verify/{self.scope.system}/{self.scope.tenant}/{self.due_at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class SweepStatus:
    """The settings and last runs that the due times of a tenant's sweeps depend on."""

    tenant_id: str
    system: str
    sync_time: time
    time_zone: str
    every_hours: int | None  # None: depends on the cost
    attempted_at: datetime  # the newest sweep or full read, else the first run
    proven_at: datetime | None  # deletions up to then are marked, of every entity
    paused_until: datetime | None
    allowance: float  # tokens that one run may spend of a whole day

    @property
    def scope(self) -> Scope:
        """The tenant and system of the row."""
        return Scope(Tenant(self.tenant_id), self.system)

    def due_at(self, now: datetime, cost: Callable[[], int]) -> datetime | None:
        """Returns the latest unanswered due time; None if there is none.

        Args:
            now: an instant in UTC.
            cost: returns the tokens of a sweep; called only if the result depends on it.
        """
        if self.paused_until is not None and self.paused_until > now:
            return None
        latest = self._latest(now)
        if latest <= self.attempted_at:
            return None
        if self.proven_at is None or (self.every_hours or DAY_HOURS) < DAY_HOURS:
            return latest
        # By dates, because days on which clocks change do not have 24 hours.
        days = (self._day(latest) - self._day(self._latest(self.proven_at))).days
        return latest if days >= self._every_days(days, cost) else None

    def _every_days(self, days: int, cost: Callable[[], int]) -> float:
        if self.every_hours is not None:
            return self.every_hours / DAY_HOURS
        if days >= SWEEP_EVERY_DAYS:
            return SWEEP_EVERY_DAYS
        return 1 if cost() <= SWEEP_DAILY_COST * self.allowance else SWEEP_EVERY_DAYS

    def _latest(self, now: datetime) -> datetime:
        zone = ZoneInfo(self.time_zone)
        daily = latest_daily(now - SWEEP_AFTER_SYNC, self.sync_time, zone) + SWEEP_AFTER_SYNC
        if self.every_hours is None or self.every_hours >= DAY_HOURS:
            return daily
        interval = timedelta(hours=self.every_hours)
        return daily + interval * ((now - daily) // interval)

    def _day(self, slot: datetime) -> date:
        return (slot - SWEEP_AFTER_SYNC).astimezone(ZoneInfo(self.time_zone)).date()


def due_syncs(warehouse: Warehouse, now: datetime) -> list[DueSync]:
    """Returns every connected tenant whose sync is due, the longest waiting first."""
    with warehouse.transaction() as connection:
        rows = (
            connection.cursor(row_factory=class_row(ScheduleStatus))
            .execute(_STANDINGS, {"sync_time": DEFAULT_SYNC_TIME})
            .fetchall()
        )
    due = [(row.due_at(now), row) for row in rows]
    syncs = [
        DueSync(
            row.scope,
            due_at,
            sync_type="incremental" if row.is_incremental else "full",
        )
        for due_at, row in due
        if due_at
    ]
    return sorted(syncs, key=lambda sync: (sync.due_at, sync.scope))


def due_sweeps(warehouse: Warehouse, now: datetime) -> list[DueSweep]:
    """Returns every connected tenant whose sweep is due, the longest waiting first.

    Sweeps are daily if one costs at most a twentieth of a run's daily allowance, else weekly;
    `sync_settings.sweep_every_hours` overrides this. A failed sweep is due again the next day. A
    tenant that never synced has nothing to sweep.
    """
    parameters = {
        "sync_time": DEFAULT_SYNC_TIME,
        "daily_tokens": Jsonb({key: smallest_budget(key) for key in registry.system_keys()}),
        "share": DEFAULT_SHARE,
    }
    with warehouse.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(SweepStatus))
        standings = cursor.execute(_SWEEP_STANDINGS, parameters).fetchall()
        due = []
        for row in standings:
            due_at = row.due_at(now, partial(_sweep_tokens, connection, row.scope))
            if due_at:
                due.append(DueSweep(row.scope, due_at))
    return sorted(due, key=lambda sweep: (sweep.due_at, sweep.scope))


def due_verifications(warehouse: Warehouse, now: datetime) -> list[DueVerification]:
    """Returns every connected tenant whose weekly comparison of marts with raw is due.

    It is due at the time of the tenant's sweeps, in the first night of the week after a sync; a
    failed one is due again the next day. It costs no tokens, so a pause does not delay it.
    """
    with warehouse.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(SweepStatus))
        rows = cursor.execute(_VERIFY_STANDINGS, {"sync_time": DEFAULT_SYNC_TIME}).fetchall()
    due = [
        DueVerification(row.scope, due_at) for row in rows if (due_at := row.due_at(now, lambda: 0))
    ]
    return sorted(due, key=lambda verification: (verification.due_at, verification.scope))


def _sweep_tokens(connection: psycopg.Connection, scope: Scope) -> int:
    return sum(sweep_tokens(connection, scope).values())


def is_sync_day(day: date, every_hours: int | None) -> bool:
    """True unless a tenant syncs only every so many days, in full days, and this is none of them.

    Days are counted from a fixed one, so that a sync by hand moves none of them.
    """
    return day.toordinal() % ceil((every_hours or DAY_HOURS) / DAY_HOURS) == 0


def latest_daily(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """Returns the latest instant, not after now, at which the zone's clocks showed this time.

    If a change of clocks skips the time, the result has the same distance from midnight; if the
    time occurs twice, the result is the first.
    """
    day = now.astimezone(zone).date()
    for back in (0, 1):
        local = datetime.combine(day - timedelta(days=back), at, tzinfo=zone)
        instant = local.astimezone(UTC)
        if instant <= now:
            return instant
    return datetime.combine(day - timedelta(days=2), at, tzinfo=zone).astimezone(UTC)


_STANDINGS = """
select connections.tenant_id,
    connections.system,
    coalesce(sync_settings.sync_time, %(sync_time)s) as sync_time,
    coalesce(sync_settings.time_zone, tenants.time_zone) as time_zone,
    sync_settings.every_hours,
    connections.connected_at,
    last_run.started_at as last_started_at,
    case when last_run.status = 'paused' then last_run.resume_at end as paused_until,
    coalesce(sync_settings.incremental_sync, true) as is_incremental
from integration.connections as connections
inner join integration.tenants as tenants on tenants.slug = connections.tenant_id
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
left join lateral (
    select runs.started_at, runs.status, runs.resume_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.sync_type not in ('remap', 'verify')
    order by runs.started_at desc, runs.id desc
    limit 1
) as last_run on true
where connections.state = 'connected' and coalesce(sync_settings.auto_sync, true)
"""

_SWEEP_STANDINGS = """
select connections.tenant_id,
    connections.system,
    coalesce(sync_settings.sync_time, %(sync_time)s) as sync_time,
    coalesce(sync_settings.time_zone, tenants.time_zone) as time_zone,
    sync_settings.sweep_every_hours as every_hours,
    coalesce(comparisons.attempted_at, runs.first_at) as attempted_at,
    sweeps.proven_at,
    runs.paused_until,
    coalesce(sync_settings.budget_share, %(share)s)::float8
        * coalesce(
            least(sync_settings.daily_token_budget, told.daily_limit),
            (%(daily_tokens)s ->> connections.system)::bigint
        ) as allowance
from integration.connections as connections
inner join integration.tenants as tenants on tenants.slug = connections.tenant_id
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
left join integration.budget_statements as told
    on told.tenant_id = connections.tenant_id
    and told.system = connections.system
    and told.company_id = connections.company_id
inner join lateral (
    select min(runs.started_at) as first_at, max(runs.resume_at) as paused_until
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.started_at >= connections.connected_at
        and runs.sync_type not in ('remap', 'verify')
) as runs on runs.first_at is not null
left join lateral (
    select max(runs.started_at) as attempted_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.started_at >= connections.connected_at
        and (
            runs.sync_type in ('full', 'sweep')
            or exists (
                select from integration.run_entities
                where run_entities.run_id = runs.id
                    and run_entities.missing is not null
                    and run_entities.watermark_after is not null
            )
        )
) as comparisons on true
left join lateral (
    select case
            when bool_and(coalesce(entity_status.last_sweep_at >= connections.connected_at, false))
                then min(entity_status.last_sweep_at)
        end as proven_at
    from integration.entity_status
    where entity_status.tenant_id = connections.tenant_id
        and entity_status.system = connections.system
        and entity_status.mart is not null
        and entity_status.state not in ('off', 'skipped')
) as sweeps on true
where connections.state = 'connected' and coalesce(sync_settings.auto_sync, true)
"""

_VERIFY_STANDINGS = """
select connections.tenant_id,
    connections.system,
    coalesce(sync_settings.sync_time, %(sync_time)s) as sync_time,
    coalesce(sync_settings.time_zone, tenants.time_zone) as time_zone,
    168 as every_hours,
    coalesce(verifications.attempted_at, syncs.first_at) as attempted_at,
    coalesce(verifications.proven_at, syncs.first_at) as proven_at,
    null::timestamptz as paused_until,
    0::float8 as allowance
from integration.connections as connections
inner join integration.tenants as tenants on tenants.slug = connections.tenant_id
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
inner join lateral (
    select min(runs.started_at) as first_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.started_at >= connections.connected_at
        and runs.sync_type not in ('remap', 'verify')
) as syncs on syncs.first_at is not null
left join lateral (
    select max(runs.started_at) as attempted_at,
        max(runs.started_at) filter (where runs.status = 'success') as proven_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.started_at >= connections.connected_at
        and runs.sync_type = 'verify'
) as verifications on true
where connections.state = 'connected' and coalesce(sync_settings.auto_sync, true)
"""
