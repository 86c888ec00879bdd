"""All definitions that Dagster loads."""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.defs import (
    dead_runs,
    exported_tokens,
    failure_alerts,
    freshness,
    jobs,
    near_real_time,
    refresh,
    runs,
    schedules,
    sensors,
    tenant_assets,
    tenant_summary,
)


def location(open_runs: object = runs.system_runs) -> dg.Definitions:
    """Returns all definitions; the assets' resource `runs` opens the runs or has them open."""
    return dg.Definitions(
        assets=[tenant_assets.tenant],
        asset_checks=[
            freshness.freshness_check,
            near_real_time.near_real_time_check,
            tenant_summary.all_tenants,
        ],
        jobs=[jobs.sync, jobs.full_resync, jobs.sweep, jobs.remap, jobs.verify, refresh.refresh],
        schedules=[schedules.daily_sync],
        sensors=[
            sensors.tenant_partitions,
            sensors.sync_requests,
            sensors.due_sweeps,
            sensors.due_verifications,
            sensors.due_views,
            refresh.due_signals,
            dead_runs.dead_runs,
            failure_alerts.failed_runs,
            freshness.freshness_sensor,
            near_real_time.webhooks,
            exported_tokens.token_exports,
        ],
        resources={"runs": open_runs},
        executor=dg.in_process_executor,
    )


LOCATION = location()
