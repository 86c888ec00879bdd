"""Opens a tenant for `ingest.refresh`: with its lock, its credential and its allowance.

A refresh must leave enough of the day's tokens for the incremental syncs of all tenants of the
company. It has no history row; its calls are in `integration.api_usage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.runs.scratch import scratch
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.runs.tenant_stores import open_tenant_stores
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current


@contextmanager
def open_refresher(
    scope: Scope,
    *,
    warehouse: Warehouse | None = None,
    settings: Settings | None = None,
) -> Iterator[Refresher]:
    """Yields the scope's refresher; omitted arguments are read from the environment.

    Raises:
        Busy: another run of this tenant is alive.
        UnknownTenant: it is not registered.
    """
    settings = settings or load_settings()
    warehouse = warehouse or warehouse_of(settings)
    require_current(warehouse)
    known(warehouse, scope.tenant)
    source = SourceAccess(warehouse, settings, scope)
    with (
        walk_lock(warehouse, scope) as lock,
        scratch(settings, warehouse, scope) as folder,
    ):
        try:
            yield open_tenant_stores(folder, lock, source).refresher
        except BudgetSpent as spent:
            source.note_spent_days([spent])
            raise
        finally:
            source.usage.write()
