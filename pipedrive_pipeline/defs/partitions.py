"""The tenants as Dagster partitions: a run processes exactly one tenant."""

from __future__ import annotations

import warnings

import dagster as dg

from pipedrive_pipeline.defs.defaults import settings_of_definitions

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")

# The same policy on every asset: Dagster warns about mixed policies in a job, and a tenant's
# failure must not affect other tenants.
ONE_TENANT_PER_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)


def tenant_check(name: str, *, asset: dg.AssetKey, description: str) -> dg.AssetCheckSpec:
    """Returns a check whose result is one tenant's.

    With the setting `PARTITIONED_CHECKS` on, Dagster keeps a result for each tenant: a preview in
    1.13, which may change. The check `all_tenants` lists the failing tenants either way.
    """
    if settings_of_definitions().partitioned_checks == "off":
        return dg.AssetCheckSpec(name, asset=asset, description=description)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*partitions_def", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=TENANTS)
