"""All definitions that Dagster loads."""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.defs import (
    dead_runs,
    failure_alerts,
    freshness,
    jobs,
    marts,
    raw,
    runs,
    schedules,
    sensors,
)


def location(run: object = runs.tenant_run) -> dg.Definitions:
    """Returns all definitions; the assets' resource `run` opens a run or is one already open."""
    return dg.Definitions(
        assets=[*raw.RAW_ASSETS, marts.crm, marts.analytics],
        asset_checks=[freshness.freshness_check],
        jobs=[jobs.sync, jobs.full_resync, jobs.sweep, jobs.remap, jobs.verify],
        schedules=[schedules.daily_sync],
        sensors=[
            sensors.tenant_partitions,
            sensors.sync_requests,
            sensors.due_sweeps,
            sensors.due_verifications,
            sensors.due_views,
            dead_runs.dead_runs,
            failure_alerts.failed_runs,
            freshness.freshness_sensor,
        ],
        resources={"run": run},
    )


LOCATION = location()
