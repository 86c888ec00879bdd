"""Raw assets: one tenant's records as the CRM sent them, one asset per kind of record.

Annotations are real here, not text: Dagster refuses `context: "AssetExecutionContext"`.
"""

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.connectors.contract import Entity, System
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.defs.failures import TRANSIENT_RETRIES, as_dagster_failures
from pipedrive_pipeline.defs.metadata import column_schema, read_metadata
from pipedrive_pipeline.defs.partial_runs import marts_of_the_rest
from pipedrive_pipeline.defs.partitions import ONE_TENANT_PER_RUN, TENANTS
from pipedrive_pipeline.defs.table_checks import (
    completeness_result,
    completeness_spec,
    rejections_result,
    rejections_spec,
)
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.run import TenantRun


def _spec(system: str, entity: Entity) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=[system, entity.name],
        description=entity.description,
        group_name=f"raw_{system}",
        skippable=True,  # for paused reads; any other incomplete read raises
        kinds={system, "dlt", "postgres"},
        metadata={
            "dagster/column_schema": column_schema((entity.key, *entity.columns)),
            "table": f"raw_{system}_<tenant>.{entity.name}",
        },
    )


def price_of_full_read(
    context: dg.AssetExecutionContext, run: TenantRun, entities: list[str]
) -> Price | None:
    """Reports the cost of a full read before it begins; does nothing for an incremental read."""
    if run.facts.sync_type != "full":
        return None
    estimated = run.price(entities)
    context.log.info(f"{run.facts.scope.tenant}: full read: {estimated}")  # noqa: G004 - Dagster's log
    return estimated


def raw_assets(system: System) -> dg.AssetsDefinition:
    """Returns one system's raw assets; any subset of them can be read."""

    @dg.multi_asset(
        name=f"{system.key}_raw",
        specs=[_spec(system.key, entity) for entity in system.entities],
        can_subset=True,
        partitions_def=TENANTS,
        backfill_policy=ONE_TENANT_PER_RUN,
        retry_policy=TRANSIENT_RETRIES,
        check_specs=[
            spec(dg.AssetKey([system.key, entity.name]))
            for entity in system.entities
            for spec in (completeness_spec, rejections_spec)
        ],
    )
    def raw(
        context: dg.AssetExecutionContext, run: dg.ResourceParam[TenantRun]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Reads one tenant's records as the CRM sent them."""
        chosen = [key.path[-1] for key in context.selected_asset_keys]
        with as_dagster_failures(context, run):
            estimated = price_of_full_read(context, run, chosen)
            with marts_of_the_rest(context, run):
                for read in run.read(chosen):
                    asset = dg.AssetKey([system.key, read.entity.name])
                    yield dg.MaterializeResult(
                        asset_key=asset,
                        metadata=read_metadata(run.facts, read, estimated),
                        check_results=[
                            *completeness_result(asset, read),
                            rejections_result(asset, run.rejections(read.entity)),
                        ],
                    )

    return raw


RAW_ASSETS = [raw_assets(system) for system in systems()]
