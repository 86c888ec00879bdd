"""Alerts on errors that need a person: one per cause, and a notice when it is over.

Open and closed alerts are rows of `integration.alerts`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipedrive_pipeline.errors import GuardTripped, NotProven, Permanent, PipelineError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE
from pipedrive_pipeline.sync.status.notify import notify
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:  # the command `status` needs no marts
    from pipedrive_pipeline.sync.runs.history import HistoryRow, SyncType

KILLED, OVERDUE = "killed", "overdue"  # causes that no run can report itself
UNEXPECTED = "unexpected"  # an error that is no `PipelineError`
RUNBOOK = "docs/runbook.md"
SEEN_BY_FULL_WALKS = (GuardTripped.code, "rows_missing")  # a read of changes proves them not over
SEEN_BY_SENSORS = ("near_real_time",)  # no run proves it over
FULL_WALKS: Final = ("full", "sweep")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cause:
    """The reason for an alert."""

    tenant: Tenant
    system: str
    code: str
    message: str  # what failed and what to do
    who_acts: str
    sync_type: SyncType = "incremental"  # of the run that found it
    dagster_run_id: str | None = None


def notify_of_run(warehouse: Warehouse, settings: Settings, row: HistoryRow) -> None:
    """Sends at most one alert about an ended run; none if its cause is open already."""
    facts = row.facts
    try:
        if cause := _cause(row):
            raise_alert(warehouse, settings, cause)
        elif not row.errors:
            close_alert(
                warehouse, settings, facts.scope.tenant, facts.scope.system, facts.sync_type
            )
    except PipelineError as error:  # the run has ended, and its history row is written
        log.warning("no alert could be made: %s", error)


def raise_alert(warehouse: Warehouse, settings: Settings, cause: Cause) -> bool:
    """True if the cause is new, or nobody could be notified before; sends the alert then."""
    with warehouse.transaction(tenant=cause.tenant) as connection:
        opened = connection.execute(_OPEN, vars(cause) | {"tenant": cause.tenant.slug}).fetchone()
    if opened is None:
        return False
    title = f"{cause.tenant}: {cause.code}, a person must act"
    body = f"{cause.message}\nWho must act: {cause.who_acts}. More: {RUNBOOK}, {cause.code}."
    if cause.dagster_run_id:
        body += f"\nRun: {settings.run_url(cause.dagster_run_id)}"
    if notify(warehouse, settings, cause.tenant, cause.system, title=title, body=body):
        with warehouse.transaction(tenant=cause.tenant) as connection:
            connection.execute(
                "update integration.alerts set sent_at = now() where id = %s", opened
            )
    return True


def raise_unless_open(warehouse: Warehouse, settings: Settings, causes: Iterable[Cause]) -> None:
    """Alerts on causes that a sensor found, except of tenants with another open cause."""
    known = _with_open_causes(warehouse)
    for cause in causes:
        if known.get((cause.tenant.slug, cause.system), cause.code) == cause.code:
            raise_alert(warehouse, settings, cause)


def close_others(
    warehouse: Warehouse, settings: Settings, code: str, lasting: Collection[tuple[Tenant, str]]
) -> None:
    """Closes the open alerts of this code, except those of tenants and systems where it lasts."""
    with warehouse.transaction() as connection:
        kept = [f"{tenant}/{system}" for tenant, system in lasting]
        closed = connection.execute(_CLOSE, [code, kept]).fetchall()
    for slug, system in closed:
        _say_closed(warehouse, settings, Tenant(slug), system, code)


def close_alert(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str, by: SyncType
) -> None:
    """Closes the open cause, if a good run of this kind proves that it is over, and says so."""
    with warehouse.transaction(tenant=tenant) as connection:
        values = {
            "tenant": tenant.slug,
            "system": system,
            "by": by,
            "is_full_walk": by in FULL_WALKS,
            "is_without_source": by in WITHOUT_SOURCE,
            "not_proven": NotProven.code,
            "seen_by_full_walks": list(SEEN_BY_FULL_WALKS),
            "seen_by_sensors": list(SEEN_BY_SENSORS),
        }
        closed = connection.execute(_HEAL, values).fetchone()
    if closed:
        _say_closed(warehouse, settings, tenant, system, closed[0])


def _say_closed(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str, code: str
) -> None:
    title = f"{tenant}: works again"
    notify(warehouse, settings, tenant, system, title=title, body=f"{code} is over.")


def _cause(row: HistoryRow) -> Cause | None:
    """The first error of a run that no rerun mends; a run that a person ended has none."""
    for error in row.errors:
        if isinstance(error, Permanent):
            code, message, who_acts = error.code, str(error), error.who_acts
        elif isinstance(error, Exception) and not isinstance(error, PipelineError):
            code = UNEXPECTED
            message = f"{row.facts.scope.tenant}: {type(error).__name__}; the run's log has more."
            who_acts = "whoever maintains the pipeline"
        else:
            continue
        facts = row.facts
        return Cause(
            tenant=facts.scope.tenant,
            system=facts.scope.system,
            code=code,
            message=message,
            who_acts=who_acts,
            sync_type=facts.sync_type,
            dagster_run_id=facts.dagster_run_id,
        )
    return None


def _with_open_causes(warehouse: Warehouse) -> dict[tuple[str, str], str]:
    with warehouse.transaction() as connection:
        rows = connection.execute(
            "select tenant_id, system, code from integration.alerts where healed_at is null"
        ).fetchall()
    return {(tenant, system): code for tenant, system, code in rows}


# One statement: a run and a sensor that find the same cause at once alert once.
_OPEN = """
insert into integration.alerts as open
    (tenant_id, system, code, sync_type, message, dagster_run_id)
values (%(tenant)s, %(system)s, %(code)s, %(sync_type)s, %(message)s, %(dagster_run_id)s)
on conflict (tenant_id, system) where healed_at is null do update
set code = excluded.code,
    sync_type = excluded.sync_type,
    message = excluded.message,
    dagster_run_id = excluded.dagster_run_id,
    began_at = case when open.code = excluded.code then open.began_at else excluded.began_at end,
    sent_at = null
where open.code <> excluded.code or open.sent_at is null
returning open.id
"""

_HEAL = """
update integration.alerts
set healed_at = now()
where tenant_id = %(tenant)s and system = %(system)s and healed_at is null
    and (not %(is_without_source)s or sync_type in ('remap', 'verify'))
    and (%(by)s = 'verify' or code <> %(not_proven)s)
    and (%(is_full_walk)s or code <> all(%(seen_by_full_walks)s))
    and code <> all(%(seen_by_sensors)s)
returning code
"""
_CLOSE = """
update integration.alerts
set healed_at = now()
where code = %s and healed_at is null and tenant_id || '/' || system <> all(%s)
returning tenant_id, system
"""
