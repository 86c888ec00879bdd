"""Deletes a tenant's runs and partition from Dagster's storage, for `tenants remove --erase`.

Source: https://docs.dagster.io/api/dagster/internals (read 2026-11).
"""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.defs.partitions import TENANTS
from pipedrive_pipeline.tenants import Tenant

PARTITION_TAG = "dagster/partition"  # Dagster's own, on every run of a partition


def forget(instance: dg.DagsterInstance, tenant: Tenant) -> int:
    """Deletes the tenant's runs, events and partition key; returns the number of runs."""
    of_tenant = dg.RunsFilter(tags={PARTITION_TAG: tenant.slug})
    records = instance.get_run_records(filters=of_tenant)
    for record in records:
        instance.delete_run(record.dagster_run.run_id)
    instance.delete_dynamic_partition(str(TENANTS.name), tenant.slug)
    return len(records)
