"""Which of several versions of a record is the newest: by the order of requests, not by clocks.

A version replaces another if its request was sent after the other's answer had arrived, regardless
of their time stamps: a source's clock may go back, an import may set any stamp, and stamps may be
edited in raw. If the two requests overlapped, the greater stamp is newer, then the later request.

Rows that an earlier run loaded are older than all that this run reads, because all requests for one
tenant and system are sent under its lock. Within a run a page may be loaded after a record of it
was read again: pages are read ahead, and single records are read between them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipedrive_pipeline.connectors.contract import Entity

SENT, ARRIVED = "_sent", "_arrived"  # columns of a batch's table that are not loaded
# Enough for exactness: at most a chunk of 20,000 rows is read ahead, and a request that 80,000
# rows of others overtake has reached its time limit. 32 bytes a row.
REMEMBERED_ROWS = 100_000


class _Version(NamedTuple):
    sent: int
    arrived: int
    stamp: int | None  # the source's own time of change, in microseconds


def newest(entity: Entity, table: pa.Table) -> pa.Table:
    """The table with each key once, in its newest version."""
    keys = table[entity.key.name].to_pylist()
    if len(set(keys)) == len(keys):
        return table
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    versions = _versions(entity, table)
    rows_kept = [same[_newest([versions[row] for row in same])] for same in rows.values()]
    return table.take(pa.array(sorted(rows_kept), pa.int64()))


@dataclass(frozen=True)
class _Load:
    last_arrived: int
    versions: pa.Table


class LoadedVersions:
    """The versions that a run loaded last, at most `REMEMBERED_ROWS` of each entity."""

    def __init__(self) -> None:
        self._loads: dict[str, deque[_Load]] = {}

    def add(self, entity: Entity, table: pa.Table) -> None:
        """Remembers the rows of a load that is committed."""
        if not table.num_rows:
            return
        columns = [entity.key.name, SENT, ARRIVED]
        if entity.version_column:
            columns.append(entity.version_column)
        loads = self._loads.setdefault(entity.name, deque())
        loads.append(_Load(pc.max(table[ARRIVED]).as_py(), table.select(columns)))
        while self.remembered_rows(entity) > REMEMBERED_ROWS and len(loads) > 1:
            loads.popleft()

    def remembered_rows(self, entity: Entity) -> int:
        """How many rows of an entity are remembered now."""
        return sum(load.versions.num_rows for load in self._loads.get(entity.name, ()))

    def keys_since(self, entity: Entity, number: int) -> set[str]:
        """The keys of remembered rows whose request was sent after this number was given."""
        keys: set[str] = set()
        for load in self._loads.get(entity.name, ()):
            rows = load.versions.filter(pc.greater(load.versions[SENT], number))
            keys.update(map(str, rows[entity.key.name].to_pylist()))
        return keys

    def without_older(self, entity: Entity, table: pa.Table) -> pa.Table:
        """The table without rows of which this run loaded a newer version."""
        loads = self._loads.get(entity.name, ())
        first_sent = pc.min(table[SENT]).as_py() if table.num_rows and loads else None
        known: dict[Any, _Version] = {}
        for load in loads:
            if first_sent is not None and load.last_arrived > first_sent:
                keys = load.versions[entity.key.name].to_pylist()
                known.update(zip(keys, _versions(entity, load.versions), strict=True))
        if not known:
            return table
        rows = zip(table[entity.key.name].to_pylist(), _versions(entity, table), strict=True)
        is_newest = [key not in known or _newest([known[key], row]) == 1 for key, row in rows]
        return table.filter(pa.array(is_newest, pa.bool_()))


def _versions(entity: Entity, table: pa.Table) -> list[_Version]:
    column = entity.version_column
    stamps = table[column].cast(pa.int64()).to_pylist() if column else [None] * table.num_rows
    numbers = (table[SENT].to_pylist(), table[ARRIVED].to_pylist())
    return list(map(_Version, *numbers, stamps))


def _newest(versions: list[_Version]) -> int:
    """The index of the newest version.

    First those drop out whose answer arrived before another's request was sent; the requests of the
    others all overlapped. Of these drop out those with a smaller stamp; an unknown stamp is not
    smaller. Of the rest the latest request is the newest, and of one answer the last record.
    """
    last_sent = max(version.sent for version in versions)
    stamps = [
        version.stamp
        for version in versions
        if version.arrived >= last_sent and version.stamp is not None
    ]
    greatest = max(stamps, default=None)

    def rank(index: int) -> tuple[bool, bool, int, int]:
        sent, arrived, stamp = versions[index]
        is_greatest = stamp is None or greatest is None or stamp >= greatest
        return (arrived >= last_sent, is_greatest, sent, index)

    return max(range(len(versions)), key=rank)
