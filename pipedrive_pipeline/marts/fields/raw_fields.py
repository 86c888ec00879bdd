"""Joins that extract the custom fields of a raw row, so that its jsonb is fetched once.

Postgres stores a record's `custom_fields` outside its row (TOAST), and each `->` fetches it again:
5 of the 9 microseconds that a view column took. Each sub-select has a `having` that is always true.
It stops Postgres from merging the sub-select into the outer query, which would fetch once per
field, and lets Postgres drop the join if no field is read, because at most one row comes out. The
`having` refers to a json column because json cannot be hashed; otherwise Postgres adds a cache of
earlier records (Memoize) that never has a hit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql

FIELDS_PER_SELECT: Final = 1_000  # PostgreSQL's target lists take at most 1,664


@dataclass(frozen=True)
class RawFields:
    """Fields of one raw row; ``sent`` has the SQL of those that are not in `custom_fields`."""

    record: sql.Composable
    keys: Sequence[str]
    sent: Mapping[str, sql.Composable] = field(default_factory=dict)

    @property
    def extra(self) -> sql.Composable:
        """Top-level values of the record that have no column, as jsonb."""
        return sql.SQL("sent.extra")

    def value(self, key: str) -> sql.Composable:
        """Returns a field's whole value as jsonb, null if there is none; cheap to repeat."""
        return _place(self.keys.index(key))

    def joins(self) -> sql.Composable:
        """Returns the joins to append to the record in a `from` clause."""
        joined = sql.SQL(
            " left join lateral (select {record}.custom_fields || '{{}}' as custom_fields,"
            " {record}.extra || '{{}}' as extra, null::json as unhashed having true)"
            " as sent on true"
        ).format(record=self.record)
        numbered = list(enumerate(self.keys))
        for start in range(0, len(numbered), FIELDS_PER_SELECT):
            chunk = numbered[start : start + FIELDS_PER_SELECT]
            joined += sql.SQL(
                " left join lateral (select {fields} having sent.unhashed is null)"
                " as {name} on true"
            ).format(
                fields=sql.SQL(", ").join(self._extracted(*pair) for pair in chunk),
                name=_select_of(start),
            )
        return joined

    def _extracted(self, number: int, key: str) -> sql.Composed:
        sent = sql.SQL("sent.custom_fields -> {}").format(sql.Literal(key))
        return sql.SQL(
            "coalesce(nullif({}, 'null'), nullif(sent.extra -> {}, 'null')) as {}"
        ).format(self.sent.get(key) or sent, sql.Literal(key), sql.Identifier(f"f{number}"))


def _select_of(number: int) -> sql.Identifier:
    return sql.Identifier(f"fields_{number // FIELDS_PER_SELECT}")


def _place(number: int) -> sql.Composable:
    return sql.SQL("{}.{}").format(_select_of(number), sql.Identifier(f"f{number}"))
