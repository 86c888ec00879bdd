"""The job that reads signalled records again, and the sensor that starts it.

A walk serves signals at each border of a chunk; this job serves those of tenants that no run reads.

Annotations are real here, not text: Dagster refuses `context: "OpExecutionContext"`.
"""

from datetime import UTC, datetime

import dagster as dg

from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.failures import failure_of
from pipedrive_pipeline.defs.metadata import counts_metadata
from pipedrive_pipeline.defs.partitions import TENANTS
from pipedrive_pipeline.defs.runs import LOCK_TAG, PARTITION_TAG, SYSTEM_TAG, TRIGGER_TAG, scopes_of
from pipedrive_pipeline.errors import Busy, PipelineError
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.serving import Served
from pipedrive_pipeline.sync.signals.store import due_scopes
from pipedrive_pipeline.warehouse.database import warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current

INTERVAL_SECONDS = 10
ASKED_AGAIN_SECONDS = 60
REQUESTS_PER_TICK = 100
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.op(description="Reads the signalled records of a tenant again, and builds its marts.")
def refresh_signalled(context: dg.OpExecutionContext) -> None:
    """Serves the signals of each of the tenant's systems, and reports the marts that it built."""
    settings = load_settings()
    warehouse = warehouse_of(settings)
    require_current(warehouse)
    errors: list[PipelineError] = []
    try:
        scopes = scopes_of(warehouse, context.run.tags)
    except PipelineError as refusal:
        raise failure_of(refusal, can_retry=False) from refusal.with_traceback(None)
    for scope in scopes:
        try:
            served = serve_waiting(warehouse, settings, scope)
        except Busy:
            context.log.info(f"{scope}: another run reads it and serves the signals.")  # noqa: G004
            continue
        except PipelineError as error:
            errors.append(error)
            continue
        errors += served.errors
        context.log.info(f"{scope}: {served.count} signalled records were read again.")  # noqa: G004
        for name, counts in (served.built.counts if served.built else {}).items():
            context.log_event(
                dg.AssetMaterialization(
                    ["crm", name],
                    description=f"With {served.count} records of {scope.system} that changed.",
                    partition=scope.tenant.slug,
                    metadata=counts_metadata(counts) | _lag_metadata(served),
                )
            )
    if errors:
        raise failure_of(errors[0], can_retry=False)  # the sensor asks again


def _lag_metadata(served: Served) -> dict[str, float]:
    """Returns the longest time from an event to its row, in seconds; none without events."""
    return {"event_lag_seconds": served.lag.since_received} if served.lag else {}


@dg.job(
    name="refresh",
    partitions_def=TENANTS,
    executor_def=dg.in_process_executor,
    description="Records that changed at the source, as its webhooks say: read again and built.",
)
def refresh() -> None:
    """One tenant's signalled records."""
    refresh_signalled()


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    job=refresh,
    description=(
        "Starts a refresh for records that a webhook named ten seconds ago and that no run has "
        "read again since; one that fails is tried again, later each time."
    ),
)
def due_signals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests one run for each system of a tenant with waiting signals."""
    partitions = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    due = [
        scope
        for scope in due_scopes(warehouse_of(load_settings()))
        if scope.tenant.slug in partitions
    ]
    window = int(datetime.now(UTC).timestamp() // ASKED_AGAIN_SECONDS)
    under_way = _under_way(context.instance) if due else set()
    runs = [
        dg.RunRequest(
            run_key=f"refresh/{scope}/{window}",
            partition_key=scope.tenant.slug,
            tags={
                TRIGGER_TAG: "webhook",
                SYSTEM_TAG: scope.system,
                LOCK_TAG: scope.raw_lock,
            },
        )
        for scope in due
        if (scope.tenant.slug, scope.system) not in under_way
    ]
    if not runs:
        return dg.SkipReason("no signal waits.")
    return dg.SensorResult(run_requests=runs[:REQUESTS_PER_TICK])


def _under_way(instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """Returns tenant and system of the refreshes that have not ended."""
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=refresh.name, statuses=UNFINISHED))
    return {(run.tags.get(PARTITION_TAG, ""), run.tags.get(SYSTEM_TAG, "")) for run in runs}
