"""Records of one entity as one Arrow table in raw's shape, and what did not go in as it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipedrive_pipeline.connectors.contract import Entity, MisfitEntry, Page, Record
from pipedrive_pipeline.ingest.outcome import Rejected
from pipedrive_pipeline.ingest.sanitise import clean_text, cleaned, json_text
from pipedrive_pipeline.ingest.values import NULL, ColumnValues, column_values, is_empty
from pipedrive_pipeline.ingest.versions import ARRIVED, SENT, newest

EXTRA = "extra"
MISFITS = "_misfits"  # a row's rejected values, JSON: [[field, value, reason], …]
NOT_LOADED = (SENT, ARRIVED, MISFITS)  # known of a row, so that each filter of the rows keeps them


@dataclass
class Batch:
    """One entity's records, ready for raw: each key once, its newest version."""

    entity: Entity
    table: pa.Table  # with the columns `NOT_LOADED`
    withheld: int = 0  # erased here, and not edited since
    replaced: int = 0
    rejected_records: list[Rejected] = field(default_factory=list)  # without a usable key
    undeclared: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> pa.Table:
        """The table as it is loaded."""
        return self.table.drop_columns(list(NOT_LOADED))

    @property
    def rejected_values(self) -> list[Rejected]:
        """The values of these rows that did not fit their columns; each field of a row once."""
        rows = self.table.filter(pc.is_valid(self.table[MISFITS]))
        keys, texts = rows[self.entity.key.name].to_pylist(), rows[MISFITS].to_pylist()
        return [
            Rejected(str(key), *misfit)
            for key, text in zip(keys, texts, strict=True)
            for misfit in json.loads(text)
        ]

    @property
    def keys(self) -> list[str]:
        """Each record's key as text, as Postgres would print it."""
        return [str(key) for key in self.table[self.entity.key.name].to_pylist()]

    @property
    def live_keys(self) -> set[str]:
        """The keys of the records that are not deleted according to their own flag."""
        flag = self.entity.gone_column
        if flag is None:
            return set(self.keys)
        flags = self.table[flag].to_pylist()
        return {key for key, is_gone in zip(self.keys, flags, strict=True) if not is_gone}

    def requests(self) -> Iterator[tuple[str, int, datetime | None]]:
        """Yields each record's key, the number of its request, and its time of change if known."""
        stamp = self.entity.version_column
        stamps = self.table[stamp].to_pylist() if stamp else [None] * self.table.num_rows
        for key, sent, at in zip(self.keys, self.table[SENT].to_pylist(), stamps, strict=True):
            yield key, sent, at if isinstance(at, datetime) else None

    def withhold(self, is_withheld: Sequence[bool]) -> None:
        """Takes out these rows and counts them."""
        self.table = self.table.filter(pc.invert(pa.array(is_withheld, pa.bool_())))
        self.withheld += sum(is_withheld)

    def texts(self, column: str) -> list[str | None]:
        """A column's values as text."""
        texts: list[str | None] = self.table[column].cast(pa.string()).to_pylist()
        return texts

    def json_texts(self, column: str) -> str:
        """A column's values as a JSON array of texts, for Postgres to take apart.

        An array as a parameter took four times as long: each value is made Python's first, and
        then written by itself.
        """
        return json_text(self.texts(column))


def batch_of(entity: Entity, page: Page) -> Batch:
    """The records of one answer as a table."""
    batch = Batch(entity, pa.table({}), rejected_records=[*map(_no_record, page.misfits)])
    records, keys = _with_usable_key(batch, page.records)
    extras: dict[int, dict[str, Any]] = _undeclared(batch, records)
    misfits: dict[int, list[tuple[str, str, str]]] = {}
    columns = {entity.key.name: keys}
    for column in entity.columns:
        texts = [record.get(column.name, NULL) for record in records]
        values = column_values(column, texts)
        batch.replaced += values.replaced
        columns[column.name] = values.array
        _keep_misfits(column.name, values, extras, misfits)
    columns[EXTRA] = _texts(extras, len(records))
    columns[SENT] = pa.repeat(pa.scalar(page.sent, pa.int64()), len(records))
    columns[ARRIVED] = pa.repeat(pa.scalar(page.arrived, pa.int64()), len(records))
    columns[MISFITS] = _texts(misfits, len(records))
    batch.table = newest(entity, pa.table(columns))
    return batch


def joined(entity: Entity, batches: Sequence[Batch]) -> Batch:
    """Batches of one entity as if they were one, in which each key is there once."""
    if not batches:
        return batch_of(entity, Page([], sent=0, arrived=0))
    table = pa.concat_tables([batch.table for batch in batches])
    whole = Batch(entity, newest(entity, table))
    for batch in batches:
        whole.rejected_records += batch.rejected_records
        whole.withheld += batch.withheld
        whole.replaced += batch.replaced
        whole.undeclared += batch.undeclared
    return whole


def _with_usable_key(batch: Batch, records: list[Record]) -> tuple[list[Record], pa.Array]:
    """The records that have a usable key, and their keys; the others are set aside."""
    key = batch.entity.key
    keys = column_values(key, [record.get(key.name, NULL) for record in records])
    if not keys.array.null_count:
        return records, keys.array
    reasons = {misfit.row: misfit.reason or "is blank" for misfit in keys.misfits}
    usable = [row for row, is_null in enumerate(keys.array.is_null().to_pylist()) if not is_null]
    for row in sorted(set(range(len(records))) - set(usable)):
        text = _record_text(records[row])
        reason = f"{key.name} {reasons.get(row, 'is missing')}"
        batch.rejected_records.append(Rejected(None, key.name, text, reason))
    return [records[row] for row in usable], keys.array.take(pa.array(usable, pa.int64()))


def _no_record(misfit: MisfitEntry) -> Rejected:
    value = json_text(cleaned(misfit.json_text).value)
    return Rejected(None, None, value, f"entry {misfit.place} of its page is no record")


def _undeclared(batch: Batch, records: list[Record]) -> dict[int, dict[str, Any]]:
    declared = {batch.entity.key.name, *(column.name for column in batch.entity.columns)}
    extras: dict[int, dict[str, Any]] = {}
    for row, record in enumerate(records):
        if record.keys() <= declared:
            continue
        # Sorted, because a set has another order in each process, and `KnownReads` compares texts.
        for name in sorted(record.keys() - declared):
            result = cleaned(bytes(record[name]))
            batch.replaced += result.replaced
            batch.undeclared[clean_text(name)] += 1
            extras.setdefault(row, {})[clean_text(name)] = result.value
    return extras


def _keep_misfits(
    name: str,
    values: ColumnValues,
    extras: dict[int, dict[str, Any]],
    misfits: dict[int, list[tuple[str, str, str]]],
) -> None:
    for misfit in values.misfits:
        extras.setdefault(misfit.row, {})[name] = misfit.value
        if misfit.reason is not None and not is_empty(misfit.value):
            entry = (name, json_text(misfit.value), misfit.reason)
            misfits.setdefault(misfit.row, []).append(entry)


def _texts(entries: Mapping[int, Any], count: int) -> pa.Array:
    """A column of JSON texts, given by row, and null in all other rows."""
    if not entries:
        return pa.nulls(count, pa.string())
    texts = [json_text(entries[row]) if row in entries else None for row in range(count)]
    return pa.array(texts, pa.string())


def _record_text(record: Record) -> str:
    """The whole record as JSON, cleaned; it has no row to be readable in."""
    text = msgspec.json.encode(record)
    return json_text(cleaned(text).value) if text else json.dumps(None)
