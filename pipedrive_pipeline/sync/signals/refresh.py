"""Reads single records again: `ingest.refresh`, and the run that serves waiting signals.

A refresh must leave enough of the day's tokens for the incremental syncs of all tenants of the
company. It has no history row; its calls are in `integration.api_usage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime

from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import CursorState, Entity, next_number
from pipedrive_pipeline.errors import BadInput, BudgetSpent, Busy
from pipedrive_pipeline.ingest.outcome import Refreshed, watermark
from pipedrive_pipeline.ingest.reading import Reader
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.sync.budget.daily_budget import KEPT_FOR_SYNCS
from pipedrive_pipeline.sync.runs.lock import TenantLock, walk_lock
from pipedrive_pipeline.sync.runs.scratch import scratch
from pipedrive_pipeline.sync.runs.source_access import SourceAccess, utc_now
from pipedrive_pipeline.sync.runs.tenant_stores import TenantStores, open_tenant_stores
from pipedrive_pipeline.sync.signals.serving import ChangesWalk, Served, serve_signals, together
from pipedrive_pipeline.sync.signals.store import signal_records
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current

TURNS_MAX = 100  # of one run; the next run serves what has come meanwhile


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


def serve_waiting(
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    *,
    turns: int = TURNS_MAX,
    may_walk: bool = True,
) -> Served:
    """Reads the signalled records of a scope again, and builds its marts, until none waits.

    Args:
        warehouse: has the signals.
        settings: of this installation.
        scope: whose signals.
        turns: builds of the marts, at most.
        may_walk: False leaves what one walk over the changes would serve cheaper.

    Raises:
        Busy: another run reads the tenant; it serves them.
        PipelineError: the marts could not be built; the signals stay.
    """
    ended: list[Served] = []
    with _opened(warehouse, settings, scope) as (lock, stores, source):
        walk = _walk_of(warehouse, stores, source) if may_walk else None
        while len(ended) < turns and (not ended or ended[-1].count):
            ended.append(serve_signals(lock, scope, stores.signalled, walk))
            source.note_spent_days(ended[-1].errors)
    return together(ended)


def _walk_of(warehouse: Warehouse, stores: TenantStores, source: SourceAccess) -> ChangesWalk:
    """Returns the walk over an entity's changes, for signals that it serves for fewer tokens."""
    reader = Reader(
        raw=stores.raw,
        seen_keys=stores.seen_keys,
        deletions=stores.deletions,
        reconciler=stores.reconciler,
        open_source=source.open,
        on_call=source.usage.on_call,
        on_page=lambda _read: None,
        before_load=stores.before_load,
        due_parents=stores.due_parents,
        known_reads=stores.known_reads,
        now=utc_now,
        tokens_left=lambda: source.allowance.left,
    )

    def changed_count(entity: Entity) -> int | None:
        cursor = stores.raw.cursors.get(entity.name)
        return None if cursor is None else _changed_since(warehouse, source.scope, entity, cursor)

    def read(entity: Entity) -> set[str]:
        began = next_number()
        for ended in reader.read([entity], is_full=False):
            if ended.error:
                raise ended.error
        return stores.raw.keys_read_since(entity, began)

    return ChangesWalk(changed_count, read)


def _changed_since(warehouse: Warehouse, scope: Scope, entity: Entity, cursor: CursorState) -> int:
    """Returns how many records of raw are as young as a cursor; 0 if it is not a time."""
    try:
        since = datetime.fromisoformat(watermark(cursor) or "")
    except ValueError:
        return 0
    query = sql.SQL("select count(*) from {} where {} >= %s").format(
        sql.Identifier(scope.raw_schema, entity.name),
        sql.Identifier(entity.version_column or ""),
    )
    with warehouse.transaction(tenant=scope.tenant) as connection:
        row = connection.execute(query, [since]).fetchone()
    return int(row[0]) if row else 0


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
    with _opened(warehouse or warehouse_of(settings), settings, scope) as (_, stores, _source):
        yield stores.refresher


@contextmanager
def _opened(
    warehouse: Warehouse, settings: Settings, scope: Scope
) -> Iterator[tuple[TenantLock, TenantStores, SourceAccess]]:
    require_current(warehouse)
    known(warehouse, scope.tenant)
    source = SourceAccess(warehouse, settings, scope, kept_share=KEPT_FOR_SYNCS)
    with (
        walk_lock(warehouse, scope) as lock,
        scratch(settings, warehouse, scope) as folder,
    ):
        try:
            stores = open_tenant_stores(folder, lock, source)
            with closing(stores.raw):
                yield lock, stores, source
        except BudgetSpent as spent:
            source.note_spent_days([spent])
            raise
        finally:
            source.usage.write()
