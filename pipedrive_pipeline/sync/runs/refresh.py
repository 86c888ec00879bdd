"""Opens a tenant for `ingest.refresh`: with its lock, its credential and its allowance.

A refresh must leave enough of the day's tokens for the incremental syncs of all tenants of the
company. It has no history row; its calls are in `integration.api_usage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.runs.scratch import scratch
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.runs.tenant_stores import open_tenant_stores
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current


@contextmanager
def open_refresher(
    tenant: Tenant,
    system: str | None = None,
    *,
    warehouse: Warehouse | None = None,
    settings: Settings | None = None,
) -> Iterator[Refresher]:
    """Yields the tenant's refresher; omitted arguments are read from the environment.

    Raises:
        Busy: another run of this tenant is alive.
        UnknownTenant: it is not registered.
    """
    settings = settings or load_settings()
    warehouse = warehouse or warehouse_of(settings)
    system = system or DEFAULT_SYSTEM
    require_current(warehouse)
    known(warehouse, tenant)
    source = SourceAccess(warehouse, settings, tenant, system)
    with (
        walk_lock(warehouse, tenant, system) as lock,
        scratch(settings, warehouse, tenant, system) as folder,
    ):
        try:
            yield open_tenant_stores(folder, lock, source, system).refresher
        except BudgetSpent as spent:
            source.note_spent_days([spent])
            raise
        finally:
            source.usage.write()
