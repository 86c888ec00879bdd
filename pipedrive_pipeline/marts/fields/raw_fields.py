"""Custom fields taken out of a raw row's jsonb, each once, for whoever reads many of them.

Belongs here: the joins that do so. Does not belong here: what a value means (`values.py`).

A record's `custom_fields` lies outside its row (TOAST), and each `->` fetched it anew: 5 of the 9
microseconds that a column of a view took. The selects have a `having`, which is always true: so
Postgres neither merges them with what is around them, which would bring back one fetch a field, nor
keeps them where nobody reads a field, because they yield one row at most. It asks for a column of
type json because that type cannot be hashed: else Postgres looked up each record in a cache of
those before it (Memoize), where it never is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql

FIELDS_PER_SELECT: Final = 1_000  # PostgreSQL's target lists take at most 1,664


@dataclass(frozen=True)
class RawFields:
    """Some fields of one raw row. ``sent`` are those that do not lie in `custom_fields`."""

    record: sql.Composable
    keys: Sequence[str]
    sent: Mapping[str, sql.Composable] = field(default_factory=dict)

    @property
    def extra(self) -> sql.Composable:
        """What stands at the top level of the record and no column declares, as jsonb."""
        return sql.SQL("sent.extra")

    def value(self, key: str) -> sql.Composable:
        """A field's whole value as jsonb, null where there is none; cheap to repeat."""
        return _place(self.keys.index(key))

    def joins(self) -> sql.Composable:
        """What stands behind the record in a `from` clause."""
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
                fields=sql.SQL(", ").join(self._taken_out(*one) for one in chunk),
                name=_select_of(start),
            )
        return joined

    def _taken_out(self, number: int, key: str) -> sql.Composed:
        sent = sql.SQL("sent.custom_fields -> {}").format(sql.Literal(key))
        return sql.SQL(
            "coalesce(nullif({}, 'null'), nullif(sent.extra -> {}, 'null')) as {}"
        ).format(self.sent.get(key) or sent, sql.Literal(key), sql.Identifier(f"f{number}"))


def _select_of(number: int) -> sql.Identifier:
    return sql.Identifier(f"fields_{number // FIELDS_PER_SELECT}")


def _place(number: int) -> sql.Composable:
    return sql.SQL("{}.{}").format(_select_of(number), sql.Identifier(f"f{number}"))
