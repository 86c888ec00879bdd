"""The check `all_tenants` of every asset: which tenants' newest checks fail, over all of them.

A run evaluates the checks of one tenant. Dagster shows the newest result of a check, so that the
next tenant's run would hide a failure; this check lists every tenant that fails. Each run reports
it with its own results; started by hand it needs no partition.

Annotations are real here, not text: Dagster refuses `context: "AssetCheckExecutionContext"`.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import dagster as dg

from pipedrive_pipeline.defs.marts import ANALYTICS_SPECS, CRM_SPECS
from pipedrive_pipeline.defs.raw import RAW_SPECS
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.status.check_results import (
    AssetSummary,
    CheckResult,
    store,
    summaries,
)
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of

NAME = "all_tenants"
SHOWN = 50  # offenders in the metadata
SHOWN_OF_LIST = 3  # entries of a list in an offender's finding

ASSETS = [spec.key for spec in (*RAW_SPECS, *CRM_SPECS, *ANALYTICS_SPECS)]
SUMMARY_CHECKS = [dg.AssetCheckKey(asset, NAME) for asset in ASSETS]


def store_results(
    warehouse: Warehouse,
    scope: Scope,
    results: Iterable[dg.MaterializeResult[None] | dg.AssetCheckResult],
) -> set[dg.AssetKey]:
    """Stores the check results of one system's run, and returns the assets that have some."""
    checks = [
        check
        for result in results
        for check in (
            [result] if isinstance(result, dg.AssetCheckResult) else result.check_results or ()
        )
    ]
    store(
        warehouse,
        scope,
        [
            CheckResult(
                asset=check.asset_key.to_user_string(),
                check_name=str(check.check_name),
                is_passed=check.passed,
                is_error=check.severity is dg.AssetCheckSeverity.ERROR,
                finding="" if check.passed else finding_of(check),
            )
            for check in checks
            if check.asset_key  # each of ours names its asset
        ],
    )
    return {check.asset_key for check in checks if check.asset_key}


@contextmanager
def secondary(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Logs an error of ours: a summary that cannot be made must not hide how the run ended."""
    try:
        yield
    except PipelineError as error:
        context.log.warning(f"the checks over all tenants are not up to date: {error}")  # noqa: G004


def finding_of(check: dg.AssetCheckResult) -> str:
    """Returns the counts, ids and keys in a check's metadata as one line."""
    parts = []
    for name, value in (check.metadata or {}).items():
        plain = value.value if isinstance(value, dg.MetadataValue) else value
        if isinstance(plain, list) and plain:
            more = ", …" if len(plain) > SHOWN_OF_LIST else ""
            parts.append(f"{name} {', '.join(map(str, plain[:SHOWN_OF_LIST]))}{more}")
        elif isinstance(plain, (int, str)) and plain and not isinstance(plain, bool):
            parts.append(f"{name} {plain}")
    return "; ".join(parts)


@dg.multi_asset_check(
    name=NAME,
    specs=[
        dg.AssetCheckSpec(
            NAME,
            asset=asset,
            description=(
                "Error where the newest result of a check of this asset is a failure for any "
                "tenant, warning where only warnings are; its metadata lists tenant, check and "
                "finding. What to do: what the named check says; `status --tenant T` shows the "
                "tenant's last run."
            ),
        )
        for asset in ASSETS
    ],
    can_subset=True,
)
def all_tenants(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """The same, started from the UI."""
    wanted = {key.asset_key for key in context.op_execution_context.selected_asset_check_keys}
    for asset, summary in _summaries(warehouse_of(load_settings()), wanted):
        yield dg.AssetCheckResult(
            asset_key=asset,
            passed=not summary.offenders,
            severity=_severity(summary),
            metadata=_metadata(summary),
        )


def report_summaries(
    context: dg.AssetExecutionContext, warehouse: Warehouse, assets: Collection[dg.AssetKey]
) -> None:
    """Reports the summaries of the assets that a run has checked, after its results are stored."""
    for asset, summary in _summaries(warehouse, assets):
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=asset,
                check_name=NAME,
                passed=not summary.offenders,
                severity=_severity(summary),
                metadata=_metadata(summary),
            )
        )


def _summaries(
    warehouse: Warehouse, assets: Collection[dg.AssetKey]
) -> Iterable[tuple[dg.AssetKey, AssetSummary]]:
    by_name = {asset.to_user_string(): asset for asset in ASSETS if asset in assets}
    found = summaries(warehouse, by_name)
    return [(by_name[name], summary) for name, summary in found.items()]


def _severity(summary: AssetSummary) -> dg.AssetCheckSeverity:
    is_error = summary.is_error or not summary.offenders
    return dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN


def _metadata(summary: AssetSummary) -> dict[str, int | str]:
    return {
        "tenants": summary.looked_at,
        "failing": len({offender.scope for offender in summary.offenders}),
        # As text: the UI shows a list only after a click.
        "offenders": "\n".join(map(str, summary.offenders[:SHOWN])) or "none",
    }
