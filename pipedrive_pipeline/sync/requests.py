"""Syncs that were asked for, from the question to the run that answers it.

Belongs here: reading and settling `integration.sync_requests`. Does not belong here: asking
(`vault/` after a connection, `connect/` for a person), starting runs (`defs/sensors.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from pipedrive_pipeline.sync.history import RunFacts, SyncType, Trigger
from pipedrive_pipeline.sync.lock import WITHOUT_SOURCE
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class SyncRequest:
    """One queued request."""

    id: UUID
    tenant: Tenant
    system: str
    sync_type: SyncType
    trigger: Trigger


def queued(warehouse: Warehouse, *, limit: int) -> list[SyncRequest]:
    """The oldest queued requests of connected tenants that are not paused.

    A remap or verify reads nothing at the source: it waits for neither.
    """
    with warehouse.transaction() as connection:
        rows = connection.execute(_QUEUED, [limit]).fetchall()
    return [SyncRequest(row[0], Tenant(row[1]), *row[2:]) for row in rows]


def claim(warehouse: Warehouse, facts: RunFacts, log_id: UUID) -> None:
    """Marks the tenant's requests that this run answers as running.

    A full run answers every request; an incremental one leaves a full one in the queue, and one
    that reads nothing leaves both.
    """
    answered: set[str] = {facts.sync_type}
    if facts.sync_type not in WITHOUT_SOURCE:
        answered.add("incremental")
    values = [log_id, facts.dagster_run_id, facts.tenant.slug, facts.system, sorted(answered)]
    with warehouse.transaction(tenant=facts.tenant) as connection:
        connection.execute(_CLAIM, values)


def settle(warehouse: Warehouse, facts: RunFacts, log_id: UUID, *, is_success: bool) -> None:
    """Ends the requests that this run claimed."""
    with warehouse.transaction(tenant=facts.tenant) as connection:
        connection.execute(_SETTLE, ["done" if is_success else "failed", log_id])


def ask_again(warehouse: Warehouse, facts: RunFacts) -> None:
    """Queues what a paused run has left to do; it waits there until the run may go on."""
    values = [facts.tenant.slug, facts.system, facts.sync_type, facts.trigger]
    with warehouse.transaction(tenant=facts.tenant) as connection:
        connection.execute(_ASK_AGAIN, values)


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
            select from integration.sync_logs as sync_logs
            where sync_logs.tenant_id = sync_requests.tenant_id
                and sync_logs.system = sync_requests.system
                and sync_logs.status = 'paused'
                and sync_logs.resume_at > now()
                and sync_logs.started_at >= connections.connected_at
        )
    )
order by sync_requests.requested_at, sync_requests.id
limit %s
"""

_CLAIM = """
update integration.sync_requests
set state = 'running', sync_log_id = %s, dagster_run_id = %s
where tenant_id = %s and system = %s and state = 'queued' and sync_type = any(%s)
"""

_ASK_AGAIN = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
values (%s, %s, %s, %s, 'a paused sync')
on conflict (tenant_id, system, sync_type) where state = 'queued' do nothing
"""

_SETTLE = """
update integration.sync_requests
set state = %s, settled_at = clock_timestamp()
where sync_log_id = %s and state = 'running'
"""
