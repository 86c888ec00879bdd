"""Mart assets: the marts of all tenants, and the views that an analyst reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from pipedrive_pipeline.defs.field_checks import check_results, check_specs
from pipedrive_pipeline.defs.metadata import counts_metadata, mart_metadata, view_metadata
from pipedrive_pipeline.defs.raw import RAW_KEYS
from pipedrive_pipeline.defs.table_checks import CONTACTS, CUSTOMERS, mart_results
from pipedrive_pipeline.sync.runs.field_facts import FieldFacts
from pipedrive_pipeline.sync.runs.run import TenantRun

CRM_SPECS = [
    dg.AssetSpec(
        CUSTOMERS,
        description="Companies a tenant knows: one row per tenant and CRM organization.",
        group_name="crm",
        skippable=True,  # a run that is paused or fails builds nothing
        kinds={"postgres", "sql"},
        deps=RAW_KEYS,
        metadata={"dagster/table_name": "crm.customers"},
    ),
    dg.AssetSpec(
        CONTACTS,
        description="People a tenant knows: one row per tenant and CRM person.",
        group_name="crm",
        skippable=True,  # a run that is paused or fails builds nothing
        kinds={"postgres", "sql"},
        deps=[*RAW_KEYS, CUSTOMERS],
        metadata={"dagster/table_name": "crm.contacts"},
    ),
]
MART_KEYS = {spec.key for spec in CRM_SPECS}
ASSETS = {key.path[-1]: key for key in (*RAW_KEYS, CUSTOMERS, CONTACTS)}  # by table
RAW_OF = {  # the raw asset with the custom fields of a mart's view
    "customers": dg.AssetKey(["pipedrive", "organizations"]),
    "contacts": dg.AssetKey(["pipedrive", "persons"]),
}
ANALYTICS_SPECS = [
    dg.AssetSpec(
        ["analytics", mart.path[-1]],
        description=f"What an analyst reads of {mart.path[-1]}: readable names, live rows.",
        group_name="analytics",
        skippable=True,
        kinds={"postgres", "view"},
        deps=[mart],
        metadata={"table": f"analytics_<tenant>.{mart.path[-1]}"},
    )
    for mart in (CUSTOMERS, CONTACTS)
]


VIEW_KEYS = {spec.key for spec in ANALYTICS_SPECS}
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
            asset_key=dg.AssetKey(["crm", name]),
            metadata=counts_metadata(counts) | mart_metadata(ASSETS, columns[name]),
        )
    yield from mart_results(health)


def results_of_views(
    facts: Mapping[str, FieldFacts],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Yields the columns of each view, and the results of its checks."""
    for spec in ANALYTICS_SPECS:
        name = spec.key.path[-1]
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata=view_metadata(RAW_OF[name], ASSETS[name], facts[name].columns),
        )
        yield from check_results(spec.key, facts[name])
