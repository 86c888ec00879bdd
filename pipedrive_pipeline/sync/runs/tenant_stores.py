"""Opens one tenant's raw data for writing: its tables, its marks, the reader of single records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.due_parents import DueParents
from pipedrive_pipeline.ingest.history import Histories
from pipedrive_pipeline.ingest.known_reads import KnownReads
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.reconciliation import Reconciler
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.ingest.seen_keys import SeenKeys
from pipedrive_pipeline.ingest.signalled import SignalledRecords
from pipedrive_pipeline.ingest.webhook_events import Events
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.warehouse.sessions import LOAD_LOCK_SECONDS


@dataclass(frozen=True)
class TenantStores:
    """The objects that write a tenant's rows to raw."""

    raw: RawStore
    seen_keys: SeenKeys
    deletions: Deletions
    due_parents: DueParents
    refresher: Refresher
    reconciler: Reconciler
    signalled: SignalledRecords
    known_reads: KnownReads
    before_load: Callable[[], None]


def open_tenant_stores(
    folder: Path,
    lock: TenantLock,
    source: SourceAccess,
    *,
    is_confirmed: bool = False,
    confirmed: Mapping[str, int] | None = None,
) -> TenantStores:
    """Yields the stores of the lock's tenant; they can write as long as the lock is valid.

    Args:
        folder: the folder of the run's files (`scratch.py`).
        lock: the scope's lock on raw.
        source: the tenant's system.
        is_confirmed: True if a person has confirmed that many records are really gone.
        confirmed: by entity, how many records at most a person has confirmed to be gone.

    Raises:
        DatabaseUnavailable: the connection to Postgres was lost.
        Superseded: this run may not write any more.
    """
    scope, warehouse = source.scope, lock.warehouse.waiting(LOAD_LOCK_SECONDS)
    deletions = Deletions(warehouse, scope)
    seen_keys = SeenKeys(warehouse, scope)
    due_parents = DueParents(warehouse, scope, source.entities.values())

    def before_load() -> None:
        lock.assert_held()
        source.assert_connected()

    refresher = Refresher(
        entities=source.entities,
        raw=RawStore(warehouse, scope, folder / "dlt"),
        seen_keys=seen_keys,
        deletions=deletions,
        due_parents=due_parents,
        open_source=source.open,
        on_call=source.usage.on_call,
        before_load=before_load,
    )
    reconciler = Reconciler(
        tenant=scope.tenant.slug,
        seen_keys=seen_keys,
        deletions=deletions,
        open_source=source.open,
        on_call=source.usage.on_call,
        refresher=refresher,
        is_confirmed=is_confirmed,
        confirmed=confirmed or {},
    )
    signalled = SignalledRecords(
        refresher,
        reconciler,
        Events(warehouse, scope, deletions, due_parents, Histories(warehouse, scope)),
        tokens_left=lambda: source.allowance.left,
    )
    return TenantStores(
        refresher.raw,
        seen_keys,
        deletions,
        due_parents,
        refresher,
        reconciler,
        signalled,
        KnownReads(warehouse, scope),
        before_load,
    )
