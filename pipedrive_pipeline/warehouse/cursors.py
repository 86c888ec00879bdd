"""The cursor class of all our sessions: a `%` in a name or a literal is data, never a placeholder.

psycopg writes names and literals of a composed query into its text, and then looks for placeholders
in the whole of it if there are parameters; a field code such as `5%_off` would be read as one.
Source: https://www.psycopg.org/psycopg3/docs/api/sql.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext, Params
from psycopg.rows import Row


class Cursor(psycopg.Cursor[Row]):
    """psycopg's cursor, safe for queries whose names and literals come from a CRM."""

    def execute(self, query: Any, params: Params | None = None, **more: Any) -> Self:
        """As psycopg's."""
        return super().execute(query if params is None else _escaped(query), params, **more)

    def executemany(self, query: Any, params_seq: Iterable[Params], **more: Any) -> None:
        """As psycopg's."""
        super().executemany(_escaped(query), params_seq, **more)


class _Escaped(sql.Composable):
    """A name or literal in whose text each `%` is doubled."""

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        text: bytes = self._obj.as_bytes(context)
        return text.replace(b"%", b"%%")


def _escaped(query: Any) -> Any:
    if isinstance(query, sql.Composed):
        return sql.Composed([_escaped(part) for part in query])
    if isinstance(query, sql.Identifier | sql.Literal):
        return _Escaped(query)
    return query
