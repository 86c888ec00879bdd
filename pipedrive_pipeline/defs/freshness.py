"""The check for overdue tenants of each system, and the sensor that evaluates it without a run.

The check is on the raw asset that its system reads first. A run that ends well reports it too,
since Dagster shows a check as not evaluated once its asset has a newer materialization.

Annotations are real here, not text: Dagster refuses `context: "AssetCheckExecutionContext"`.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.raw import raw_keys
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.schedule.freshness import Freshness, freshness
from pipedrive_pipeline.sync.status.alerts import raise_unless_open
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of

NAME = "freshness"
INTERVAL_SECONDS = 300
REPEAT_SECONDS = 3_600  # an unchanged result is recorded once an hour, not at every tick
SHOWN = 50


def checked_asset(system: System) -> dg.AssetKey:
    """Returns the asset that has the checks of a whole system."""
    return raw_keys(system)[0]


FRESHNESS_CHECKS = [dg.AssetCheckKey(checked_asset(system), NAME) for system in systems()]


@dg.multi_asset_check(
    name=NAME,
    specs=[
        dg.AssetCheckSpec(
            NAME,
            asset=checked_asset(system),
            description=(
                f"Error where a tenant that is synced from {system.label} by itself has had no "
                "good sync since its due time, three hours later: over all tenants at once. What "
                "to do: `status --tenant T` says how its last run ended and who must act; if no "
                "run was started at all, look whether the daemon, the schedule daily_sync and the "
                "sensors run. An alert to ALERT_URLS names each overdue tenant, unless another "
                "open alert already does."
            ),
        )
        for system in systems()
    ],
    can_subset=True,
)
def freshness_check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """The same check, started from the UI."""
    result = freshness(warehouse_of(load_settings()), datetime.now(UTC))
    wanted = {key.asset_key for key in context.op_execution_context.selected_asset_check_keys}
    for system in systems():
        if (asset := checked_asset(system)) in wanted:
            of_system = result.of(system.key)
            yield dg.AssetCheckResult(
                asset_key=asset, passed=not of_system.overdue, metadata=_metadata(of_system)
            )


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    description="Looks whether any tenant is overdue, and alerts the operator to new ones.",
)
def freshness_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Reports the results if one changed, a run ended, or the last report is an hour old."""
    settings, now = load_settings(), datetime.now(UTC)
    warehouse = warehouse_of(settings)
    result = freshness(warehouse, now)
    raise_unless_open(warehouse, settings, (tenant.cause() for tenant in result.overdue))
    answer = ",".join(sorted(str(overdue.scope) for overdue in result.overdue))
    cursor = f"{int(now.timestamp() // REPEAT_SECONDS)}:{result.last_run_ended_at}:{answer}"
    if context.cursor == cursor:
        return dg.SkipReason(f"as before: {len(result.overdue)} of {result.looked_at} are overdue.")
    return dg.SensorResult(cursor=cursor, asset_events=evaluations(result))


def evaluations(result: Freshness) -> list[dg.AssetCheckEvaluation]:
    """Returns the check of each system, to be reported without running it."""
    parts = [(checked_asset(system), result.of(system.key)) for system in systems()]
    return [
        dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=NAME,
            passed=not of_system.overdue,
            metadata=_metadata(of_system),
        )
        for asset, of_system in parts
    ]


def report_freshness(
    context: dg.AssetExecutionContext, warehouse: Warehouse, assets: Collection[dg.AssetKey]
) -> None:
    """Reports the checks of the systems whose checked asset is among those of a run."""
    for evaluation in evaluations(freshness(warehouse, datetime.now(UTC))):
        if evaluation.asset_key in assets:
            context.log_event(evaluation)


def _metadata(result: Freshness) -> dict[str, Any]:
    return {
        "tenants": result.looked_at,
        "overdue": len(result.overdue),
        "offenders": "\n".join(map(str, result.overdue[:SHOWN])) or "none",
    }
