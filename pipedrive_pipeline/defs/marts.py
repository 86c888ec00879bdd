"""Mart assets: the marts of all tenants, and the views of one tenant that an analyst reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.defs import asset_metadata
from pipedrive_pipeline.defs.field_checks import check_results, check_specs
from pipedrive_pipeline.defs.metadata import (
    counts_metadata,
    mart_metadata,
    report_metadata,
    view_metadata,
)
from pipedrive_pipeline.defs.raw import raw_key
from pipedrive_pipeline.defs.table_checks import mart_asset, mart_checks, mart_results
from pipedrive_pipeline.marts.declared import MARTS, SCHEMA, Mart
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.lineage import raw_tables
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.marts.views.standard_columns import linked_names
from pipedrive_pipeline.sync.runs.field_facts import FieldFacts
from pipedrive_pipeline.sync.runs.run import TenantRun
from pipedrive_pipeline.warehouse.sql_files import SqlFile, view_files


def view_asset(name: str) -> dg.AssetKey:
    """Returns the asset of a view that an analyst reads."""
    return dg.AssetKey(["analytics", name])


def _mart_spec(mart: Mart) -> dg.AssetSpec:
    return dg.AssetSpec(
        mart_asset(mart.name),
        description=f"{mart.of}: one row per tenant and {mart.grain}.",
        group_name="crm",
        skippable=True,  # a run that is paused or fails builds nothing
        kinds={"postgres", "sql"},
        owners=asset_metadata.owners(),
        tags=asset_metadata.tags(is_personal=bool(mart.personal)),
        deps=_read_by(mart),
        metadata=asset_metadata.mart_metadata(mart, systems()),
    )


def _read_by(mart: Mart) -> list[dg.AssetKey]:
    """Returns the raw assets that the mart's selects read, and the marts that it links to.

    Marts may refer to each other in a circle, assets may not: of two marts that do, the one that is
    built later depends on the other.
    """
    raw = [
        raw_key(source.system, entity) for source in _sources(mart) for entity in raw_tables(source)
    ]
    built_before = {earlier.name for earlier in MARTS[: MARTS.index(mart)]}
    return [*raw, *_assets(link.mart for link in mart.links if link.mart in built_before)]


def _view_spec(mart: Mart) -> dg.AssetSpec:
    return dg.AssetSpec(
        view_asset(mart.name),
        description=f"What an analyst reads of {mart.name}: readable names, live rows.",
        group_name="analytics",
        skippable=True,
        kinds={"postgres", "view"},
        owners=asset_metadata.owners(),
        tags=asset_metadata.tags(is_personal=bool(mart.personal)),
        deps=_shown_by(mart),
        metadata=asset_metadata.view_metadata(mart),
    )


def _shown_by(mart: Mart) -> list[dg.AssetKey]:
    """Returns what a mart's view reads: marts, and the raw assets with its custom fields."""
    raw = [
        raw_key(source.system, entity)
        for source in _sources(mart)
        if source.defined_by
        for entity in (source.entity, source.defined_by)
    ]
    return [*raw, *_assets((mart.name, *(link.mart for link in linked_names(mart).values())))]


def _report_spec(file: SqlFile) -> dg.AssetSpec:
    read = file.reads(SCHEMA)
    return dg.AssetSpec(
        view_asset(file.name),
        description=file.title,
        group_name="analytics",
        skippable=True,
        kinds={"postgres", "view"},
        owners=asset_metadata.owners(),
        tags=asset_metadata.tags(is_personal=any(mart_of(name).personal for name in read)),
        deps=_assets(read),
        metadata=asset_metadata.report_metadata(file),
    )


def _sources(mart: Mart) -> list[MartSource]:
    return [
        source for system in systems() for source in mart_sources(system.key) if source.mart is mart
    ]


def _assets(marts: Iterable[str]) -> list[dg.AssetKey]:
    return [mart_asset(name) for name in dict.fromkeys(marts)]


CRM_SPECS = [_mart_spec(mart) for mart in MARTS]
# Views of figures over the marts. Those over our own records, such as sync_status, are no data.
REPORTS = [file for file in view_files() if file.reads(SCHEMA)]
ANALYTICS_SPECS = [_view_spec(mart) for mart in MARTS]
REPORT_SPECS = [_report_spec(file) for file in REPORTS]


def _places() -> dict[dg.AssetKey, int]:
    """Returns how many assets of marts and views depend on each other before each one, at most."""
    places: dict[dg.AssetKey, int] = {}
    for spec in (
        *CRM_SPECS,
        *ANALYTICS_SPECS,
        *REPORT_SPECS,
    ):  # each after those that it depends on
        before = [places[dep.asset_key] for dep in spec.deps if dep.asset_key in places]
        places[spec.key] = max(before, default=-1) + 1
    return places


PLACES = _places()
MART_KEYS = {spec.key for spec in CRM_SPECS}
VIEW_KEYS = {spec.key for spec in (*ANALYTICS_SPECS, *REPORT_SPECS)}
MART_CHECKS = [check for mart in MARTS for check in mart_checks(mart)]
WITH_FIELDS = {mart.name for mart in MARTS if any(source.defined_by for source in _sources(mart))}
VIEW_CHECKS = [
    check
    for mart in MARTS
    for check in check_specs(view_asset(mart.name), has_fields=mart.name in WITH_FIELDS)
]


def results_of_marts(
    run: TenantRun,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Yields what the run's last build came to, by mart, and the results of the marts' checks."""
    built = run.row.built
    assert built is not None  # noqa: S101 - called after a build
    health, columns = run.mart_facts()
    for name, counts in built.counts.items():
        live_rows = health.volumes[name].of_tenant
        yield dg.MaterializeResult(
            asset_key=mart_asset(name),
            metadata=counts_metadata(counts) | mart_metadata(name, live_rows, columns[name]),
        )
        yield from mart_results(name, health, run.row.sinks)


def results_of_views(
    run: TenantRun, facts: Mapping[str, FieldFacts]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Yields the columns of each view, and the results of its checks; the name of each report."""
    live_rows = run.live_rows()
    for file in REPORTS:
        yield dg.MaterializeResult(
            asset_key=view_asset(file.name),
            metadata=report_metadata(run.facts.scope.tenant, file.name),
        )
    for name, fields in facts.items():
        yield dg.MaterializeResult(
            asset_key=view_asset(name),
            metadata=view_metadata(run.facts.scope.tenant, name, live_rows[name], fields),
        )
        yield from check_results(view_asset(name), fields, has_fields=name in WITH_FIELDS)
