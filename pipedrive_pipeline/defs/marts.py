"""Mart assets: the marts of all tenants, and the views of one tenant that an analyst reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from pipedrive_pipeline.defs.field_checks import check_results, check_specs
from pipedrive_pipeline.defs.metadata import counts_metadata, mart_metadata, view_metadata
from pipedrive_pipeline.defs.raw import RAW_KEYS
from pipedrive_pipeline.defs.table_checks import mart_asset, mart_checks, mart_results
from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.sync.runs.field_facts import FieldFacts
from pipedrive_pipeline.sync.runs.run import TenantRun


def view_asset(name: str) -> dg.AssetKey:
    """Returns the asset of a mart's view."""
    return dg.AssetKey(["analytics", name])


def _mart_spec(mart: Mart) -> dg.AssetSpec:
    linked = [mart_asset(link.mart) for link in mart.links if link.mart != mart.name]
    return dg.AssetSpec(
        mart_asset(mart.name),
        description=f"{mart.of}: one row per tenant and {mart.grain}.",
        group_name="crm",
        skippable=True,  # a run that is paused or fails builds nothing
        kinds={"postgres", "sql"},
        deps=[*RAW_KEYS, *linked],
        metadata={"dagster/table_name": ".".join(mart.table)},
    )


def _view_spec(mart: Mart) -> dg.AssetSpec:
    return dg.AssetSpec(
        view_asset(mart.name),
        description=f"What an analyst reads of {mart.name}: readable names, live rows.",
        group_name="analytics",
        skippable=True,
        kinds={"postgres", "view"},
        deps=[mart_asset(mart.name)],
        metadata={"table": f"analytics_<tenant>.{mart.name}"},
    )


CRM_SPECS = [_mart_spec(mart) for mart in MARTS]
ANALYTICS_SPECS = [_view_spec(mart) for mart in MARTS]
MART_KEYS = {spec.key for spec in CRM_SPECS}
VIEW_KEYS = {spec.key for spec in ANALYTICS_SPECS}
MART_CHECKS = [check for mart in MARTS for check in mart_checks(mart)]
VIEW_CHECKS = [check for spec in ANALYTICS_SPECS for check in check_specs(spec.key)]


def results_of_marts(
    run: TenantRun,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Yields what the run's last build came to, by mart, and the results of the marts' checks."""
    built = run.row.built
    assert built is not None  # noqa: S101 - called after a build
    health, columns = run.mart_facts()
    for name, counts in built.counts.items():
        yield dg.MaterializeResult(
            asset_key=mart_asset(name),
            metadata=counts_metadata(counts) | mart_metadata(columns[name]),
        )
        yield from mart_results(name, health)


def results_of_views(
    facts: Mapping[str, FieldFacts],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Yields the columns of each view, and the results of its checks."""
    for name, fields in facts.items():
        yield dg.MaterializeResult(asset_key=view_asset(name), metadata=view_metadata(fields))
        yield from check_results(view_asset(name), fields)
