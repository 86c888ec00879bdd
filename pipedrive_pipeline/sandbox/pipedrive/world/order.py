"""The order of seeded rows in time, computed instead of indexed.

A million rows sorted by ``update_time`` would need an index of a million entries before the
first answer. Here the order of edits is an affine permutation of the ids, which can be read in
both directions, so a start costs nothing and a page costs only its own rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import gcd
from typing import Protocol

from pipedrive_pipeline.sandbox.pipedrive.world.kind import Record, SortField

Key = tuple[str | int, int]  # (sort value, id): what a cursor points at

# Seeded rows were added from the first instant on, in the order of their ids, and last edited, in
# no order, between the second and the third; fixed, so that a seed says everything.
ADDED_FROM = datetime(2021, 3, 1, tzinfo=UTC)
EDITED_FROM = datetime(2024, 3, 1, tzinfo=UTC)
EDITED_UNTIL = datetime(2026, 9, 1, tzinfo=UTC)
# Without a zone they are printed twice as fast, and every row prints two.
_ADDED_FROM, _EDITED_FROM = ADDED_FROM.replace(tzinfo=None), EDITED_FROM.replace(tzinfo=None)


def _coprime(size: int, near: int) -> int:
    """The first number from ``near`` on that shares no factor with ``size``."""
    while gcd(near, size) != 1:
        near += 1
    return near


class Permutation:
    """A reversible shuffle of ``0 .. size - 1``."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = max(size, 1)
        self._factor = _coprime(self.size, int(self.size * 0.618) + 1)
        self._inverse = pow(self._factor, -1, self.size)
        self._shift = seed % self.size

    def forward(self, place: int) -> int:
        """The item at a place."""
        return (place * self._factor + self._shift) % self.size

    def back(self, item: int) -> int:
        """The place of an item."""
        return (item - self._shift) * self._inverse % self.size


class RowOrder(Protocol):
    """The stamps and ranks of ids ``1 .. size``."""

    size: int

    def add_time(self, row_id: int) -> str:
        """When a row was added."""

    def update_time(self, row_id: int) -> str:
        """When a row was last edited."""

    def id_at(self, field: SortField, rank: int) -> int:
        """The id at a place of the order by one field, counted from 0."""

    def key_at(self, field: SortField, rank: int) -> Key:
        """The sort value and the id at a place."""

    def value(self, field: SortField, row_id: int) -> str | int:
        """The sort value of a row."""

    def rank_of(self, field: SortField, key: Key) -> int:
        """How many rows come before a key."""


class TableOrder:
    """The order of a few rows that are written down; row ``n`` has the id ``n``."""

    def __init__(self, rows: Sequence[Record]) -> None:
        self.size = len(rows)
        self._rows = rows
        self._keys = {
            field: sorted((self.value(field, row_id), row_id) for row_id in range(1, self.size + 1))
            for field in ("id", "add_time", "update_time")
        }

    def add_time(self, row_id: int) -> str:
        """When a row was added."""
        return str(self._rows[row_id - 1]["add_time"])

    def update_time(self, row_id: int) -> str:
        """When a row was last edited; without an edit time, when it was added."""
        return self._rows[row_id - 1]["update_time"] or self.add_time(row_id)

    def id_at(self, field: SortField, rank: int) -> int:
        """The id at a place of the order by one field, counted from 0."""
        return self._keys[field][rank][1]

    def key_at(self, field: SortField, rank: int) -> Key:
        """The sort value and the id at a place."""
        return self._keys[field][rank]

    def value(self, field: SortField, row_id: int) -> str | int:
        """The sort value of a row."""
        if field == "id":
            return row_id
        return self.add_time(row_id) if field == "add_time" else self.update_time(row_id)

    def rank_of(self, field: SortField, key: Key) -> int:
        """How many rows come before a key."""
        return bisect_left(self._keys[field], key)


class SeededOrder:
    """The stamps and ranks of ids ``1 .. size``.

    Neighbours in the order of edits share a second, two by two, as they do in busy accounts.
    The last ``same_second`` ids were edited together, in one second in the middle of the time
    line, as a bulk edit leaves them. Ties are ordered by id.
    """

    def __init__(self, size: int, seed: int, same_second: int = 0) -> None:
        self.size = size
        self._single = max(size - same_second, 0)  # all of them, if there are not as many
        self._bulk = size - self._single
        self._bulk_rank = self._single // 2 & ~1
        self._shuffle = Permutation(self._single, seed)
        self._edit_step = self._step(EDITED_UNTIL - EDITED_FROM, self._single // 2 + 1)
        self._add_step = self._step(EDITED_FROM - ADDED_FROM, size)

    @staticmethod
    def _step(span: timedelta, parts: int) -> int:
        return max(int(span.total_seconds()) // max(parts, 1), 2)

    def add_time(self, row_id: int) -> str:
        """When a row was added."""
        return _text(_ADDED_FROM, (row_id - 1) * self._add_step)

    def update_time(self, row_id: int) -> str:
        """When a row was last edited."""
        if row_id > self._single:
            return _text(_EDITED_FROM, self._bulk_rank // 2 * self._edit_step)
        return self._pair_time(self._shuffle.back(row_id - 1) // 2)

    def id_at(self, field: SortField, rank: int) -> int:
        """The id at a place of the order by one field, counted from 0."""
        if field != "update_time":
            return rank + 1
        if self._bulk_rank <= rank < self._bulk_rank + self._bulk:
            return self._single + 1 + rank - self._bulk_rank
        place = rank if rank < self._bulk_rank else rank - self._bulk
        return self._paired_id(place)

    def key_at(self, field: SortField, rank: int) -> Key:
        """The sort value and the id at a place."""
        row_id = self.id_at(field, rank)
        return self.value(field, row_id), row_id

    def value(self, field: SortField, row_id: int) -> str | int:
        """The sort value of a row."""
        if field == "id":
            return row_id
        return self.add_time(row_id) if field == "add_time" else self.update_time(row_id)

    def rank_of(self, field: SortField, key: Key) -> int:
        """How many rows come before a key."""
        return bisect_left(range(self.size), key, key=lambda rank: self.key_at(field, rank))

    def _paired_id(self, place: int) -> int:
        partner = place ^ 1
        mine = self._shuffle.forward(place) + 1
        if partner >= self._single:
            return mine
        other = self._shuffle.forward(partner) + 1
        return max(mine, other) if place & 1 else min(mine, other)

    def _pair_time(self, pair: int) -> str:
        # From 1 on: second 0 of a step is free for the bulk edit.
        jitter = 1 + pair * 2_654_435_761 % (self._edit_step - 1)
        return _text(_EDITED_FROM, pair * self._edit_step + jitter)


def _text(start: datetime, seconds: int) -> str:
    return f"{(start + timedelta(seconds=seconds)).isoformat()}Z"
