"""One tenant is one partition, and one run is one partition."""

from __future__ import annotations

import dagster as dg

TENANTS = dg.DynamicPartitionsDefinition(name="tenants")

# One policy on every asset: mixed ones in a job warn, and one tenant's failure must stay its own.
ONE_TENANT_PER_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
