"""What a materialization says of itself, under the names that plots and alerts rely on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from pipedrive_pipeline.connectors.base import Column
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.ingest.outcome import EntityRead, watermark
from pipedrive_pipeline.marts import Counts
from pipedrive_pipeline.sync.history import RunFacts
from pipedrive_pipeline.sync.pricing import Price
from pipedrive_pipeline.warehouse.catalog import TableColumn

COLUMNS_SHOWN = 500  # of a view; an event holds no thousands


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """The declared columns, and the one for everything that is not declared."""
    declared = [
        dg.TableColumn(column.name, column.type.value, description=column.description)
        for column in columns
    ]
    return dg.TableSchema(
        [*declared, dg.TableColumn("extra", "jsonb", description="Every undeclared key.")]
    )


def read_metadata(
    facts: RunFacts, read: EntityRead, estimated: Price | None = None
) -> dict[str, Any]:
    """What reading one entity came to, beside what it was expected to cost."""
    schema = facts.tenant.raw_schema(facts.system)
    metadata = {
        "dagster/uri": f"postgres://warehouse/{schema}/{read.entity.name}",
        "table": f"{schema}.{read.entity.name}",
        "rows_fetched": read.fetched,
        "rows_created": read.created,
        "rows_updated": read.updated,
        "rows_unchanged": read.unchanged,
        "rows_deleted": read.deleted,
        "rows_rejected": read.rejected,
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
    """Why an asset is unfinished, when it goes on, and what is committed so far."""
    return {
        "status": "paused",
        "resume_at": dg.MetadataValue.timestamp(pause.resets_at),
        "rows_fetched": read.fetched if read else 0,
        "api_calls": read.api_calls if read else 0,
        "tokens_spent": read.tokens if read else 0,
    }


def view_metadata(raw: dg.AssetKey, columns: Iterable[TableColumn]) -> dict[str, Any]:
    """A view's columns with what each shows, and for custom fields the way back to raw.

    The description names the field: label, key and type.
    """
    shown = list(columns)[:COLUMNS_SHOWN]
    custom = [one for one in shown if "(field " in one.comment]
    source = [dg.TableColumnDep(asset_key=raw, column_name="custom_fields")]
    return {
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(one.name, one.type, description=one.comment) for one in shown]
        ),
        "dagster/column_lineage": dg.TableColumnLineage({one.name: source for one in custom}),
    }


def counts_metadata(counts: Counts) -> dict[str, Any]:
    """What building one mart came to."""
    return {
        "rows_created": counts.created,
        "rows_updated": counts.updated,
        "rows_unchanged": counts.unchanged,
        "rows_deleted": counts.deleted,
    }
