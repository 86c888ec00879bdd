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
    """Fields of one raw row.

    Attributes:
        record: the raw row in the query.
        keys: of the fields.
        sent: the SQL of those fields that are not in `custom_fields`.
        prefix: of the joins' names, where one query reads fields of several raw rows.
        column: of the raw row, with the values by key.
    """

    record: sql.Composable
    keys: Sequence[str]
    sent: Mapping[str, sql.Composable] = field(default_factory=dict)
    prefix: str = ""
    column: str = "custom_fields"

    @property
    def extra(self) -> sql.Composable:
        """Top-level values of the record that have no column, as jsonb."""
        return sql.SQL("{}.extra").format(self.row)

    @property
    def row(self) -> sql.Identifier:
        """The join with `custom_fields` and `extra`, each detoasted once."""
        return sql.Identifier(f"{self.prefix}sent")

    def value(self, key: str) -> sql.Composable:
        """Returns a field's whole value as jsonb, null if there is none; cheap to repeat."""
        number = self.keys.index(key)
        return sql.SQL("{}.{}").format(self._select_of(number), sql.Identifier(f"f{number}"))

    def joins(self) -> sql.Composable:
        """Returns the joins to append to the record in a `from` clause."""
        joined = sql.SQL(
            " left join lateral (select {record}.{column} || '{{}}' as custom_fields,"
            " {record}.extra || '{{}}' as extra, null::json as unhashed having true)"
            " as {row} on true"
        ).format(record=self.record, column=sql.Identifier(self.column), row=self.row)
        numbered = list(enumerate(self.keys))
        for start in range(0, len(numbered), FIELDS_PER_SELECT):
            chunk = numbered[start : start + FIELDS_PER_SELECT]
            joined += sql.SQL(
                " left join lateral (select {fields} having {row}.unhashed is null)"
                " as {name} on true"
            ).format(
                fields=sql.SQL(", ").join(self._extracted(*pair) for pair in chunk),
                name=self._select_of(start),
                row=self.row,
            )
        return joined

    def _extracted(self, number: int, key: str) -> sql.Composed:
        sent = sql.SQL("{}.custom_fields -> {}").format(self.row, sql.Literal(key))
        return sql.SQL("coalesce(nullif({}, 'null'), nullif({} -> {}, 'null')) as {}").format(
            self.sent.get(key) or sent, self.extra, sql.Literal(key), sql.Identifier(f"f{number}")
        )

    def _select_of(self, number: int) -> sql.Identifier:
        return sql.Identifier(f"{self.prefix}fields_{number // FIELDS_PER_SELECT}")
