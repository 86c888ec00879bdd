"""Raw assets: one tenant's records as the CRM sent them, one asset per kind of record.

Annotations are real here, not text: Dagster refuses `context: "AssetExecutionContext"`.
"""

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.connectors.base import EntitySpec
from pipedrive_pipeline.connectors.registry import connector
from pipedrive_pipeline.defs.failures import TRANSIENT_RETRIES, as_dagster_failures
from pipedrive_pipeline.defs.metadata import column_schema, read_metadata
from pipedrive_pipeline.defs.partitions import ONE_TENANT_PER_RUN, TENANTS
from pipedrive_pipeline.defs.runs import SYSTEM
from pipedrive_pipeline.sync.run import TenantRun


def _spec(entity: EntitySpec) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=[SYSTEM, entity.name],
        description=entity.description,
        group_name=f"raw_{SYSTEM}",
        kinds={SYSTEM, "dlt", "postgres"},
        metadata={
            "dagster/column_schema": column_schema((entity.key, *entity.columns)),
            "table": f"raw_{SYSTEM}_<tenant>.{entity.name}",
        },
    )


RAW_SPECS = [_spec(entity) for entity in connector(SYSTEM).entities.values()]


@dg.multi_asset(
    name=f"{SYSTEM}_raw",
    specs=RAW_SPECS,
    can_subset=True,
    partitions_def=TENANTS,
    backfill_policy=ONE_TENANT_PER_RUN,
    retry_policy=TRANSIENT_RETRIES,
)
def raw(
    context: dg.AssetExecutionContext, run: dg.ResourceParam[TenantRun]
) -> Iterator[dg.MaterializeResult[None]]:
    """One tenant's records, as the CRM sent them."""
    chosen = [key.path[-1] for key in context.selected_asset_keys]
    with as_dagster_failures(context, run):
        for read in run.read(chosen):
            yield dg.MaterializeResult(
                asset_key=[SYSTEM, read.entity.name], metadata=read_metadata(run.facts, read)
            )
