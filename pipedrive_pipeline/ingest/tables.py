"""Records of one entity as one Arrow table in raw's shape, and what did not go in as it was.

Belongs here: the record's road into columns, ``extra`` for undeclared keys, records without a
usable key set aside, the newest of several versions, batches of pages joined to one of a chunk.
Does not belong here: the load itself (`raw.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from pipedrive_pipeline.connectors.base import EntitySpec, Record
from pipedrive_pipeline.ingest.outcome import Rejected
from pipedrive_pipeline.ingest.sanitise import clean_text, cleaned, json_text
from pipedrive_pipeline.ingest.values import NULL, ColumnValues, column_values

EXTRA = "extra"


@dataclass
class Batch:
    """One entity's records, ready for raw: each key once, its newest version."""

    entity: EntitySpec
    table: pa.Table
    rejected_records: int = 0
    withheld: int = 0  # erased here, and not edited since
    replaced: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    undeclared: Counter[str] = field(default_factory=Counter)

    @property
    def keys(self) -> list[str]:
        """Each record's key as text, as Postgres would print it."""
        return [str(key) for key in self.table[self.entity.key.name].to_pylist()]

    def json_texts(self, column: str) -> str:
        """A column's values as a JSON array of texts, for Postgres to take apart.

        An array as a parameter took four times as long: each value is made Python's first, and
        then written by itself.
        """
        return json_text(self.table[column].cast(pa.string()).to_pylist())


def batch_of(entity: EntitySpec, records: list[Record]) -> Batch:
    """The records as a table; a later one wins over an earlier one of the same version."""
    batch = Batch(entity, pa.table({}))
    records, keys = _with_usable_key(batch, records)
    extras: dict[int, dict[str, Any]] = _undeclared(batch, records)
    columns = {entity.key.name: keys}
    for column in entity.columns:
        texts = [record.get(column.name, NULL) for record in records]
        values = column_values(column, texts)
        batch.replaced += values.replaced
        columns[column.name] = values.array
        _keep_misfits(batch, column.name, values, keys, extras)
    columns[EXTRA] = pa.array(
        [json_text(extras[row]) if row in extras else None for row in range(len(records))],
        pa.string(),
    )
    batch.table = _newest(entity, pa.table(columns))
    return batch


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one entity, at least one, in the order of reading, as if they were one."""
    entity = batches[0].entity
    table = pa.concat_tables([batch.table for batch in batches])
    whole = Batch(entity, _newest(entity, table))
    for batch in batches:
        whole.rejected_records += batch.rejected_records
        whole.withheld += batch.withheld
        whole.replaced += batch.replaced
        whole.rejected += batch.rejected
        whole.undeclared += batch.undeclared
    return whole


def _newest(entity: EntitySpec, table: pa.Table) -> pa.Table:
    """Each key once: its greatest version, of equal or unknown ones the one that was read last."""
    keys = table[entity.key.name].to_pylist()
    version = entity.version_column
    versions = table[version].cast(pa.int64()).to_pylist() if version else [None] * len(keys)
    best: dict[Any, int] = {}
    greatest: dict[Any, int] = {}
    for row, (value, seen) in enumerate(zip(keys, versions, strict=True)):
        if seen is None:
            best[value] = row
        elif seen >= greatest.get(value, seen):
            best[value], greatest[value] = row, seen
    return table if len(best) == len(keys) else table.take(sorted(best.values()))


def _with_usable_key(batch: Batch, records: list[Record]) -> tuple[list[Record], pa.Array]:
    """The records that can be told apart, and their keys; the others are set aside."""
    key = batch.entity.key
    keys = column_values(key, [record.get(key.name, NULL) for record in records])
    if not keys.array.null_count:
        return records, keys.array
    reasons = {misfit.row: misfit.reason for misfit in keys.misfits}
    usable = [row for row, is_null in enumerate(keys.array.is_null().to_pylist()) if not is_null]
    for row in sorted(set(range(len(records))) - set(usable)):
        text = _record_text(records[row])
        reason = f"{key.name} {reasons.get(row, 'is missing')}"
        batch.rejected.append(Rejected(None, key.name, text, reason))
        batch.rejected_records += 1
    return [records[row] for row in usable], keys.array.take(pa.array(usable, pa.int64()))


def _undeclared(batch: Batch, records: list[Record]) -> dict[int, dict[str, Any]]:
    declared = {batch.entity.key.name, *(column.name for column in batch.entity.columns)}
    extras: dict[int, dict[str, Any]] = {}
    for row, record in enumerate(records):
        if record.keys() <= declared:
            continue
        for name in record.keys() - declared:
            seen = cleaned(bytes(record[name]))
            batch.replaced += seen.replaced
            batch.undeclared[clean_text(name)] += 1
            extras.setdefault(row, {})[clean_text(name)] = seen.value
    return extras


def _keep_misfits(
    batch: Batch,
    name: str,
    values: ColumnValues,
    keys: pa.Array,
    extras: dict[int, dict[str, Any]],
) -> None:
    for misfit in values.misfits:
        extras.setdefault(misfit.row, {})[name] = misfit.value
        record_id = str(keys[misfit.row].as_py())
        batch.rejected.append(Rejected(record_id, name, json_text(misfit.value), misfit.reason))


def _record_text(record: Record) -> str:
    """The whole record as JSON, cleaned; it has no row to be readable in."""
    text = msgspec.json.encode(record)
    return json_text(cleaned(text).value) if text else json.dumps(None)
