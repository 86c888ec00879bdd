"""Several questions in one: what many programs ask for goes to the server and back once.

Belongs here: selects put side by side, whose rows Postgres writes as JSON and msgspec reads into
types. Does not belong here: any select. Rests on
https://www.postgresql.org/docs/current/functions-json.html and
https://jcristharif.com/msgspec/usage.html.

For one question psycopg works 0.06 ms, most of it in Python: a cursor, the parameters, each value
of each row. Three side by side take it 0.05 ms together, one after the other 0.19.
"""

from __future__ import annotations

import re
from typing import Generic, LiteralString, TypeVar

import psycopg
from msgspec import Struct
from msgspec.json import Decoder

Answers = TypeVar("Answers", bound=Struct)

_PARAMETER = re.compile(r"%\((\w+)\)s")


class SideBySide(Generic[Answers]):
    """Selects by name, with parameters such as ``%(tenant)s`` and no other percent sign.

    ``answers`` has a list of rows under each of the names; a row's fields are its select's columns.
    """

    def __init__(self, answers: type[Answers], **selects: LiteralString) -> None:
        self._decoder = Decoder(answers)
        lists = ", ".join(f"'{name}', {_rows(select)}" for name, select in selects.items())
        query = f"select json_build_object({lists})::text"
        self._names = list(dict.fromkeys(_PARAMETER.findall(query)))
        # In Postgres's own spelling: psycopg reads a query of more than 4,096 characters anew each
        # time, for 0.1 ms. In bytes: their hash, by which it is prepared, is kept.
        self._query = _PARAMETER.sub(self._numbered, query).encode()

    def ask(self, connection: psycopg.Connection, **values: str) -> Answers:
        """The rows of each select, in its order; a list may be empty."""
        cursor = psycopg.RawCursor(connection)
        found = cursor.execute(self._query, [values[name] for name in self._names]).fetchone()
        assert found is not None  # noqa: S101 - it has no `from`
        return self._decoder.decode(found[0])

    def _numbered(self, parameter: re.Match[str]) -> str:
        return f"${self._names.index(parameter[1]) + 1}"


def _rows(select: LiteralString) -> str:
    return f"(select coalesce(json_agg(one), '[]') from ({select}) as one)"
