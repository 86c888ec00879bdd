"""The records of one entity: seeded rows, replaced by the rows that were edited since."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.kind import Record, SortField
from pipedrive_pipeline.sandbox.pipedrive.world.order import Key
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import SeededRows

INDEXED: tuple[SortField, ...] = ("id", "add_time", "update_time")  # others are sorted each time
NUMBERS = frozenset(  # sort fields that are compared as numbers
    ("id", "order_nr", "deal_id", "user_id", "person_id", "org_id", "owner_id", "creator_id",
     "next_activity_id", "was_seen")
)  # fmt: skip
# Below this share of all rows a window of edit times is read from the order of edits and sorted
# by id; above it, walking all ids is cheaper.
NARROW_SHARE = 0.02


@dataclass(frozen=True)
class Walk:
    """An order, where to begin in it, and a window of edit times."""

    field: SortField = "id"
    descending: bool = False
    start: Key | None = None  # inclusive
    since: str | None = None  # inclusive
    until: str | None = None  # exclusive

    def holds(self, update_time: str) -> bool:
        """Whether an edit time lies in the window."""
        return not (
            (self.since is not None and update_time < self.since)
            or (self.until is not None and update_time >= self.until)
        )

    def reached(self, key: Key) -> bool:
        """Whether a key lies at or behind the start."""
        if self.start is None:
            return True
        return key <= self.start if self.descending else key >= self.start


def sort_value(record: Record, field: SortField) -> str | int:
    """The sort value of a record; without an edit time it counts as edited when added."""
    value: Any = record[field]
    if field in INDEXED:
        return record["add_time"] if value is None else value  # type: ignore[no-any-return]
    return int(value or 0) if field in NUMBERS else str(value or "")


class Records:
    """All records of one entity, deleted ones included."""

    def __init__(self, seeded: SeededRows) -> None:
        self.seeded = seeded
        self.last_id = seeded.order.size
        self.live_count = seeded.order.size - len(seeded.deleted_ids)
        self._changed: dict[int, Record] = {}
        self._keys: dict[SortField, list[Key]] = {field: [] for field in INDEXED}
        self._children: dict[str, dict[Any, set[int]]] = {}  # of changed rows, by key and parent

    def get(self, row_id: int) -> Record | None:
        """A record, or None for an id that never existed."""
        if row_id in self._changed:
            return self._changed[row_id]
        if 1 <= row_id <= self.seeded.order.size:
            return self.seeded.row(row_id)
        return None

    def changed(self) -> list[Record]:
        """The records that differ from the seeded ones, in the order of their ids."""
        return [self._changed[row_id] for row_id in sorted(self._changed)]

    def put(self, record: Record) -> None:
        """Store a record, new or changed. Stored records are never altered, only replaced."""
        row_id = record["id"]
        before = self._changed.get(row_id)
        self.live_count += self._lives(record) - self._lives(before, row_id)
        for field, keys in self._keys.items():
            if before is not None:
                del keys[bisect_left(keys, (sort_value(before, field), row_id))]
            insort(keys, (sort_value(record, field), row_id))
        for key, ids in self._children.items():
            if before is not None:
                ids.get(before.get(key), set()).discard(row_id)
            ids.setdefault(record.get(key), set()).add(row_id)
        self._changed[row_id] = record
        self.last_id = max(self.last_id, row_id)

    def _lives(self, record: Record | None, row_id: int = 0) -> bool:
        if record is None:
            return self.seeded.order.size >= row_id > 0 and row_id not in self.seeded.deleted_ids
        return not record["is_deleted"]

    def walk(self, walk: Walk) -> Iterator[Record]:
        """Yield records in order, from the start on, of the window."""
        if walk.field not in INDEXED:
            yield from self._sorted(walk)
            return
        seeded = self._seeded_keys(walk)
        changed = self._changed_keys(walk)
        for _, row_id in heapq.merge(seeded, changed, reverse=walk.descending):
            yield self._changed.get(row_id) or self.seeded.row(row_id)

    def children_of(self, parent_key: str, parent_id: int | str) -> list[int]:
        """The ids of all records that name a parent, ascending."""
        if parent_key not in self._children:
            ids_by_parent = self._children[parent_key] = {}
            for row_id, row in self._changed.items():
                ids_by_parent.setdefault(row.get(parent_key), set()).add(row_id)
        seeded = self.seeded.children_of(parent_key, parent_id)
        ids = {row_id for row_id in seeded if row_id not in self._changed}
        return sorted(ids | self._children[parent_key].get(parent_id, set()))

    def _sorted(self, walk: Walk) -> Iterator[Record]:
        """The same as `walk`, in an order that is not kept: all rows are read and sorted."""
        rows = self.walk(Walk(since=walk.since, until=walk.until))
        keyed = [((sort_value(row, walk.field), row["id"]), row) for row in rows]
        for key, row in sorted(keyed, key=lambda pair: pair[0], reverse=walk.descending):
            if walk.reached(key):
                yield row

    def _changed_keys(self, walk: Walk) -> Iterator[Key]:
        keys = self._keys[walk.field]
        first, last = 0, len(keys)
        if walk.start is not None and walk.descending:
            last = bisect_right(keys, walk.start)
        elif walk.start is not None:
            first = bisect_left(keys, walk.start)
        for place in range(last - 1, first - 1, -1) if walk.descending else range(first, last):
            key = keys[place]
            if walk.holds(str(sort_value(self._changed[key[1]], "update_time"))):
                yield key

    def _seeded_keys(self, walk: Walk) -> Iterator[Key]:
        order = self.seeded.order
        first, last = self._window_ranks(walk)
        if walk.field != "update_time" and last - first < order.size * NARROW_SHARE:
            ids = (order.id_at("update_time", rank) for rank in range(first, last))
            keys = sorted((order.value(walk.field, row_id), row_id) for row_id in ids)
            for key in reversed(keys) if walk.descending else keys:
                if walk.reached(key) and key[1] not in self._changed:
                    yield key
            return
        windowed = walk.since is not None or walk.until is not None
        for rank in self._ranks(walk, first, last):
            key = order.key_at(walk.field, rank)
            if key[1] in self._changed:
                continue
            if (
                windowed
                and walk.field != "update_time"
                and not walk.holds(order.update_time(key[1]))
            ):
                continue
            yield key

    def _window_ranks(self, walk: Walk) -> tuple[int, int]:
        """The ranks of the window in the order of edits."""
        order = self.seeded.order
        first = 0 if walk.since is None else order.rank_of("update_time", (walk.since, 0))
        last = order.size if walk.until is None else order.rank_of("update_time", (walk.until, 0))
        return first, max(first, last)

    def _ranks(self, walk: Walk, first: int, last: int) -> range:
        order = self.seeded.order
        if walk.field != "update_time":
            first, last = 0, order.size
        if walk.start is not None:
            rank = order.rank_of(walk.field, walk.start)
            if walk.descending:
                is_there = rank < order.size and order.key_at(walk.field, rank) == walk.start
                last = min(last, rank + is_there)
            else:
                first = max(first, rank)
        return range(last - 1, first - 1, -1) if walk.descending else range(first, last)
