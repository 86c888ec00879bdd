"""One tenant's raw side, open for writing: its tables, its marks, the way to read single records.

Belongs here: putting the parts of `ingest/` together for one tenant whose lock is held. Does not
belong here: what a run does with them (`run.py`, `refreshing.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pipedrive_pipeline.errors import DatabaseUnavailable, Superseded
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.refreshing import Refresher
from pipedrive_pipeline.ingest.seen import SeenKeys
from pipedrive_pipeline.ingest.settling import Settler
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.access import SourceAccess
from pipedrive_pipeline.sync.lock import TenantLock


@dataclass(frozen=True)
class Stores:
    """What a tenant's rows go through on their way into raw."""

    raw: RawStore
    seen: SeenKeys
    deletions: Deletions
    refresher: Refresher
    settler: Settler
    before_load: Callable[[], None]


def open_stores(
    settings: Settings,
    lock: TenantLock,
    source: SourceAccess,
    system: str,
    *,
    is_confirmed: bool = False,
) -> Stores:
    """The stores of the tenant whose lock this is; they write while it is held.

    Raises:
        DatabaseUnavailable: Postgres went away.
        Superseded: this run may not write any more.
    """
    tenant, warehouse = lock.tenant, lock.warehouse
    deletions = Deletions(warehouse, tenant, system)
    seen = SeenKeys(warehouse, tenant, system)
    deletions.prepare()
    seen.prepare()
    scratch = tenant.scratch_directory(settings.pipeline_home, system)
    # A run that wakes up late must find neither its own files nor the newer run's.
    shutil.rmtree(scratch, ignore_errors=True)

    def before_load() -> None:
        lock.assert_held()
        source.assert_connected()

    refresher = Refresher(
        entities=source.entities,
        raw=RawStore(warehouse, tenant, system, scratch / lock.holder),
        seen=seen,
        deletions=deletions,
        open_source=source.open,
        on_call=source.usage.on_call,
        before_load=before_load,
    )
    settler = Settler(
        tenant=tenant.slug,
        seen=seen,
        deletions=deletions,
        open_source=source.open,
        on_call=source.usage.on_call,
        refresher=refresher,
        is_confirmed=is_confirmed,
    )
    return Stores(refresher.raw, seen, deletions, refresher, settler, before_load)


def clear_scratch(settings: Settings, lock: TenantLock, system: str) -> None:
    """Leaves no file behind that holds rows, unless another run may be at work there.

    Dlt keeps the files of jobs that are done.
    """
    scratch = lock.tenant.scratch_directory(settings.pipeline_home, system)
    shutil.rmtree(scratch / lock.holder, ignore_errors=True)
    if lock.covers(lock.tenant.raw_lock(system)):
        with suppress(DatabaseUnavailable, Superseded):
            lock.assert_held()
            shutil.rmtree(scratch, ignore_errors=True)
