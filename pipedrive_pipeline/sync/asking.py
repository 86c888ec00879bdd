"""A person asks for a sync: one waits at a time, and whoever asks again is shown the same.

Belongs here: writing a row of `integration.sync_requests`, or finding the one that is there. Does
not belong here: starting the run (a sensor reads the row), what follows (`requests.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.errors import NotConnected, ReauthNeeded
from pipedrive_pipeline.sync.history import SyncType
from pipedrive_pipeline.sync.lock import WITHOUT_SOURCE
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.states import Reason
from pipedrive_pipeline.warehouse import audit_log

ANSWERED_BY: dict[SyncType, list[str]] = {
    "full": ["full"],
    "incremental": ["incremental", "full"],  # reading everything reads what changed
    "sweep": ["sweep"],
    "remap": ["remap"],
    "verify": ["verify"],
}


@dataclass(frozen=True)
class Asked:
    """One request, and how far the run is that serves it."""

    id: UUID
    state: str
    sync_type: str
    trigger: str
    requested_at: datetime
    requested_by: str | None
    settled_at: datetime | None
    run_id: UUID | None
    progress: dict[str, Any] | None


def ask(
    connection: psycopg.Connection, tenant: Tenant, system: str, sync_type: SyncType, *, who: str
) -> Asked:
    """The request that is queued or running for this already, or a new one.

    Raises:
        NotConnected, ReauthNeeded: a person must connect first; a remap or verify needs none.
    """
    if sync_type not in WITHOUT_SOURCE:
        _require_connected(connection, tenant, system)
    values = {
        "tenant": tenant.slug,
        "system": system,
        "sync_type": sync_type,
        "answered_by": ANSWERED_BY[sync_type],
        "who": who,
    }
    cursor = connection.cursor(row_factory=class_row(Asked))
    found = cursor.execute(_OPEN, values).fetchone()
    if found is None and connection.execute(_ASK, values).rowcount:
        audit_log.note(connection, tenant, who=who, action="sync.ask", subject=sync_type)
    found = found or cursor.execute(_OPEN, values).fetchone()
    assert found is not None  # noqa: S101 - it was inserted, or somebody else's stands in its way
    return found


def request(
    connection: psycopg.Connection, tenant: Tenant, system: str, request_id: UUID
) -> Asked | None:
    """The request of this id; None if the tenant has none."""
    values = {"tenant": tenant.slug, "system": system, "id": request_id}
    return connection.cursor(row_factory=class_row(Asked)).execute(_ONE, values).fetchone()


def _require_connected(connection: psycopg.Connection, tenant: Tenant, system: str) -> None:
    row = connection.execute(_STATE, {"tenant": tenant.slug, "system": system}).fetchone()
    state, reason = row or (None, None)
    if state == "needs_reauth":
        raise ReauthNeeded(tenant.slug, system, Reason(reason).sentence if reason else "unknown")
    if state != "connected":
        raise NotConnected(tenant.slug, system)


_STATE = """
select
    connections.state,
    connections.state_reason
from integration.connections
where connections.tenant_id = %(tenant)s
    and connections.system = %(system)s
"""
_SELECT = """
select
    sync_requests.id,
    sync_requests.state,
    sync_requests.sync_type,
    sync_requests.trigger,
    sync_requests.requested_at,
    sync_requests.requested_by,
    sync_requests.settled_at,
    sync_requests.sync_log_id as run_id,
    sync_logs.progress
from integration.sync_requests
left join integration.sync_logs
    on sync_logs.tenant_id = %(tenant)s
    and sync_logs.id = sync_requests.sync_log_id
where sync_requests.tenant_id = %(tenant)s
    and sync_requests.system = %(system)s
"""
_ONE = _SELECT + "    and sync_requests.id = %(id)s"
_OPEN = (
    _SELECT
    + """
    and sync_requests.sync_type = any(%(answered_by)s)
    and sync_requests.state in ('queued', 'running')
order by
    sync_requests.state desc,
    sync_requests.requested_at asc,
    sync_requests.id asc
limit 1
"""
)
_ASK = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
values (%(tenant)s, %(system)s, %(sync_type)s, 'manual', %(who)s)
on conflict (tenant_id, system, sync_type) where state = 'queued' do nothing
"""
