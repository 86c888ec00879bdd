"""The check for overdue tenants, and the sensor that evaluates it without a Dagster run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.table_checks import mart_asset
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.schedule.freshness import Freshness, freshness
from pipedrive_pipeline.sync.status.alerts import raise_overdue
from pipedrive_pipeline.warehouse.database import warehouse_of

NAME = "freshness"
INTERVAL_SECONDS = 300
REPEAT_SECONDS = 3_600  # an unchanged result is recorded once an hour, not at every tick
SHOWN = 50

ASSET = mart_asset("customers")
FRESHNESS_CHECK = dg.AssetCheckKey(ASSET, NAME)


@dg.asset_check(
    asset=ASSET,
    name=NAME,
    description=(
        "Error where a tenant that is synced by itself has had no good sync since its due time, "
        "three hours later: over all tenants at once. What to do: `status --tenant T` says how its "
        "last run ended and who must act; if no run was started at all, look whether the daemon, "
        "the schedule daily_sync and the sensors run. Whoever is overdue for no other reason that "
        "was told is told to ALERT_URLS."
    ),
)
def freshness_check() -> dg.AssetCheckResult:
    """The same check, started from the UI."""
    result = freshness(warehouse_of(load_settings()), datetime.now(UTC))
    return dg.AssetCheckResult(passed=not result.overdue, metadata=_metadata(result))


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    description="Looks whether any tenant is overdue, and tells the operator of new ones.",
)
def freshness_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Reports the check's result if it has changed or the last report is an hour old."""
    settings, now = load_settings(), datetime.now(UTC)
    warehouse = warehouse_of(settings)
    result = freshness(warehouse, now)
    raise_overdue(warehouse, settings, (tenant.cause() for tenant in result.overdue))
    answer = ",".join(sorted(str(overdue.scope) for overdue in result.overdue))
    cursor = f"{int(now.timestamp() // REPEAT_SECONDS)}:{answer}"
    if context.cursor == cursor:
        return dg.SkipReason(f"as before: {len(result.overdue)} of {result.looked_at} are overdue.")
    return dg.SensorResult(
        cursor=cursor,
        asset_events=[
            dg.AssetCheckEvaluation(
                asset_key=ASSET,
                check_name=NAME,
                passed=not result.overdue,
                metadata=_metadata(result),
            )
        ],
    )


def _metadata(result: Freshness) -> dict[str, Any]:
    return {
        "tenants": result.looked_at,
        "overdue": len(result.overdue),
        "offenders": [str(overdue) for overdue in result.overdue[:SHOWN]],
    }
