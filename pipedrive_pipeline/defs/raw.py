"""Raw assets: one tenant's records as a system sent them, one asset per kind of record."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.connectors.contract import Entity, System
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.defs import asset_metadata
from pipedrive_pipeline.defs.metadata import column_schema, read_metadata
from pipedrive_pipeline.defs.table_checks import (
    completeness_result,
    completeness_spec,
    refusal_result,
    refusal_spec,
    rejections_result,
    rejections_spec,
)
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.run import TenantRun


def raw_key(system: str, entity: str) -> dg.AssetKey:
    """Returns the key of the asset of one entity."""
    return dg.AssetKey([system, entity])


def raw_keys(system: System) -> list[dg.AssetKey]:
    """Returns the keys of one system's assets, in the order in which its entities are read."""
    return [raw_key(system.key, entity.name) for entity in system.entities]


def entities_among(keys: set[dg.AssetKey], scope: Scope) -> list[str]:
    """Returns the names of the scope's entities whose assets are among these keys."""
    return [key.path[1] for key in keys if key.path[0] == scope.system]


def _spec(system: System, entity: Entity) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=raw_key(system.key, entity.name),
        description=entity.description,
        group_name=f"raw_{system.key}",
        skippable=True,  # not connected, paused or skipped; any other incomplete read raises
        kinds={system.key, "dlt", "postgres"},
        owners=asset_metadata.owners(),
        tags=asset_metadata.tags(is_personal=bool(entity.personal), system=system.key),
        metadata={
            "dagster/column_schema": column_schema((entity.key, *entity.columns)),
            **asset_metadata.entity_metadata(system, entity),
        },
    )


RAW_SPECS = [_spec(system, entity) for system in systems() for entity in system.entities]
RAW_KEYS = [spec.key for spec in RAW_SPECS]
RAW_CHECKS = [
    spec(key) for key in RAW_KEYS for spec in (completeness_spec, rejections_spec, refusal_spec)
]


def read(
    context: dg.AssetExecutionContext, run: TenantRun, entities: list[str]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Reads these entities of one system; yields each one that is committed whole or skipped.

    The checks come last: Dagster looks up what each is about, so that the events of the assets
    would be written one by one.
    """
    estimated = _price_of_full_read(context, run, entities)
    compared = run.last_comparisons()
    checks: list[dg.AssetCheckResult] = []
    try:
        for entity_read in run.read(entities):
            asset = raw_key(run.facts.scope.system, entity_read.entity.name)
            checks.append(refusal_result(asset, entity_read))
            if entity_read.is_set_aside:
                context.log.warning(f"{run.facts.scope}: {entity_read.error}")  # noqa: G004 - Dagster's
                continue
            raw = run.raw_facts(entity_read.entity)
            yield dg.MaterializeResult(
                asset_key=asset,
                metadata=read_metadata(run.facts, entity_read, raw.rows, estimated),
            )
            name = entity_read.entity.name
            checks += completeness_result(asset, entity_read, compared.get(name))
            checks.append(rejections_result(asset, raw.rejected))
    except PipelineError:
        yield from checks
        raise
    yield from checks


def _price_of_full_read(
    context: dg.AssetExecutionContext, run: TenantRun, entities: list[str]
) -> Price | None:
    """Reports the cost of a full read before it begins; does nothing for an incremental read."""
    if run.facts.sync_type != "full":
        return None
    estimated = run.price(entities)
    context.log.info(f"{run.facts.scope.tenant}: full read: {estimated}")  # noqa: G004 - Dagster's log
    return estimated
