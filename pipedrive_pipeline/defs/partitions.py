"""The tenants as Dagster partitions: a run processes exactly one tenant.

No asset has a backfill policy. Without one, a backfill starts a run for each tenant, with the tag
`dagster/partition`; with one, even of one partition per run, Dagster names ranges of partitions
instead (measured in 1.13), and every run would fail for want of a tenant.
"""

from __future__ import annotations

import warnings

import dagster as dg

from pipedrive_pipeline.defs.defaults import settings_of_definitions

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")


def are_checks_partitioned() -> bool:
    """Returns whether Dagster keeps a result of a check for each tenant (`PARTITIONED_CHECKS`)."""
    return settings_of_definitions().partitioned_checks == "on"


def tenant_check(name: str, *, asset: dg.AssetKey, description: str) -> dg.AssetCheckSpec:
    """Returns a check whose result is one tenant's.

    With the setting `PARTITIONED_CHECKS` on, Dagster keeps a result for each tenant: a preview in
    1.13, which may change. The check `all_tenants` lists the failing tenants either way.
    """
    if not are_checks_partitioned():
        return dg.AssetCheckSpec(name, asset=asset, description=description)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*partitions_def", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=TENANTS)
