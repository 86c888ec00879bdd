"""The jobs: the assets that a tenant's run materializes, and the kind of run.

One process per run: a sync is one short process, not five (7 s of start each).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import dagster as dg

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.defs.freshness import FRESHNESS_CHECKS
from pipedrive_pipeline.defs.marts import MART_KEYS, VIEW_KEYS
from pipedrive_pipeline.defs.near_real_time import NEAR_REAL_TIME_CHECKS
from pipedrive_pipeline.defs.raw import raw_keys
from pipedrive_pipeline.defs.runs import LOCK_TAG, SYNC_TYPE_TAG, SYSTEM_TAG
from pipedrive_pipeline.defs.tenant_summary import SUMMARY_CHECKS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE, lock_of_run

# Checks over all tenants are no step of a tenant's run: its own step reports their results.
OVER_ALL_TENANTS = dg.AssetSelection.checks(
    *FRESHNESS_CHECKS, *NEAR_REAL_TIME_CHECKS, *SUMMARY_CHECKS
)
OF_ONE_TENANT = dg.AssetSelection.all() - OVER_ALL_TENANTS
MARTS = dg.AssetSelection.groups("crm", "analytics") - OVER_ALL_TENANTS


def selection_of(
    scope: Scope, sync_type: SyncType, entities: Collection[str] | None = None
) -> list[dg.AssetKey]:
    """Returns the assets of a run of one system: its raw assets, and the marts with their views.

    Of the raw assets only those of ``entities``, where some are named.
    """
    raw = [] if sync_type in WITHOUT_SOURCE else raw_keys(registry.system(scope.system))
    chosen = [key for key in raw if entities is None or key.path[-1] in entities]
    return [*chosen, *sorted(MART_KEYS | VIEW_KEYS)]


def request(
    scope: Scope,
    sync_type: SyncType,
    *,
    run_key: str,
    tags: Mapping[str, str],
    job_name: str | None = None,
) -> dg.RunRequest:
    """Returns the request of a run of one system; by default in the job of its kind."""
    return dg.RunRequest(
        run_key=run_key,
        job_name=job_name or BY_SYNC_TYPE[sync_type].name,
        partition_key=scope.tenant.slug,
        asset_selection=selection_of(scope, sync_type),
        tags={
            SYSTEM_TAG: scope.system,
            SYNC_TYPE_TAG: sync_type,
            LOCK_TAG: lock_of_run(scope, sync_type),
            **tags,
        },
    )


sync = dg.define_asset_job(
    "sync",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "incremental"},
    description="What changed since the last sync, from each connected system to marts and views.",
)

full_resync = dg.define_asset_job(
    "full_resync",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "full"},
    description=(
        "Everything read again. Readers see the old rows until the new ones are in place. One that "
        "was interrupted goes on; with `restart: true` in its run config it starts over."
    ),
)

sweep = dg.define_asset_job(
    "sweep",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "sweep"},
    description=(
        "Finds what was deleted at the source and proves that nothing is missing. Stops and asks "
        "if more than 10 % and more than 50 rows of a kind are gone; to confirm, launch it with "
        "`confirm: true` in its run config."
    ),
)

verify = dg.define_asset_job(
    "verify",
    selection=MARTS,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "verify"},
    description=(
        "Every row, link and value of marts and views compared with raw; what "
        "differs is healed. Fails where something can neither be proved nor healed. No call to the "
        "CRM, no tokens."
    ),
)

remap = dg.define_asset_job(
    "remap",
    selection=MARTS,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "remap"},
    description=(
        "Marts and views rebuilt from raw, with the active field mapping. No call to the CRM, no "
        "tokens."
    ),
)

BY_SYNC_TYPE = {
    "full": full_resync,
    "incremental": sync,
    "sweep": sweep,
    "remap": remap,
    "verify": verify,
}
