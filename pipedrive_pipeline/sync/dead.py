"""Runs whose process is gone: their tenant's lock is free.

Belongs here: finding and ending them in our history. Does not belong here: Dagster's rows of the
same runs (`defs/reaping.py`).

A run's row is begun and ended under the tenant's lock, so a row that says ``running`` beside a free
lock can only be a dead run's: no patience is needed to be sure.
"""

from __future__ import annotations

from contextlib import suppress

from pipedrive_pipeline.errors import Busy
from pipedrive_pipeline.sync.history import settle_dead
from pipedrive_pipeline.sync.lock import tenant_lock
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse


def settle_all_dead(warehouse: Warehouse) -> list[str]:
    """Ends the history rows of all dead runs, and what asked for them; their Dagster run ids.

    Raises:
        Contended: a migration holds every tenant's lock back; the next look finds the same.
    """
    ended: list[str] = []
    for tenant in _begun(warehouse):
        with suppress(Busy), tenant_lock(warehouse, tenant):
            ended += settle_dead(warehouse, tenant)
    return ended


def _begun(warehouse: Warehouse) -> list[Tenant]:
    """The tenants with a run that has not ended, alive or dead."""
    with warehouse.transaction() as connection:
        rows = connection.execute(
            "select distinct tenant_id from integration.sync_logs where status = 'running'"
            " order by tenant_id"
        ).fetchall()
    return [Tenant(slug) for (slug,) in rows]
