"""Turns our errors into Dagster failures: the cause, who must act, and if a retry can help.

The only place that creates a `dg.Failure`. A permanent error is never retried; a transient one is,
except in a run that a person watches on the command line. An interrupted step is not: a run that
was cancelled ends, and one whose process got a signal to end is started again by run retries. A
spent daily budget is no failure: the run succeeds, its unfinished assets are observed as paused,
and nothing is built from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from pipedrive_pipeline.defs.metadata import pause_metadata
from pipedrive_pipeline.errors import (
    BudgetSpent,
    Cancelled,
    PipelineError,
    Superseded,
    Transient,
)
from pipedrive_pipeline.sync.runs.run import TenantRun

# No policy of the assets: with one, Dagster also tries an interrupted step again, a minute later.
TRANSIENT_RETRIES = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL)
STATUS_TAG, RESUMES_AT_TAG = "pipeline/status", "pipeline/resumes_at"  # of a paused run
WATCHED_TAG = "pipeline/watched"  # a person waits for this run and reads its errors
AT_COMMAND_LINE = "a person at the command line"  # who ends a watched run by Ctrl-C


@contextmanager
def as_dagster_failures(context: dg.AssetExecutionContext, run: TenantRun) -> Iterator[None]:
    """Writes errors of the block to the history, then raises them as Dagster failures."""
    try:
        with run.recorded(), _noting_cancellation(context, run):
            yield
    except BudgetSpent as error:
        report_pause(context, run, error)
    except PipelineError as error:
        is_watched = context.run.tags.get(WATCHED_TAG) == "true"
        # A superseded run stays so; the newer one does the work. So does a cancelled one.
        is_over = isinstance(error, Superseded | Cancelled)
        can_retry = isinstance(error, Transient) and not is_over
        raise failure_of(error, can_retry=can_retry and not is_watched) from error
    except Exception as error:
        raise dg.Failure(
            description=f"unexpected {type(error).__name__}; the trace is below",
            metadata={"error_code": "unexpected", "who_acts": "whoever maintains the pipeline"},
            allow_retries=False,  # an unexpected error does not go away by itself
        ) from error


@contextmanager
def _noting_cancellation(context: dg.AssetExecutionContext, run: TenantRun) -> Iterator[None]:
    """Notes on the run that a person cancelled it, if that is why it is interrupted."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if who := _who_cancelled(context):
            run.row.errors.append(Cancelled(run.facts.scope.tenant.slug, who))
        raise


def _who_cancelled(context: dg.AssetExecutionContext) -> str | None:
    """Returns who ended an interrupted run; None if its process got a signal to end."""
    if context.run.tags.get(WATCHED_TAG) == "true":
        return AT_COMMAND_LINE
    stored = context.instance.get_run_by_id(context.run.run_id)
    is_asked = stored is not None and stored.status is dg.DagsterRunStatus.CANCELING
    return "a person in Dagster" if is_asked else None


def report_pause(context: dg.AssetExecutionContext, run: TenantRun, pause: BudgetSpent) -> None:
    """Reports on the run, and on each asset that it has yet to read, when the run goes on."""
    resumes_at = pause.resets_at.isoformat(timespec="minutes")
    context.log.warning(str(pause))
    context.instance.add_run_tags(
        context.run_id, {STATUS_TAG: "paused", RESUMES_AT_TAG: resumes_at}
    )
    for key in sorted(context.selected_asset_keys):
        if key.path[0] != run.facts.scope.system or key.path[-1] not in run.chosen:
            continue
        read = run.row.reads.get(key.path[-1])
        if read is None or not read.is_complete:
            context.log_event(
                dg.AssetObservation(
                    key,
                    partition=run.facts.scope.tenant.slug,
                    description=str(pause),
                    metadata=pause_metadata(pause, read),
                )
            )


def failure_of(error: PipelineError, *, can_retry: bool) -> dg.Failure:
    """Returns an error of ours as a failure that names the code and who must act."""
    return dg.Failure(
        description=str(error),
        metadata={"error_code": error.code, "who_acts": error.who_acts},
        allow_retries=can_retry,
    )


def raise_refusal(refusal: PipelineError | None) -> None:
    """Raises the failure of a run that cannot begin, if there is a reason, and none of its frames.

    The cause stays readable for alerts; where it was raised says nothing to an operator.
    """
    if refusal:
        raise failure_of(refusal, can_retry=False) from refusal.with_traceback(None)


def raise_joined(context: dg.AssetExecutionContext, failures: Sequence[dg.Failure]) -> None:
    """Raises the failures of a step's systems, if any, or asks Dagster for another attempt.

    Raises:
        dg.Failure: no attempt helps.
        dg.RetryRequested: Dagster tries again later, or gives up after its last attempt.
    """
    if not failures:
        return
    failure = joined(failures)
    if not failure.allow_retries:
        raise failure
    raise dg.RetryRequested(
        max_retries=TRANSIENT_RETRIES.max_retries,
        seconds_to_wait=TRANSIENT_RETRIES.calculate_delay(context.retry_number + 1),
    ) from failure


def joined(failures: Sequence[dg.Failure]) -> dg.Failure:
    """Returns one failure for several systems; it is tried again if one of them can be."""
    if len(failures) == 1:
        return failures[0]
    return dg.Failure(
        description="; ".join(str(failure.description) for failure in failures),
        metadata={
            name: "; ".join(str(failure.metadata[name].value) for failure in failures)
            for name in ("error_code", "who_acts")
        },
        allow_retries=any(failure.allow_retries for failure in failures),
    )
