"""Which tenants are due, read from our tables: no tick is needed to know, so none can be missed.

Belongs here: the latest instant at which each tenant's sync was due, and whether a run has answered
it. Does not belong here: starting runs (`defs/schedules.py`), what a run does.

A due time is answered by any run that began at or after it, whatever started it. After downtime
only the latest one counts: one run catches up, however many were missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from psycopg.rows import class_row

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

DEFAULT_SYNC_TIME = time(2, 0)


@dataclass(frozen=True)
class DueSync:
    """One tenant whose sync is due."""

    tenant: Tenant
    system: str
    due_at: datetime  # the instant that no run has answered yet

    @property
    def run_key(self) -> str:
        """The same for every question about the same due time."""
        return f"{self.system}/{self.tenant}/{self.due_at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Standing:
    """What a tenant's due times depend on."""

    tenant_id: str
    system: str
    sync_time: time
    time_zone: str
    every_hours: int | None
    connected_at: datetime
    last_started_at: datetime | None
    paused_until: datetime | None  # of the last run, if the day's budget ended it

    def due_at(self, now: datetime) -> datetime | None:
        """The latest unanswered due time; None if there is none."""
        if self.paused_until is not None and self.paused_until > now:
            return None  # what was paused is in the queue of requests until then
        latest = self._latest(now)
        answered_at = max(self.last_started_at or self.connected_at, self.connected_at)
        return latest if latest > answered_at else None

    def _latest(self, now: datetime) -> datetime:
        daily = latest_daily(now, self.sync_time, ZoneInfo(self.time_zone))
        if self.every_hours is None:
            return daily
        interval = timedelta(hours=self.every_hours)
        return daily + interval * ((now - daily) // interval)


def due_syncs(warehouse: Warehouse, now: datetime) -> list[DueSync]:
    """Every connected tenant whose sync is due, the longest waiting first."""
    with warehouse.transaction() as connection:
        rows = (
            connection.cursor(row_factory=class_row(Standing))
            .execute(_STANDINGS, {"sync_time": DEFAULT_SYNC_TIME})
            .fetchall()
        )
    due = [(row.due_at(now), row) for row in rows]
    syncs = [DueSync(Tenant(row.tenant_id), row.system, due_at) for due_at, row in due if due_at]
    return sorted(syncs, key=lambda sync: (sync.due_at, sync.tenant))


def latest_daily(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The latest instant, not after now, at which the zone's clocks showed this time.

    Where a change of clocks leaves the time out, it is the same distance from midnight; where it
    comes twice, the first.
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
    case when last_run.status = 'paused' then last_run.resume_at end as paused_until
from integration.connections as connections
inner join integration.tenants as tenants on tenants.slug = connections.tenant_id
left join integration.sync_settings as sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
left join lateral (
    select sync_logs.started_at, sync_logs.status, sync_logs.resume_at
    from integration.sync_logs as sync_logs
    where sync_logs.tenant_id = connections.tenant_id
        and sync_logs.system = connections.system
        and sync_logs.sync_type <> 'remap'
    order by sync_logs.started_at desc, sync_logs.id desc
    limit 1
) as last_run on true
where connections.state = 'connected' and coalesce(sync_settings.auto_sync, true)
"""
