"""Builds the marts although one entity could not be read.

Dagster skips all steps after a failed one, so the marts are built in that step, before it fails.
The run still fails, because a person must restore the missing right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipedrive_pipeline.defs.metadata import counts_metadata
from pipedrive_pipeline.defs.table_checks import CUSTOMERS
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.sync.runs.run import TenantRun


@contextmanager
def marts_of_the_rest(context: dg.AssetExecutionContext, run: TenantRun) -> Iterator[None]:
    """Builds the marts from the entities that were read, if the failure affects no others."""
    try:
        yield
    except PipelineError:
        if _are_wanted(context):
            _build(context, run)
        raise


def _are_wanted(context: dg.AssetExecutionContext) -> bool:
    selected = context.run.asset_selection  # empty: the whole job
    return not selected or CUSTOMERS in selected


def _build(context: dg.AssetExecutionContext, run: TenantRun) -> None:
    built = run.build_around_failures()
    if built is None:
        return
    for name, counts in built.counts.items():
        context.log_event(
            dg.AssetMaterialization(
                ["crm", name],
                description="Built from what could be read; what failed is as old as it was.",
                partition=run.facts.scope.tenant.slug,
                metadata=counts_metadata(counts),
            )
        )
