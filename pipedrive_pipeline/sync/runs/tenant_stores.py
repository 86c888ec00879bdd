"""One tenant's raw side, open for writing: its tables, its marks, the way to read single records.

Belongs here: putting the parts of `ingest/` together for one tenant whose lock is held. Does not
belong here: what a run does with them (`run.py`, `refreshing.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.reconciliation import Reconciler
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.ingest.seen_keys import SeenKeys
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.source_access import SourceAccess


@dataclass(frozen=True)
class TenantStores:
    """What a tenant's rows go through on their way into raw."""

    raw: RawStore
    seen_keys: SeenKeys
    deletions: Deletions
    refresher: Refresher
    reconciler: Reconciler
    before_load: Callable[[], None]


def open_tenant_stores(
    folder: Path,
    lock: TenantLock,
    source: SourceAccess,
    system: str,
    *,
    is_confirmed: bool = False,
) -> TenantStores:
    """The stores of the tenant whose lock this is; they write while it is held.

    Args:
        folder: for the run's files (`scratch.py`).
        lock: the tenant's.
        source: how its CRM is read.
        system: which CRM.
        is_confirmed: a person said that many records are really gone.

    Raises:
        DatabaseUnavailable: Postgres went away.
        Superseded: this run may not write any more.
    """
    tenant, warehouse = lock.tenant, lock.warehouse
    deletions = Deletions(warehouse, tenant, system)
    seen_keys = SeenKeys(warehouse, tenant, system)
    deletions.prepare()
    seen_keys.prepare()

    def before_load() -> None:
        lock.assert_held()
        source.assert_connected()

    refresher = Refresher(
        entities=source.entities,
        raw=RawStore(warehouse, tenant, system, folder / "dlt"),
        seen_keys=seen_keys,
        deletions=deletions,
        open_source=source.open,
        on_call=source.usage.on_call,
        before_load=before_load,
    )
    reconciler = Reconciler(
        tenant=tenant.slug,
        seen_keys=seen_keys,
        deletions=deletions,
        open_source=source.open,
        on_call=source.usage.on_call,
        refresher=refresher,
        is_confirmed=is_confirmed,
    )
    return TenantStores(refresher.raw, seen_keys, deletions, refresher, reconciler, before_load)
