"""Ends a run, or a request that waits for one, because a person asks for it.

The app only writes a row. A run looks at its own row once a second while it reads, and before it
builds; a Dagster run whose request was cancelled meanwhile ends before it begins.
"""

from __future__ import annotations

from uuid import UUID

import psycopg

from pipedrive_pipeline.errors import Cancelled
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse


def cancel(connection: psycopg.Connection, scope: Scope, run_id: UUID, *, who: str) -> bool:
    """Asks a running run to end, or ends a waiting request; False if there is no such one.

    Args:
        connection: a transaction of the tenant.
        scope: the tenant and system.
        run_id: of the run, or of the request.
        who: for the run's error and the audit log.
    """
    values = {"tenant": scope.tenant.slug, "system": scope.system, "id": run_id, "who": who}
    row = connection.execute(_ASK, values).fetchone()
    row = row or connection.execute(_END_REQUEST, values).fetchone()
    if row is None:
        return False
    audit_log.note(connection, scope.tenant, who=who, action="sync.cancel", subject=row[0])
    return True


def require_not_cancelled(warehouse: Warehouse, tenant: Tenant, request_id: str | None) -> None:
    """Returns unless the request that a run would serve was cancelled; None names no request.

    A cancelled run may be executed again, although its request is cancelled with it.

    Raises:
        Cancelled: a person has ended the request before a run began.
    """
    if request_id is None:
        return
    with warehouse.transaction(tenant) as connection:
        values = {"tenant": tenant.slug, "id": request_id}
        if connection.execute(_IS_ENDED, values).fetchone() is not None:
            raise Cancelled(tenant.slug, "a person before it began")


_ASK = """
update integration.runs
set cancel_asked_at = clock_timestamp(), cancel_asked_by = %(who)s
where tenant_id = %(tenant)s
    and system = %(system)s
    and id = %(id)s
    and status = 'running'
    and cancel_asked_at is null
returning sync_type
"""
_END_REQUEST = """
update integration.sync_requests
set state = 'cancelled', settled_at = clock_timestamp()
where tenant_id = %(tenant)s and system = %(system)s and id = %(id)s and state = 'queued'
returning sync_type
"""
_IS_ENDED = """
select from integration.sync_requests
where sync_requests.tenant_id = %(tenant)s
    and sync_requests.id = %(id)s
    and sync_requests.state = 'cancelled'
    and sync_requests.run_id is null
"""
