"""The tenants as Dagster partitions: a run processes exactly one tenant."""

from __future__ import annotations

import dagster as dg

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")

# The same policy on every asset: Dagster warns about mixed policies in a job, and a tenant's
# failure must not affect other tenants.
ONE_TENANT_PER_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
