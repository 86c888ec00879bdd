"""The jobs: the assets that a tenant's run materializes, and the kind of run.

One process per run: a sync is one short process, not five (7 s of start each).
"""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.defs.freshness import FRESHNESS_CHECK
from pipedrive_pipeline.defs.runs import SYNC_TYPE_TAG

# The check of all tenants is scheduled separately; in every tenant's run it would run too often.
OF_ONE_TENANT = dg.AssetSelection.all() - dg.AssetSelection.checks(FRESHNESS_CHECK)
MARTS = dg.AssetSelection.groups("crm", "analytics") - dg.AssetSelection.checks(FRESHNESS_CHECK)

sync = dg.define_asset_job(
    "sync",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "incremental"},
    description="What changed since the last sync, from the CRM to customers, contacts and views.",
)

full_resync = dg.define_asset_job(
    "full_resync",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "full"},
    description="Everything read again. Readers see the old rows until the new ones are in place.",
)

sweep = dg.define_asset_job(
    "sweep",
    selection=OF_ONE_TENANT,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "sweep"},
    description=(
        "Finds what was deleted at the source and proves that nothing is missing. Stops and asks "
        "if more than 10 % and more than 50 rows of a kind are gone; to confirm, launch it with "
        "the tag `pipeline/confirm: true`."
    ),
)

verify = dg.define_asset_job(
    "verify",
    selection=MARTS,
    executor_def=dg.in_process_executor,
    tags={SYNC_TYPE_TAG: "verify"},
    description=(
        "Every row, link and value of customers, contacts and views compared with raw; what "
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
        "Customers, contacts and views rebuilt from raw, with the active field mapping. No call "
        "to the CRM, no tokens."
    ),
)
