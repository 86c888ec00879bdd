"""Asset checks on custom fields: missing values, rejected values, unmapped and retyped fields.

None of them stops a run: the values are in raw, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.sync.runs.field_facts import FieldFacts

NULL_CONSERVATION, REJECTED_VALUES = "null_conservation", "rejected_values"
VIEWS_CURRENT = "views_current"
UNMAPPED_FIELDS, RETYPED_FIELDS = "unmapped_new_fields", "retyped_fields"
DESCRIPTIONS = {
    NULL_CONSERVATION: "Each value that is not null in raw is shown in a view or is rejected.",
    REJECTED_VALUES: "No value of a custom field fails to fit its type.",
    VIEWS_CURRENT: (
        "The view has a column for every field. Warning where a session has an open transaction "
        "on it; the sensor due_views remakes it once that has ended."
    ),
    UNMAPPED_FIELDS: "No new field looks like a column that no field fills.",
    RETYPED_FIELDS: "No field has got another type within a week.",
}


def check_specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Returns the checks of one asset."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description)
        for name, description in DESCRIPTIONS.items()
    ]


def check_results(asset: dg.AssetKey, facts: FieldFacts) -> Iterator[dg.AssetCheckResult]:
    """Yields the results with the failing keys and ids, never their values."""
    offenders = {
        NULL_CONSERVATION: [f"{key} of {record}" for record, key in facts.lost],
        REJECTED_VALUES: [f"{key}: {count}" for key, count in facts.rejected],
        VIEWS_CURRENT: [] if facts.is_current else [asset.path[-1]],
        UNMAPPED_FIELDS: list(facts.proposed),
        RETYPED_FIELDS: list(facts.retyped),
    }
    for name, failing in offenders.items():
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=not failing,
            severity=(
                dg.AssetCheckSeverity.ERROR
                if name == NULL_CONSERVATION
                else dg.AssetCheckSeverity.WARN
            ),
            metadata={"offenders": failing[:10], "count": len(failing), "values_seen": facts.seen},
        )
