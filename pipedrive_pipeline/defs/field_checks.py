"""Asset checks on custom fields: missing values, rejected values, unmapped and retyped fields.

None of them stops a run: the values are in raw, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from pipedrive_pipeline.defs.partitions import tenant_check
from pipedrive_pipeline.sync.runs.field_facts import FieldFacts

NULL_CONSERVATION, REJECTED_VALUES = "null_conservation", "rejected_values"
VIEWS_CURRENT = "views_current"
UNMAPPED_FIELDS, RETYPED_FIELDS = "unmapped_new_fields", "retyped_fields"
OF_CUSTOM_FIELDS = {
    NULL_CONSERVATION: (
        "Error where a value that raw has is in no column of the view and is not listed as "
        "rejected. What to do: launch remap for this partition, which makes views and marts again "
        "from raw; if it fails again, report it with the keys in its metadata."
    ),
    REJECTED_VALUES: (
        "Warning where a value of a custom field does not fit its type. What to do: look at it in "
        "integration.rejected_values and correct it in the CRM, or map the field to a column of "
        "text."
    ),
    UNMAPPED_FIELDS: (
        "Warning where a new field looks like a column that no field fills. What to do: "
        "`mapping propose --tenant T` shows it and how to map it; if it does not belong there, "
        "leave it."
    ),
    RETYPED_FIELDS: (
        "Warning where a field has got another type within a week. What to do: look whether "
        "reports still read the right column (view `column_changes`), and whether a mapping reads "
        "the field."
    ),
}
OF_EVERY_VIEW = {
    VIEWS_CURRENT: (
        "Warning where the view waits for a session that has an open transaction on it. What to "
        "do: nothing, if it passes within minutes: the sensor due_views remakes it; else end that "
        "session."
    ),
}


def check_specs(asset: dg.AssetKey, *, has_fields: bool) -> list[dg.AssetCheckSpec]:
    """Returns the checks of one view; those of custom fields if its records may have some."""
    descriptions = OF_EVERY_VIEW | (OF_CUSTOM_FIELDS if has_fields else {})
    return [
        tenant_check(name, asset=asset, description=description)
        for name, description in descriptions.items()
    ]


def check_results(
    asset: dg.AssetKey, facts: FieldFacts, *, has_fields: bool
) -> Iterator[dg.AssetCheckResult]:
    """Yields the results with the failing keys and ids, never their values."""
    offenders = {
        NULL_CONSERVATION: [f"{key} of {record}" for record, key in facts.lost],
        REJECTED_VALUES: [f"{key}: {count}" for key, count in facts.rejected],
        VIEWS_CURRENT: [] if facts.is_current else [asset.path[-1]],
        UNMAPPED_FIELDS: list(facts.proposed),
        RETYPED_FIELDS: list(facts.retyped),
    }
    for name, failing in offenders.items():
        if name in OF_CUSTOM_FIELDS and not has_fields:
            continue
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
