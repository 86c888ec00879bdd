"""Reads single records again: `ingest.refresh`, and the run that serves waiting signals.

A refresh must leave enough of the day's tokens for the incremental syncs of all tenants of the
company. It has no history row; its calls are in `integration.api_usage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput, BudgetSpent, Busy
from pipedrive_pipeline.ingest.outcome import Refreshed
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.sync.runs.lock import TenantLock, walk_lock
from pipedrive_pipeline.sync.runs.scratch import scratch
from pipedrive_pipeline.sync.runs.serving import Served, serve_signals
from pipedrive_pipeline.sync.runs.signals import signal_records
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.runs.tenant_stores import open_tenant_stores
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current


def refresh_records(scope: Scope, entity: str, ids: Sequence[str]) -> Refreshed:
    """Reads these records again, or signals them to the run that reads the tenant now.

    Raises:
        BadInput, UnknownTenant, UsageError: a wrong argument; nothing was begun.
    """
    settings = load_settings()
    warehouse = warehouse_of(settings)
    try:
        with open_refresher(scope, warehouse=warehouse, settings=settings) as refresher:
            return refresher.refresh(entity, ids)
    except Busy:
        if entity not in registry.system(scope.system).by_name:
            raise BadInput(f"there is no entity {entity!r} in {scope.system}.") from None
        signal_records(warehouse, scope, entity, ids)
        return Refreshed(0, 0, 0, 0, (), is_signalled=True)


def serve_waiting(warehouse: Warehouse, settings: Settings, scope: Scope) -> Served:
    """Reads all signalled records of a scope again, and builds its marts.

    Raises:
        Busy: another run reads the tenant; it serves them.
        PipelineError: the marts could not be built; the signals stay.
    """
    with _opened(warehouse, settings, scope) as (lock, refresher):
        return serve_signals(lock, scope, refresher)


@contextmanager
def open_refresher(
    scope: Scope, *, warehouse: Warehouse | None = None, settings: Settings | None = None
) -> Iterator[Refresher]:
    """Yields the scope's refresher; omitted arguments are read from the environment.

    Raises:
        Busy: another run of this tenant is alive.
        UnknownTenant: it is not registered.
    """
    settings = settings or load_settings()
    with _opened(warehouse or warehouse_of(settings), settings, scope) as (_lock, refresher):
        yield refresher


@contextmanager
def _opened(
    warehouse: Warehouse, settings: Settings, scope: Scope
) -> Iterator[tuple[TenantLock, Refresher]]:
    require_current(warehouse)
    known(warehouse, scope.tenant)
    source = SourceAccess(warehouse, settings, scope)
    with (
        walk_lock(warehouse, scope) as lock,
        scratch(settings, warehouse, scope) as folder,
    ):
        try:
            yield lock, open_tenant_stores(folder, lock, source).refresher
        except BudgetSpent as spent:
            source.note_spent_days([spent])
            raise
        finally:
            source.usage.write()
