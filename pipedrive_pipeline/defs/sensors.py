"""Sensors that add tenants as partitions, and start runs for requests and due work.

They only read our tables, so that a tick stays well within its limit of 60 s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipedrive_pipeline.defs import jobs
from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.partitions import TENANTS
from pipedrive_pipeline.defs.runs import REQUEST_TAG, TRIGGER_TAG
from pipedrive_pipeline.marts import publish_due
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.runs.cancellation import cancel
from pipedrive_pipeline.sync.schedule import due
from pipedrive_pipeline.sync.tenancy.registry import all_tenants
from pipedrive_pipeline.warehouse.database import warehouse_of

REQUESTS_PER_TICK = 100
ASKED_AGAIN_SECONDS, ASKED_AGAIN_SECONDS_MAX = 15, 600  # the wait doubles with each attempt
PARTITIONS_INTERVAL_SECONDS = 30
REQUESTS_INTERVAL_SECONDS = 15
SWEEPS_INTERVAL_SECONDS = 60
VIEWS_INTERVAL_SECONDS = 60


@dg.sensor(
    minimum_interval_seconds=PARTITIONS_INTERVAL_SECONDS,
    default_status=sensor_status(),
    description="Keeps the partitions equal to the registered tenants.",
)
def tenant_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Adds and removes partitions; skips if there is nothing to do."""
    # In this order, because `sync_requests` adds new tenants in another thread at the same time.
    known = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    registered = {entry.tenant.slug for entry in all_tenants(warehouse_of(load_settings()))}
    changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if new := sorted(registered - known):
        changes.append(TENANTS.build_add_request(new))
    if gone := sorted(known - registered):
        changes.append(TENANTS.build_delete_request(gone))
    if not changes:
        return dg.SkipReason(f"{len(known)} tenants, each a partition already.")
    return dg.SensorResult(dynamic_partitions_requests=changes)


@dg.sensor(
    minimum_interval_seconds=REQUESTS_INTERVAL_SECONDS,
    default_status=sensor_status(),
    jobs=list(jobs.BY_SYNC_TYPE.values()),
    description=(
        "Starts the syncs that were asked for: after a connection, and by `sync now`. Terminating "
        "a run that waits ends what asked for it, too."
    ),
)
def sync_requests(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests one run for each queued request; adds the tenant's partition if it is missing."""
    partitions = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    warehouse = warehouse_of(load_settings())
    queued = requests.queued(warehouse, limit=REQUESTS_PER_TICK)
    attempts = _attempts(context.instance, [str(request.id) for request in queued])
    for request in queued:
        if attempts[str(request.id)].is_cancelled:
            with warehouse.transaction(request.scope.tenant) as connection:
                cancel(connection, request.scope, request.id, who="a person in Dagster")
    now = datetime.now(UTC)
    runs = [
        jobs.request(
            request.scope,
            request.sync_type,
            run_key=f"{request.id}/{before.count}",
            tags={TRIGGER_TAG: request.trigger, REQUEST_TAG: str(request.id)},
        )
        for request in queued
        if (before := attempts[str(request.id)]).is_next_due(now)
    ]
    under_way = [attempt for attempt in attempts.values() if attempt.is_under_way]
    if not runs:
        waiting = f"{len(under_way)} runs wait; " if under_way else ""
        return dg.SkipReason(f"{waiting}nothing new was asked for.")
    # Waiting for `tenant_partitions` would keep a newly connected tenant for up to half a minute.
    new = sorted({request.scope.tenant.slug for request in queued} - partitions)
    added = [TENANTS.build_add_request(new)] if new else []
    return dg.SensorResult(run_requests=runs, dynamic_partitions_requests=added)


@dataclass(frozen=True)
class _Attempts:
    """The runs of a request that is still queued."""

    count: int = 0
    last_ended_at: datetime | None = None
    is_under_way: bool = False
    is_cancelled: bool = False  # a person has terminated a run before it began

    def is_next_due(self, now: datetime) -> bool:
        """True if no run is under way, and the last one ended long enough ago.

        A run that ended may have been refused because its tenant was busy, or have failed before it
        began because the code server was away; the request waits longer after each.
        """
        if self.is_under_way or self.is_cancelled:
            return False
        if self.last_ended_at is None:
            return True
        wait_seconds = min(ASKED_AGAIN_SECONDS * 2 ** (self.count - 1), ASKED_AGAIN_SECONDS_MAX)
        return now - self.last_ended_at >= timedelta(seconds=wait_seconds)


def _attempts(instance: dg.DagsterInstance, request_ids: Collection[str]) -> dict[str, _Attempts]:
    """Returns the runs of each of these requests.

    In a long queue a run waits for minutes; a second one would repeat the work.
    """
    if not request_ids:
        return {}
    filters = dg.RunsFilter(tags={REQUEST_TAG: list(request_ids)})
    records: dict[str, list[dg.RunRecord]] = {request_id: [] for request_id in request_ids}
    for record in instance.get_run_records(filters=filters):
        records[record.dagster_run.tags[REQUEST_TAG]].append(record)
    return {
        request_id: _Attempts(
            count=len(of_request),
            last_ended_at=max((record.update_timestamp for record in of_request), default=None),
            is_under_way=any(not record.dagster_run.is_finished for record in of_request),
            is_cancelled=any(
                record.dagster_run.status is dg.DagsterRunStatus.CANCELED for record in of_request
            ),
        )
        for request_id, of_request in records.items()
    }


@dg.sensor(
    minimum_interval_seconds=SWEEPS_INTERVAL_SECONDS,
    default_status=sensor_status(),
    job=jobs.sweep,
    description=(
        "Starts each tenant's sweep for deletions when it is due: daily where it is cheap, else "
        "weekly, or as the tenant's settings say. One that failed is started again the day after."
    ),
)
def due_sweeps(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests one run for each due sweep, the longest waiting first."""
    partitions = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    sweeps = [
        sweep
        for sweep in due.due_sweeps(warehouse_of(load_settings()), datetime.now(UTC))
        if sweep.scope.tenant.slug in partitions
    ]
    runs = [
        jobs.request(sweep.scope, "sweep", run_key=sweep.run_key, tags={TRIGGER_TAG: "schedule"})
        for sweep in sweeps[:REQUESTS_PER_TICK]
    ]
    return dg.SensorResult(run_requests=runs) if runs else dg.SkipReason("no sweep is due.")


@dg.sensor(
    minimum_interval_seconds=SWEEPS_INTERVAL_SECONDS,
    default_status=sensor_status(),
    job=jobs.verify,
    description=(
        "Starts each tenant's weekly comparison of customers, contacts and views with raw: no "
        "call, no tokens. One that failed is started again the day after."
    ),
)
def due_verifications(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Requests one run for each due comparison, the longest waiting first."""
    partitions = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    due_now = due.due_verifications(warehouse_of(load_settings()), datetime.now(UTC))
    runs = [
        jobs.request(
            verification.scope,
            "verify",
            run_key=verification.run_key,
            tags={TRIGGER_TAG: "schedule"},
        )
        for verification in due_now
        if verification.scope.tenant.slug in partitions
    ]
    if not runs:
        return dg.SkipReason("no comparison is due.")
    return dg.SensorResult(run_requests=runs[:REQUESTS_PER_TICK])


@dg.sensor(
    minimum_interval_seconds=VIEWS_INTERVAL_SECONDS,
    default_status=sensor_status(),
    description=(
        "Remakes views that a run could not, because a session had an open transaction on them; "
        "tries again each minute and keeps other readers waiting for a fifth of a second at most."
    ),
)
def due_views(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Replaces due views without a run: it takes less time than the start of a run's process."""
    published = publish_due(warehouse_of(load_settings()))
    if not (published.remade or published.waiting):
        return dg.SkipReason("no views are due.")
    remade, waiting = ", ".join(published.remade), ", ".join(published.waiting)
    return dg.SkipReason(f"views remade: {remade or 'none'}; still read: {waiting or 'none'}.")
