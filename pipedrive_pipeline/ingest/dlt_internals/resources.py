"""A batch as dlt reads it: its columns, and the way it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.common.schema.utils import dlt_load_id_column
from dlt.common.storages.load_package import load_package_state
from dlt.extract import DltResource

from pipedrive_pipeline.connectors.contract import Column, Entity
from pipedrive_pipeline.ingest.batches import EXTRA, Batch
from pipedrive_pipeline.ingest.dlt_internals import copy_file
from pipedrive_pipeline.ingest.dlt_internals.destination import HISTORY_HINT
from pipedrive_pipeline.ingest.history import history_columns

LOAD_ID_MEANING = "The load that wrote the row last, named by the time at which it began."
UPSERT: Any = {"disposition": "merge", "strategy": "upsert", "skip_unchanged_rows": True}

_DLT_TYPES: dict[str, dict[str, Any]] = {
    "bigint": {"data_type": "bigint"},
    "numeric": {"data_type": "decimal"},
    "text": {"data_type": "text"},
    "boolean": {"data_type": "bool"},
    "timestamptz": {"data_type": "timestamp", "timezone": True, "precision": 6},
    "jsonb": {"data_type": "json"},
}


def source_of(system: str, resources: list[DltResource]) -> Any:
    """What is loaded together."""

    @dlt.source(name=system)
    def source() -> list[DltResource]:
        return resources

    return source()


def resource_of(
    batch: Batch,
    directory: Path,
    *,
    is_new: bool,
) -> DltResource:
    """A batch as dlt reads it.

    Args:
        batch: the rows; where there are none, the table is made all the same.
        directory: for the rows' file, of which dlt takes a link.
        is_new: none of the rows' keys is in raw.
    """
    entity = batch.entity

    def rows() -> Iterator[Any]:
        path = directory / f"{entity.name}.csv"
        copy_file.write(batch.rows, load_package_state()["load_id"], path)
        yield dlt.mark.with_file_import(str(path), "csv", batch.table.num_rows)

    resource: DltResource = dlt.resource(
        rows,
        name=entity.name,
        primary_key=entity.key.name,
        columns=_columns(entity),
        write_disposition="append" if is_new else UPSERT,
        schema_contract={"tables": "evolve", "columns": "evolve", "data_type": "freeze"},
    )
    hints: dict[str, Any] = {"description": entity.description}
    if entity.history:
        hints[HISTORY_HINT] = dict(history_columns(entity))
    resource.apply_hints(additional_table_hints=hints)
    return resource


def _columns(entity: Entity) -> Any:
    key = _hints(entity.key) | {"nullable": False, "unique": True}
    extra = {"data_type": "json", "description": "Keys that are not declared, and misfit values."}
    return {
        entity.key.name: key,
        **{column.name: _hints(column) for column in entity.columns},
        EXTRA: extra,
        copy_file.LOAD_ID: {**dlt_load_id_column(), "description": LOAD_ID_MEANING},
    }


def _hints(column: Column) -> dict[str, Any]:
    return {"description": column.description, **_DLT_TYPES[column.type.value]}
