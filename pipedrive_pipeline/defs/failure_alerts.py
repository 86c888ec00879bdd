"""Alerts on failed runs that could not send an alert, such as a crash that a retry repeated.

A run that ends normally sends its own alert (`sync/status/alerts.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.refresh import refresh
from pipedrive_pipeline.defs.runs import PARTITION_TAG, scopes_of, sync_type_of, tenant_of
from pipedrive_pipeline.errors import Busy, Cancelled, PipelineError, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs import history
from pipedrive_pipeline.sync.status import alerts
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of

WILL_RETRY_TAG = "dagster/will_retry"  # Dagster's own, on a failed run that run retries start again


@dg.run_failure_sensor(
    default_status=sensor_status(),
    description=(
        "Tells the operator and the tenant of runs that crashed and could not tell by themselves: "
        "once per cause, and again when it is over. A crash that is tried again is not told."
    ),
)
def failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Sends at most one alert about a failed run."""
    run = context.dagster_run
    if PARTITION_TAG not in run.tags:
        return dg.SkipReason("the run names no tenant; whoever started it sees its error.")
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return dg.SkipReason("it is tried again.")
    if run.job_name == refresh.name:
        return dg.SkipReason("it is tried again, and the next sync reads what changed.")
    settings = load_settings()
    warehouse = warehouse_of(settings)
    tenant = tenant_of(run.tags)
    ends = history.ends_of(warehouse, tenant, run.run_id)
    if ends and all(ends.values()):
        return dg.SkipReason("the run has told by itself.")
    silent = [Scope(tenant, system) for system, is_ended in ends.items() if not is_ended]
    causes = [
        cause
        for scope in silent or _expected(warehouse, run)
        if (cause := crash(run, scope, context.failure_event))
    ]
    if not causes:
        return dg.SkipReason("nobody need know: the tenant was busy, or is no longer registered.")
    for cause in causes:
        alerts.raise_alert(warehouse, settings, cause)
    return None


def _expected(warehouse: Warehouse, run: dg.DagsterRun) -> Sequence[Scope]:
    """Returns the first scope of a run that ended before its first row; empty if it has none."""
    try:
        return scopes_of(warehouse, run.tags)[:1]
    except PipelineError:  # no tenant or no connection: who started the run sees its error
        return ()


def crash(run: dg.DagsterRun, scope: Scope, failure: dg.DagsterEvent) -> alerts.Cause | None:
    """Returns the cause of a run that ended without its own report; None if no alert is needed."""
    tenant = scope.tenant
    known = next(_named_errors(failure), None)
    if known and issubclass(known[0], (Busy, Cancelled, UnknownTenant)):
        return None
    code, message, who_acts = alerts.KILLED, _SILENT, "the operator"
    if known:
        code, message, who_acts = known[0].code, known[1], known[0].who_acts
    return alerts.Cause(
        tenant=tenant,
        system=scope.system,
        code=code,
        message=message if message.startswith(f"{tenant}:") else f"{tenant}: {message}",
        who_acts=who_acts,
        sync_type=sync_type_of(run.tags),
        dagster_run_id=run.run_id,
    )


def _named_errors(failure: dg.DagsterEvent) -> Iterator[tuple[type[PipelineError], str]]:
    """Yields the pipeline's own errors in a failure's chain of causes, with their messages.

    Other errors are left out: their text may quote a record.
    """
    family = {kind.__name__: kind for kind in _below(PipelineError)}
    data = failure.event_specific_data  # None if another process reported the end
    step = failure.job_failure_data.first_step_failure_event if data else None
    error = step.step_failure_data.error if step else None
    if data and failure.job_failure_data.error:
        error = failure.job_failure_data.error
    while error:
        if error.cls_name in family:
            yield family[error.cls_name], error.message.partition(": ")[2].strip()
        error = error.cause


def _below(kind: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _below(inner)


_SILENT = (
    "its run's process ended without a word, and so did the one that tried again: "
    "killed, out of memory, or the machine went down. What was committed stays; "
    "the next run goes on from there."
)
