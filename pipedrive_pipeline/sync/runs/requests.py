"""Requests for a sync in `integration.sync_requests`: created, claimed by a run, settled.

At most one request of a kind is queued per tenant and system. A sensor starts the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.errors import NotConnected, ReauthNeeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import RunFacts, Status, SyncType, Trigger
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.states import Reason
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

ANSWERED_BY: dict[SyncType, list[str]] = {
    "full": ["full"],
    "incremental": ["incremental", "full"],  # a full read includes all changes
    "sweep": ["sweep"],
    "remap": ["remap"],
    "verify": ["verify"],
}


@dataclass(frozen=True)
class RequestProgress:
    """One request, and the progress of its run."""

    id: UUID
    state: str
    sync_type: str
    trigger: str
    requested_at: datetime
    requested_by: str | None
    settled_at: datetime | None
    run_id: UUID | None
    progress: dict[str, Any] | None


@dataclass(frozen=True)
class QueuedSync:
    """One queued request."""

    id: UUID
    scope: Scope
    sync_type: SyncType
    trigger: Trigger


def request_sync(
    connection: psycopg.Connection,
    scope: Scope,
    sync_type: SyncType,
    *,
    who: str,
    is_for_change: bool = False,
) -> RequestProgress:
    """Returns the request that is queued or running already, or a new one.

    Args:
        connection: sees the tenant's requests.
        scope: whose sync, of which CRM.
        sync_type: the kind of run.
        who: for the audit log.
        is_for_change: the run is to act on what was changed just now; one that is running has
            perhaps read what was before.

    Raises:
        NotConnected, ReauthNeeded: a person must connect first; a remap or verify needs none.
    """
    if sync_type not in WITHOUT_SOURCE:
        _require_connected(connection, scope)
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "sync_type": sync_type,
        "answered_by": ANSWERED_BY[sync_type],
        "states": ["queued"] if is_for_change else ["queued", "running"],
        "who": who,
    }
    cursor = connection.cursor(row_factory=class_row(RequestProgress))
    open_request = cursor.execute(_OPEN, values).fetchone()
    if open_request is None and connection.execute(_INSERT, values).rowcount:
        audit_log.note(connection, scope.tenant, who=who, action="sync.ask", subject=sync_type)
    open_request = open_request or cursor.execute(_OPEN, values).fetchone()
    assert open_request is not None  # noqa: S101 - inserted here or by another process
    return open_request


def find_request(
    connection: psycopg.Connection, scope: Scope, request_id: UUID
) -> RequestProgress | None:
    """Returns the request with this id; None if the tenant has no such request."""
    values = {"tenant": scope.tenant.slug, "system": scope.system, "id": request_id}
    return (
        connection.cursor(row_factory=class_row(RequestProgress)).execute(_BY_ID, values).fetchone()
    )


def _require_connected(connection: psycopg.Connection, scope: Scope) -> None:
    row = connection.execute(
        _STATE, {"tenant": scope.tenant.slug, "system": scope.system}
    ).fetchone()
    state, reason = row or (None, None)
    if state == "needs_reauth":
        raise ReauthNeeded(
            scope.tenant.slug, scope.system, Reason(reason).sentence if reason else "unknown"
        )
    if state != "connected":
        raise NotConnected(scope.tenant.slug, scope.system)


def queued(warehouse: Warehouse, *, limit: int) -> list[QueuedSync]:
    """Returns the oldest queued requests of connected tenants that are not paused.

    A remap or verify makes no calls to the source, so it needs no connection and ignores a pause.
    """
    with warehouse.transaction() as connection:
        rows = connection.execute(_QUEUED, [limit]).fetchall()
    return [QueuedSync(row[0], Scope(Tenant(row[1]), row[2]), *row[3:]) for row in rows]


def types_queued(connection: psycopg.Connection, scope: Scope) -> set[str]:
    """Returns the kinds of run that are queued for one tenant and system."""
    values = [scope.tenant.slug, scope.system]
    return {row[0] for row in connection.execute(_TYPES_QUEUED, values)}


def claim(warehouse: Warehouse, facts: RunFacts, run_id: UUID) -> None:
    """Marks the tenant's requests that this run answers as running.

    A full run answers every request. An incremental run leaves full requests in the queue; a remap
    or verify leaves full and incremental ones.
    """
    answered: set[str] = {facts.sync_type}
    if facts.sync_type not in WITHOUT_SOURCE:
        answered.add("incremental")
    values = [
        run_id,
        facts.dagster_run_id,
        facts.scope.tenant.slug,
        facts.scope.system,
        sorted(answered),
    ]
    with warehouse.transaction(tenant=facts.scope.tenant) as connection:
        connection.execute(_CLAIM, values)


def settle(warehouse: Warehouse, facts: RunFacts, run_id: UUID, status: Status) -> None:
    """Ends the requests that this run claimed, by how it ended."""
    state = {"success": "done", "paused": "done", "cancelled": "cancelled"}.get(status, "failed")
    with warehouse.transaction(tenant=facts.scope.tenant) as connection:
        connection.execute(_SETTLE, [state, run_id])


def requeue(warehouse: Warehouse, facts: RunFacts, *, who: str) -> None:
    """Queues the work that a run has left, until it may go on; ``who`` asks for it."""
    values = [facts.scope.tenant.slug, facts.scope.system, facts.sync_type, facts.trigger, who]
    with warehouse.transaction(tenant=facts.scope.tenant) as connection:
        connection.execute(_REQUEUE, values)


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
    sync_requests.run_id,
    runs.progress
from integration.sync_requests
left join integration.runs
    on runs.tenant_id = %(tenant)s
    and runs.id = sync_requests.run_id
where sync_requests.tenant_id = %(tenant)s
    and sync_requests.system = %(system)s
"""
_BY_ID = _SELECT + "    and sync_requests.id = %(id)s"
_OPEN = (
    _SELECT
    + """
    and sync_requests.sync_type = any(%(answered_by)s)
    and sync_requests.state = any(%(states)s)
order by
    sync_requests.state desc,
    sync_requests.requested_at asc,
    sync_requests.id asc
limit 1
"""
)
_INSERT = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
values (%(tenant)s, %(system)s, %(sync_type)s, 'manual', %(who)s)
on conflict (tenant_id, system, sync_type) where state = 'queued' do nothing
"""

_QUEUED = """
select sync_requests.id, sync_requests.tenant_id, sync_requests.system, sync_requests.sync_type,
    sync_requests.trigger
from integration.sync_requests as sync_requests
left join integration.connections as connections
    on connections.tenant_id = sync_requests.tenant_id
    and connections.system = sync_requests.system
where sync_requests.state = 'queued'
    and (
        sync_requests.sync_type in ('remap', 'verify')
        or connections.state = 'connected'
        and not exists (
            select from integration.runs
            where runs.tenant_id = sync_requests.tenant_id
                and runs.system = sync_requests.system
                and runs.status = 'paused'
                and runs.resume_at > now()
                and runs.started_at >= connections.connected_at
        )
    )
order by sync_requests.requested_at, sync_requests.id
limit %s
"""

_TYPES_QUEUED = """
select sync_requests.sync_type
from integration.sync_requests
where sync_requests.tenant_id = %s
    and sync_requests.system = %s
    and sync_requests.state = 'queued'
"""

_CLAIM = """
update integration.sync_requests
set state = 'running', run_id = %s, dagster_run_id = %s
where tenant_id = %s and system = %s and state = 'queued' and sync_type = any(%s)
"""

_REQUEUE = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
values (%s, %s, %s, %s, %s)
on conflict (tenant_id, system, sync_type) where state = 'queued' do nothing
"""

_SETTLE = """
update integration.sync_requests
set state = %s, settled_at = clock_timestamp()
where run_id = %s and state = 'running'
"""
