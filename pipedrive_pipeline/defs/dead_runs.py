"""Ends Dagster's runs whose process is gone, so that a reboot does not block a tenant's queue.

Dagster itself shows a run as started for ever if no process is left to report its end (measured:
kill -9 of all processes; run monitoring queries the default launcher, which cannot know).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import dagster as dg

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.runs import (
    PARTITION_TAG,
    SYSTEM_TAG,
    mark_dead_runs,
    sync_type_of,
    tenant_of,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs.dead_runs import settle_all_dead
from pipedrive_pipeline.sync.runs.lock import lock_of_run, locks_taken
from pipedrive_pipeline.warehouse.database import Contended, Warehouse, warehouse_of

INTERVAL_SECONDS = 15
GRACE_SECONDS = 30  # a live run has no lock for a shorter time, at its start and its end


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    description=(
        "Ends runs whose process is gone, as after a reboot: a run that has started while its "
        "lock is free. Run retries then start it again, once."
    ),
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Ends the dead runs and reports their number."""
    warehouse = warehouse_of(load_settings())
    try:
        settled = settle_all_dead(warehouse)
    except Contended as error:
        return dg.SkipReason(str(error))
    lost = without_a_row(context.instance, warehouse, datetime.now(UTC))
    mark_dead_runs(context.instance, [*settled, *lost])
    count = len({*settled, *lost})
    return dg.SkipReason(f"{count} dead runs were ended." if count else "no run is dead.")


def without_a_row(
    instance: dg.DagsterInstance, warehouse: Warehouse, now: datetime
) -> Iterable[str]:
    """Returns started runs without an open history row and without recent events."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    runs = [run for run in instance.get_runs(filters=started) if PARTITION_TAG in run.tags]
    taken = locks_taken(warehouse)
    for run in runs:
        if taken.isdisjoint(_locks(run.tags)):
            (last,) = instance.get_records_for_run(
                run.run_id, limit=1, ascending=False
            ).records or (None,)
            if last is None or now.timestamp() - last.timestamp > GRACE_SECONDS:
                yield run.run_id


def _locks(tags: Mapping[str, str]) -> set[str]:
    """Returns the names of the locks of which a live run with these tags holds one."""
    systems = [tags[SYSTEM_TAG]] if SYSTEM_TAG in tags else system_keys()
    tenant, sync_type = tenant_of(tags), sync_type_of(tags)
    return {lock_of_run(Scope(tenant, system), sync_type) for system in systems}
