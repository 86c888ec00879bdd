"""Webhooks: a sensor that keeps each tenant's, and a check of who does not get changes at once.

The sensor calls the source, unlike others: at most `LOOKS_PER_TICK` looks of 15 s, eight at once,
stay within the 60 s of a tick.

Annotations are real here, not text: Dagster refuses `context: "AssetCheckExecutionContext"`.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.defs.freshness import checked_asset
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.webhooks import gaps, lifecycle
from pipedrive_pipeline.sync.webhooks.live_status import Liveness, alert, near_real_time
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of

NAME = "near_real_time"
INTERVAL_SECONDS = 15
LOOKS_PER_TICK = 16
REPEAT_SECONDS = 3_600  # an unchanged result is recorded once an hour, not at every tick
SHOWN = 50


def systems_with_webhooks() -> list[System]:
    """Returns the systems that tell of changes."""
    return [system for system in systems() if system.webhooks]


NEAR_REAL_TIME_CHECKS = [
    dg.AssetCheckKey(checked_asset(system), NAME) for system in systems_with_webhooks()
]


@dg.multi_asset_check(
    name=NAME,
    specs=[
        dg.AssetCheckSpec(
            NAME,
            asset=checked_asset(system),
            description=(
                f"Warning where changes in {system.label} do not arrive in near real time: over "
                "all tenants at once. The nightly sync finds them all the same. What to do: "
                "docs/runbook.md, near_real_time; `doctor --tenant T` says why."
            ),
        )
        for system in systems_with_webhooks()
    ],
    can_subset=True,
)
def near_real_time_check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """The same check, started from the UI."""
    states = _states(warehouse_of(load_settings()))
    wanted = {key.asset_key for key in context.op_execution_context.selected_asset_check_keys}
    for system in systems_with_webhooks():
        if (asset := checked_asset(system)) in wanted:
            of_system = [state for state in states if state.system == system.key]
            yield dg.AssetCheckResult(
                asset_key=asset,
                passed=not any(state.trouble for state in of_system),
                severity=dg.AssetCheckSeverity.WARN,
                metadata=_metadata(of_system),
            )


@dg.sensor(
    name="webhooks",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    description=(
        "Makes, checks daily and removes each tenant's webhook, requests a sync where events may "
        "have been lost, and alerts the operator to tenants whose changes do not arrive."
    ),
)
def webhooks(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Reports the check and each tenant's lag if the check changed, else once an hour."""
    settings = load_settings()
    warehouse = warehouse_of(settings)
    requested = gaps.request_syncs(warehouse)
    for scope, reason in requested:
        context.log.info(f"{scope}: a sync is requested: {reason}")  # noqa: G004
    alert(warehouse, settings, _states(warehouse))
    # Last: a webhook at which a look ends by a mistake of ours must not keep the rest from others.
    looked_at = lifecycle.look_at_due(warehouse, settings, limit=LOOKS_PER_TICK)
    states = _states(warehouse)
    troubled = ",".join(str(state.scope) for state in states if state.trouble)
    cursor = f"{int(datetime.now(UTC).timestamp() // REPEAT_SECONDS)}:{troubled}"
    if context.cursor == cursor:
        live = sum(state.state == "live" for state in states)
        return dg.SkipReason(
            f"{live} of {len(states)} live; {len(looked_at)} webhooks were looked at, "
            f"{len(requested)} syncs requested."
        )
    return dg.SensorResult(cursor=cursor, asset_events=[*_evaluations(states), *_lags(states)])


def report_near_real_time(
    context: dg.AssetExecutionContext, warehouse: Warehouse, assets: Collection[dg.AssetKey]
) -> None:
    """Reports the checks of the systems whose checked asset is among those of a run."""
    for evaluation in _evaluations(_states(warehouse)):
        if evaluation.asset_key in assets:
            context.log_event(evaluation)


def _states(warehouse: Warehouse) -> list[Liveness]:
    with warehouse.transaction() as connection:
        return near_real_time(connection)


def _evaluations(states: Sequence[Liveness]) -> Iterator[dg.AssetCheckEvaluation]:
    for system in systems_with_webhooks():
        of_system = [state for state in states if state.system == system.key]
        yield dg.AssetCheckEvaluation(
            asset_key=checked_asset(system),
            check_name=NAME,
            passed=not any(state.trouble for state in of_system),
            severity=dg.AssetCheckSeverity.WARN,
            metadata=_metadata(of_system),
        )


def _lags(states: Sequence[Liveness]) -> Iterator[dg.AssetObservation]:
    """Yields the lag of each tenant that had events: Dagster draws it as a chart."""
    assets = {system.key: checked_asset(system) for system in systems_with_webhooks()}
    for state in states:
        if state.lag_seconds is not None and state.lag_median_seconds is not None:
            yield dg.AssetObservation(
                asset_key=assets[state.system],
                partition=state.tenant_id,
                description="From the arrival of an event to its row, over the last hour.",
                metadata={
                    "lag_seconds": state.lag_seconds,
                    "lag_median_seconds": state.lag_median_seconds,
                    "events": state.events,
                },
            )


def _metadata(states: Sequence[Liveness]) -> dict[str, Any]:
    troubled = [f"{state.scope}: {state.trouble}" for state in states if state.trouble]
    lags = [state.lag_seconds for state in states if state.lag_seconds is not None]
    return {
        "tenants": len(states),
        "live": sum(state.state == "live" for state in states),
        "troubled": len(troubled),
        "slowest_lag_seconds": max(lags, default=0.0),
        "offenders": "\n".join(troubled[:SHOWN]) or "none",
    }
