"""Our errors in Dagster's words: what failed, who must act, and whether a retry can help.

The one place that makes a `dg.Failure`. A permanent error is never retried; a transient one is,
except in a run that a person watches on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipedrive_pipeline.errors import BudgetSpent, PipelineError, Transient
from pipedrive_pipeline.sync.run import TenantRun

TRANSIENT_RETRIES = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL)
WATCHED_TAG = "pipeline/watched"  # a person waits for this run and reads its errors


@contextmanager
def as_dagster_failures(context: dg.AssetExecutionContext, run: TenantRun) -> Iterator[None]:
    """Errors of the block go into the history, then on to Dagster in its own words."""
    try:
        with run.recorded():
            yield
    except PipelineError as error:
        is_watched = context.run.tags.get(WATCHED_TAG) == "true"
        can_retry = isinstance(error, Transient) and not isinstance(error, BudgetSpent)
        raise dg.Failure(
            description=str(error),
            metadata={"error_code": error.code, "who_acts": _who_acts(error)},
            allow_retries=can_retry and not is_watched,
        ) from error


def _who_acts(error: PipelineError) -> str:
    return "nobody: it is tried again" if isinstance(error, Transient) else "a person"
