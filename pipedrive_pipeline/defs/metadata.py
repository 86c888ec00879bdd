"""The metadata of materializations, under the names that plots and alerts rely on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from pipedrive_pipeline.connectors.contract import Column
from pipedrive_pipeline.defs.asset_metadata import ROW_COUNT, TABLE_NAME
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.ingest.outcome import EntityRead, watermark
from pipedrive_pipeline.marts import RowCounts
from pipedrive_pipeline.marts.declared import SCHEMA
from pipedrive_pipeline.marts.lineage import Origin
from pipedrive_pipeline.marts.select_text import SourceColumn
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.field_facts import FieldFacts, MartColumn
from pipedrive_pipeline.sync.runs.history import RunFacts
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import TableColumn

COLUMNS_SHOWN = 500  # of a view; thousands would make an event too large


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Returns the declared columns, and the column for all undeclared fields."""
    declared = [
        dg.TableColumn(column.name, column.type.value, description=column.description)
        for column in columns
    ]
    return dg.TableSchema(
        [*declared, dg.TableColumn("extra", "jsonb", description="Every undeclared key.")]
    )


def read_metadata(
    facts: RunFacts, read: EntityRead, row_count: int, estimated: Price | None = None
) -> dict[str, Any]:
    """Returns the rows of an entity's table, the counts of its read, and its expected cost."""
    schema = facts.scope.raw_schema
    metadata = {
        "dagster/uri": f"postgres://warehouse/{schema}/{read.entity.name}",
        TABLE_NAME: f"{schema}.{read.entity.name}",
        ROW_COUNT: row_count,
        "rows_fetched": read.fetched,
        "rows_created": read.created,
        "rows_updated": read.updated,
        "rows_unchanged": read.unchanged,
        "rows_deleted": read.deleted,
        "rows_rejected": read.rejected,
        "values_rejected": read.rejected_values,
        "values_replaced": read.replaced,
        "api_calls": read.api_calls,
        "tokens_spent": read.tokens,
        "watermark_before": watermark(read.cursor_before) or "",
        "watermark_after": watermark(read.cursor_after) or "",
    }
    if estimated:
        metadata["tokens_estimated"] = estimated.entities[read.entity.name]
    if read.missing is not None:
        metadata |= {
            "rows_missing": read.missing,
            "rows_extra": read.extra,
            "rows_stale": read.stale,
        }
    if read.undeclared:
        metadata["undeclared_keys"] = dict(read.undeclared)
    return metadata


def pause_metadata(pause: BudgetSpent, read: EntityRead | None) -> dict[str, Any]:
    """Returns why an asset is unfinished, when the run goes on, and what is committed so far."""
    return {
        "status": "paused",
        "resume_at": dg.MetadataValue.timestamp(pause.resets_at),
        "rows_fetched": read.fetched if read else 0,
        "api_calls": read.api_calls if read else 0,
        "tokens_spent": read.tokens if read else 0,
    }


def view_metadata(tenant: Tenant, mart: str, row_count: int, fields: FieldFacts) -> dict[str, Any]:
    """Returns a view's rows, its columns with descriptions, and the columns that they come from.

    The description of a custom field names it: label, key, system and type.
    """
    shown = fields.columns[:COLUMNS_SHOWN]
    return {
        TABLE_NAME: f"{tenant.analytics_schema}.{mart}",
        ROW_COUNT: row_count,
        "dagster/column_schema": _table_schema((column, column.comment) for column in shown),
        "dagster/column_lineage": _lineage(
            (column.name, fields.origins.get(column.name, ())) for column in shown
        ),
    }


def report_metadata(tenant: Tenant, name: str) -> dict[str, Any]:
    """Returns the name of a view of figures. Counting its rows would compute it."""
    return {TABLE_NAME: f"{tenant.analytics_schema}.{name}"}


def mart_metadata(mart: str, row_count: int, columns: Iterable[MartColumn]) -> dict[str, Any]:
    """Returns a tenant's live rows of a mart, its columns with the mapped fields, and lineage."""
    entries = list(columns)
    return {
        TABLE_NAME: f"{SCHEMA}.{mart}",
        ROW_COUNT: row_count,
        "dagster/column_schema": _table_schema(
            (entry.column, _described(entry.column, entry.origin)) for entry in entries
        ),
        "dagster/column_lineage": _lineage(
            (entry.column.name, entry.origin.sources) for entry in entries
        ),
    }


def _table_schema(columns: Iterable[tuple[TableColumn, str]]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(column.name, column.type, description=description)
            for column, description in columns
        ]
    )


def _lineage(columns: Iterable[tuple[str, Sequence[SourceColumn]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(dg.AssetKey(source.table), source.column) for source in sources
            ]
            for name, sources in columns
            if sources
        }
    )


def _described(column: TableColumn, origin: Origin) -> str:
    if not origin.mapped:
        return column.comment
    return f"{column.comment} Mapped: {'; '.join(origin.mapped)}."


def counts_metadata(counts: RowCounts) -> dict[str, Any]:
    """Returns the row counts of one mart's build."""
    return {
        "rows_created": counts.created,
        "rows_updated": counts.updated,
        "rows_unchanged": counts.unchanged,
        "rows_deleted": counts.deleted,
    }
