"""Runs whose process is gone: their lock is free.

A run writes and completes its row under its lock, so a row with status ``running`` and a free lock
belongs to a dead run; no waiting time is needed.
"""

from __future__ import annotations

from contextlib import suppress

from pipedrive_pipeline.errors import Busy, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import settle_dead
from pipedrive_pipeline.sync.runs.lock import run_lock
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse


def settle_all_dead(warehouse: Warehouse) -> list[str]:
    """Ends the history rows and requests of all dead runs; returns their Dagster run ids.

    Raises:
        Contended: a migration blocks every tenant's lock; the next call finds the same runs.
    """
    ended: list[str] = []
    for scope, sync_type in _begun(warehouse):
        with (
            suppress(Busy, UnknownTenant),
            run_lock(warehouse, scope, sync_type, wait_seconds=0) as lock,
        ):
            ended += settle_dead(lock)
    return ended


def _begun(warehouse: Warehouse) -> list[tuple[Scope, str]]:
    """Returns scope and kind of the runs that have not ended, alive or dead."""
    with warehouse.transaction() as connection:
        rows = connection.execute(
            "select distinct tenant_id, system, sync_type from integration.runs"
            " where status = 'running' order by tenant_id, system, sync_type"
        ).fetchall()
    return [(Scope(Tenant(slug), system), sync_type) for slug, system, sync_type in rows]
