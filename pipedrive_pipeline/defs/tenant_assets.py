"""All assets of a tenant, and the step that makes them: each system read, built and published.

One step for all of them. Dagster skips a step if one before it emitted nothing (measured), so that
a system that is paused, refused or not connected would keep the marts of the others from being
built.

Annotations are real here, not text: Dagster refuses `context: "AssetExecutionContext"`.
"""

from collections.abc import Generator, Iterator

import dagster as dg

from pipedrive_pipeline.defs.failures import (
    as_dagster_failures,
    failure_of,
    raise_joined,
    raise_refusal,
)
from pipedrive_pipeline.defs.freshness import report_freshness
from pipedrive_pipeline.defs.marts import (
    ANALYTICS_SPECS,
    CRM_SPECS,
    MART_CHECKS,
    MART_KEYS,
    PLACES,
    REPORT_SPECS,
    VIEW_CHECKS,
    VIEW_KEYS,
    results_of_marts,
    results_of_views,
)
from pipedrive_pipeline.defs.merged_results import MergedResults, Result
from pipedrive_pipeline.defs.near_real_time import report_near_real_time
from pipedrive_pipeline.defs.partitions import TENANTS, are_checks_partitioned
from pipedrive_pipeline.defs.raw import RAW_CHECKS, RAW_KEYS, RAW_SPECS, entities_among, read
from pipedrive_pipeline.defs.runs import SystemRuns
from pipedrive_pipeline.defs.tenant_summary import report_summaries, secondary, store_results
from pipedrive_pipeline.errors import Busy, NotConnected, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE
from pipedrive_pipeline.sync.runs.run import TenantRun


@dg.multi_asset(
    name="tenant",
    specs=[*RAW_SPECS, *CRM_SPECS, *ANALYTICS_SPECS, *REPORT_SPECS],
    can_subset=True,
    partitions_def=TENANTS,
    check_specs=[*RAW_CHECKS, *MART_CHECKS, *VIEW_CHECKS],
)
def tenant(
    context: dg.AssetExecutionContext, runs: dg.ResourceParam[SystemRuns]
) -> Iterator[Result]:
    """Syncs one tenant's systems, one after another; the failure of one does not stop the next."""
    raise_refusal(runs.refusal)
    merged = MergedResults()
    failures: list[dg.Failure] = []
    checked: set[dg.AssetKey] = set()
    for scope in _selected(context, runs):
        read_results: list[Result] = []
        try:
            with runs.taken(scope) as run:
                for result in runs.ending_with(scope, _one_system(context, run, merged)):
                    read_results.append(result)
                    yield from _reported(context, result)
        except Busy as busy:
            failures.append(failure_of(busy, can_retry=False))
        except dg.Failure as failure:
            failures.append(failure)
        with secondary(context):
            checked |= store_results(
                runs.warehouse, scope, [*read_results, *merged.checks_of(scope.system)]
            )
    for result in merged.results(PLACES):
        yield from _reported(context, result)
    with secondary(context):
        report_summaries(context, runs.warehouse, checked)
    raise_joined(context, failures)
    with secondary(context):
        report_freshness(context, runs.warehouse, checked)
        report_near_real_time(context, runs.warehouse, checked)


def _selected(context: dg.AssetExecutionContext, runs: SystemRuns) -> tuple[Scope, ...]:
    """Returns the scopes to sync: those with a selected raw asset, or all if none is selected.

    Raises:
        NotConnected: raw assets are selected, and the tenant has connected none of their systems.
    """
    wanted = {key.path[0] for key in _chosen(context) if key in RAW_KEYS}
    selected = tuple(scope for scope in runs.scopes if not wanted or scope.system in wanted)
    if runs.scopes and not selected:
        raise NotConnected(context.partition_key, ", ".join(sorted(wanted)))
    return selected


def _chosen(context: dg.AssetExecutionContext) -> set[dg.AssetKey]:
    """Returns the assets to make: those that are selected, and those of selected checks."""
    return {
        *context.selected_asset_keys,
        *(check.asset_key for check in context.selected_asset_check_keys),
    }


def _reported(context: dg.AssetExecutionContext, result: Result) -> Iterator[Result]:
    """Yields a result that is selected, and logs any other.

    All marts are built together. Dagster refuses a result that was not selected, which fails the
    run, but takes the event of it.
    """
    partition = context.partition_key
    if isinstance(result, dg.MaterializeResult):
        if result.asset_key in context.selected_asset_keys:
            yield result
        elif result.asset_key:
            context.log_event(
                dg.AssetMaterialization(
                    result.asset_key, metadata=result.metadata, partition=partition
                )
            )
    elif any(
        (key.asset_key, key.name) == (result.asset_key, result.check_name)
        for key in context.selected_asset_check_keys
    ):
        yield result
    elif result.asset_key and result.check_name:
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                metadata=result.metadata,
                partition=partition if are_checks_partitioned() else None,
            )
        )


def _one_system(
    context: dg.AssetExecutionContext, run: TenantRun, merged: MergedResults
) -> Generator[Result, None, None]:
    """Yields the raw assets as they are read; collects what marts and views came to."""
    keys = _chosen(context)
    complete = {name for name, entity_read in run.row.reads.items() if entity_read.is_complete}
    entities = [name for name in entities_among(keys, run.facts.scope) if name not in complete]
    with as_dagster_failures(context, run):
        if entities and run.facts.sync_type not in WITHOUT_SOURCE:
            try:
                yield from read(context, run, entities)
            except PipelineError:
                if keys & MART_KEYS and run.build_around_failures():
                    merged.add(run, results_of_marts(run))
                raise
        if keys & MART_KEYS:
            run.build_marts()
            merged.add(run, results_of_marts(run))
        if keys & VIEW_KEYS:
            run.publish_views()
            facts = run.field_facts()
            merged.add(run, results_of_views(run, facts))
            for warning in run.row.warnings.values():
                context.log.warning(f"{run.facts.scope}: {warning}")  # noqa: G004 - Dagster's log
            run.assert_proven(facts)
        run.assert_sinks_fed()
