"""Asset checks on a tenant's tables: complete, linked, not shrinking.

The run that wrote the tables evaluates them. An audit, not a check, stops a build with wrong rows
before it commits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from pipedrive_pipeline.defs.partitions import tenant_check
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.health import MartHealth, Volume, checked_links
from pipedrive_pipeline.marts.row_comparison import LastComparison, RowComparison
from pipedrive_pipeline.marts.sinks import SinkFed
from pipedrive_pipeline.sync.status.entity_states import SourceComparison

COMPLETENESS, ORPHANS, VOLUME = "completeness", "orphans", "volume"
REJECTIONS = "rejected_values"
REFUSAL = "refused"
EQUALS_RAW = "equals_raw"
SINKS = "sinks"


def mart_asset(name: str) -> dg.AssetKey:
    """Returns the asset of a mart."""
    return dg.AssetKey(["crm", name])


def completeness_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Returns the completeness check of a raw asset; each full read reports its result."""
    return tenant_check(
        COMPLETENESS,
        asset=asset,
        description=(
            "Error where a record that the source listed is missing from raw, or is there in "
            "another version; looked at by each full read and each sweep. What to do: launch "
            "full_resync for this partition with `restart: true` in its run config; if it fails "
            "again, report it."
        ),
    )


def rejections_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Returns the rejections check of a raw asset; each read reports its result."""
    return tenant_check(
        REJECTIONS,
        asset=asset,
        description=(
            "Warning where raw could not hold records (no usable id) or values (another type than "
            "their column) in their place; counted with each read. What to do: look at them in "
            "integration.rejected_values and repair them in the CRM; the next sync strikes them "
            "off, the next sweep those without an id."
        ),
    )


def refusal_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Returns the refusal check of a raw asset; each read reports its result."""
    return tenant_check(
        REFUSAL,
        asset=asset,
        description=(
            "Warning where the source refuses this kind of record: the plan does not include it, "
            "or the user who connected may not read it. Its rows stay as they are; all others are "
            "read and built. What to do: nothing, if the tenant does without; else what the reason "
            "says, and the next sync reads it."
        ),
    )


def mart_checks(mart: Mart) -> list[dg.AssetCheckSpec]:
    """Returns the checks of a mart; each build reports their results."""
    checks = {
        VOLUME: (
            "Warning where more than a tenth and more than 50 of the live rows of a week ago are "
            "gone. What to do: ask the owner of the account whether so much was deleted on "
            "purpose; else look at the rights of the user who connected. Nothing is lost: the rows "
            f"are in {mart.name}_all, marked."
        ),
        EQUALS_RAW: (
            "Warning where the last comparison of all rows with raw (each sweep, full read, remap "
            "and verify makes one) healed rows that were missing, differed or were there too many; "
            "error where it could not. What to do: look for what writes to this table besides the "
            "pipeline; launch verify, which says what stays."
        ),
    }
    checks[SINKS] = (
        "Error where a table of an app that this mart feeds refused rows or could not be written; "
        "marts, views and other tables are not concerned. What to do: repair the table, column or "
        "constraint that is named; the next run writes the rows. Passes where no table is fed."
    )
    if links := [link.name for link in checked_links(mart)]:
        checks[ORPHANS] = (
            f"Warning where a live row has no {' or no '.join(links)} although its record names "
            "one: that record is hidden from the user who connected, or is gone. What to do: look "
            "at one of them in the CRM as that user; give the user the right to see it, or leave "
            "it."
        )
    return [
        tenant_check(name, asset=mart_asset(mart.name), description=description)
        for name, description in checks.items()
    ]


def completeness_result(
    asset: dg.AssetKey, read: EntityRead, last: SourceComparison | None
) -> list[dg.AssetCheckResult]:
    """Returns the result of this read's comparison with the source, else of the last one.

    Empty if there was none. Without the last one, Dagster would show the check as not evaluated
    after each read of changes.
    """
    facts: dict[str, Any] = {}
    if read.missing is not None:
        last = SourceComparison(read.missing, read.extra or 0, read.stale or 0, None)
        facts["rows_fetched"] = read.fetched
    if last is None:
        return []
    if last.compared_at:
        facts["compared_at"] = dg.MetadataValue.timestamp(last.compared_at)
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=COMPLETENESS,
            passed=not (last.missing or last.stale),
            metadata={
                "missing": last.missing,
                "extra": last.extra,
                "stale": last.stale,
                **facts,
            },
        )
    ]


def rejections_result(asset: dg.AssetKey, by_field: Mapping[str, int]) -> dg.AssetCheckResult:
    """Returns the counts of rejected records and values by field, never their content."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=REJECTIONS,
        passed=not by_field,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "count": sum(by_field.values()),
            "offenders": [f"{name}: {count}" for name, count in by_field.items()],
        },
    )


def refusal_result(asset: dg.AssetKey, read: EntityRead) -> dg.AssetCheckResult:
    """Returns whether the source refused the entity, with the reason."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=REFUSAL,
        passed=not read.is_set_aside,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"reason": str(read.error)} if read.is_set_aside else {},
    )


def mart_results(
    mart: str, health: MartHealth, fed: Sequence[SinkFed]
) -> Iterator[dg.AssetCheckResult]:
    """Yields the results of one mart's checks, with the failing ids, never names."""
    asset = mart_asset(mart)
    own = [each for each in fed if each.sink.mart == mart]
    yield dg.AssetCheckResult(
        asset_key=asset,
        check_name=SINKS,
        passed=not any(each.fault for each in own),
        metadata={each.sink.name: each.message or json.dumps(dict(each.counts)) for each in own},
    )
    if orphans := health.orphans.get(mart):
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=ORPHANS,
            passed=not orphans.count,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"count": orphans.count, "remote_ids": list(orphans.remote_ids)},
        )
    yield _volume_result(asset, health.volumes[mart])
    yield _equality_result(asset, health.comparison)


def _volume_result(asset: dg.AssetKey, volume: Volume) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=VOLUME,
        passed=not volume.is_dropped,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"live_rows": volume.now, "live_rows_a_week_ago": volume.before},
    )


def _equality_result(asset: dg.AssetKey, last: LastComparison) -> dg.AssetCheckResult:
    comparison = last.marts.get(asset.path[-1], RowComparison())
    metadata: dict[str, dg.MetadataValue | int] = dict(comparison.facts())
    if last.compared_at:
        metadata["compared_at"] = dg.MetadataValue.timestamp(last.compared_at)
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=EQUALS_RAW,
        passed=comparison.is_equal,
        severity=(
            dg.AssetCheckSeverity.ERROR if comparison.unhealed else dg.AssetCheckSeverity.WARN
        ),
        metadata=metadata,
    )
