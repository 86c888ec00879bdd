"""The daily schedule: each tick reads from our tables which tenants are due."""

from __future__ import annotations

from datetime import UTC

import dagster as dg

from pipedrive_pipeline.defs import jobs
from pipedrive_pipeline.defs.defaults import schedule_status
from pipedrive_pipeline.defs.partitions import TENANTS
from pipedrive_pipeline.defs.runs import TRIGGER_TAG
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.schedule.due import due_syncs
from pipedrive_pipeline.warehouse.database import warehouse_of


@dg.schedule(
    name="daily_sync",
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    job=jobs.sync,
    default_status=schedule_status(),
    description=(
        "Starts each connected tenant's sync when it is due: daily at 02:00 in its own time zone, "
        "or as its settings say. A missed tick is made up for by the next; no due time is served "
        "twice."
    ),
)
def daily_sync(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Requests one run for each tenant that is due and has a partition."""
    now = context.scheduled_execution_time.astimezone(UTC)
    partitions = set(context.instance.get_dynamic_partitions(str(TENANTS.name)))
    due = [
        sync
        for sync in due_syncs(warehouse_of(load_settings()), now)
        if sync.scope.tenant.slug in partitions
    ]
    requests = [
        jobs.request(
            sync.scope,
            sync.sync_type,
            run_key=sync.run_key,
            tags={TRIGGER_TAG: "schedule"},
            job_name=jobs.sync.name,
        )
        for sync in due
    ]
    return requests or dg.SkipReason("no tenant is due.")
