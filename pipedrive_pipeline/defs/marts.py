"""Mart assets: customers and contacts of all tenants, and the views that an analyst reads.

Annotations are real here, not text: Dagster refuses `context: "AssetExecutionContext"`.
"""

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.defs.failures import TRANSIENT_RETRIES, as_dagster_failures
from pipedrive_pipeline.defs.field_checks import check_results, check_specs
from pipedrive_pipeline.defs.metadata import counts_metadata, mart_metadata, view_metadata
from pipedrive_pipeline.defs.partitions import ONE_TENANT_PER_RUN, TENANTS
from pipedrive_pipeline.defs.raw import RAW_ASSETS
from pipedrive_pipeline.defs.table_checks import CONTACTS, CUSTOMERS, MART_CHECKS, mart_results
from pipedrive_pipeline.sync.runs.run import TenantRun

RAW_KEYS = [key for assets in RAW_ASSETS for key in assets.keys]

CRM_SPECS = [
    dg.AssetSpec(
        CUSTOMERS,
        description="Companies a tenant knows: one row per tenant and CRM organization.",
        group_name="crm",
        kinds={"postgres", "sql"},
        deps=RAW_KEYS,
        metadata={"dagster/table_name": "crm.customers"},
    ),
    dg.AssetSpec(
        CONTACTS,
        description="People a tenant knows: one row per tenant and CRM person.",
        group_name="crm",
        kinds={"postgres", "sql"},
        deps=[*RAW_KEYS, CUSTOMERS],
        metadata={"dagster/table_name": "crm.contacts"},
    ),
]
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
        kinds={"postgres", "view"},
        deps=[mart],
        metadata={"table": f"analytics_<tenant>.{mart.path[-1]}"},
    )
    for mart in (CUSTOMERS, CONTACTS)
]


@dg.multi_asset(
    specs=CRM_SPECS,
    partitions_def=TENANTS,
    backfill_policy=ONE_TENANT_PER_RUN,
    retry_policy=TRANSIENT_RETRIES,
    check_specs=MART_CHECKS,
)
def crm(
    context: dg.AssetExecutionContext, run: dg.ResourceParam[TenantRun]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Builds customers and contacts from raw in one transaction, audited before it commits."""
    with as_dagster_failures(context, run):
        built = run.build_marts()
        health, columns = run.mart_facts()
    for name, counts in built.counts.items():
        yield dg.MaterializeResult(
            asset_key=dg.AssetKey(["crm", name]),
            metadata=counts_metadata(counts) | mart_metadata(ASSETS, columns[name]),
        )
    yield from mart_results(health)


@dg.multi_asset(
    specs=ANALYTICS_SPECS,
    partitions_def=TENANTS,
    backfill_policy=ONE_TENANT_PER_RUN,
    retry_policy=TRANSIENT_RETRIES,
    check_specs=[check for spec in ANALYTICS_SPECS for check in check_specs(spec.key)],
)
def analytics(
    context: dg.AssetExecutionContext, run: dg.ResourceParam[TenantRun]
) -> Iterator[dg.MaterializeResult[None]]:
    """The views of `analytics_<tenant>`, replaced only if their columns changed."""
    with as_dagster_failures(context, run):
        run.publish_views()
        facts = run.field_facts()
    for warning in run.row.warnings.values():
        context.log.warning(f"{run.facts.scope.tenant}: {warning}")  # noqa: G004 - Dagster's log
    for spec in ANALYTICS_SPECS:
        name = spec.key.path[-1]
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata=view_metadata(RAW_OF[name], ASSETS[name], facts[name].columns),
            check_results=list(check_results(spec.key, facts[name])),
        )
    with as_dagster_failures(context, run):
        run.assert_proven(facts)
