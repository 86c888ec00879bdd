"""The sensor that keeps exported access tokens fresh, of every system that a tenant exported."""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.defs.defaults import sensor_status
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.vault import exports
from pipedrive_pipeline.vault.vault import open_vault

INTERVAL_SECONDS = 30


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=sensor_status(),
    description=(
        "Refreshes the access tokens of `tokens export` a quarter of an hour before they expire; "
        "removes rows of connections that ended."
    ),
)
def token_exports(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Calls the source for tokens that are due, without a run: a refresh takes less than its start.

    A round over all exports ends after 40 s, so that it stays within the 60 s of a tick.
    """
    failed = exports.keep_fresh(open_vault(settings=load_settings()))
    if not failed:
        return dg.SkipReason("every exported token is fresh.")
    reasons = "; ".join(f"{scope}: {reason}" for scope, reason in failed.items())
    return dg.SkipReason(f"not fresh: {reasons}")
