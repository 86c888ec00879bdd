"""Finds and reads the files of `sql/`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from psycopg import sql

from pipedrive_pipeline.settings import PROJECT_ROOT

SQL_ROOT = PROJECT_ROOT / "sql"
# psql's variables: :name, :'name', :"name"; not a cast such as ::text.
VARIABLE: Final = re.compile(r"""(?<!:):(?:'([a-z_]+)'|"([a-z_]+)"|([a-z_]+))""")

HEADER_READS: Final = re.compile(r"^-- Reads: (.*?)^-- Needs:", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SqlFile:
    """One file: ``name`` is its name without suffix, ``text`` its whole content."""

    name: str
    text: str

    @property
    def number(self) -> str:
        """The number that a schema file begins with: ``0001``."""
        return self.name.partition("_")[0]

    @property
    def text_hash(self) -> str:
        """SHA-256 of the text."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """The first line of the header, without its marks."""
        return self.text.partition("\n")[0].removeprefix("--").strip()

    def reads(self, schema: str) -> tuple[str, ...]:
        """The tables of a schema that `Reads` in the header names, in order."""
        header = HEADER_READS.search(self.text)
        return tuple(re.findall(rf"\b{schema}\.([a-z_]+)", header[1])) if header else ()

    @property
    def query(self) -> sql.SQL:
        """The text for use as a sub-select: without the final semicolon."""
        # A file of this project is as good as a literal.
        return sql.SQL(self.text.rstrip().removesuffix(";"))

    def filled(self, variables: Mapping[str, sql.Composable]) -> sql.Composed:
        """Returns the query with a value for each of psql's variables in it.

        Raises:
            KeyError: the file names a variable that has no value.
        """
        return sql.Composed(list(self._parts(variables)))

    def _parts(self, variables: Mapping[str, sql.Composable]) -> Iterator[sql.Composable]:
        lines = [line for line in self.text.splitlines() if not line.startswith("--")]
        text, end = "\n".join(lines).rstrip().removesuffix(";"), 0
        for variable in VARIABLE.finditer(text):
            yield sql.SQL(text[end : variable.start()])
            yield variables[variable[1] or variable[2] or variable[3]]
            end = variable.end()
        yield sql.SQL(text[end:])


def schema_files() -> tuple[SqlFile, ...]:
    """The files that create control tables and marts, in the order of application; never empty."""
    return _folder("schema")


def function_files() -> tuple[SqlFile, ...]:
    """The files with the database's functions, by name."""
    return _folder("functions")


def mart_file(name: str) -> SqlFile:
    """A file of `sql/marts`, by its path in there without suffix."""
    return read_sql(SQL_ROOT / "marts" / f"{name}.sql")


def sink_file(name: str) -> SqlFile:
    """A template of `sql/sinks`, by its name without suffix."""
    return read_sql(SQL_ROOT / "sinks" / f"{name}.sql")


def audit_files() -> tuple[SqlFile, ...]:
    """The audits, which hold for every mart, by name."""
    return _folder("audits")


def view_files() -> tuple[SqlFile, ...]:
    """The views of one tenant, by name."""
    return _folder("views")


def view_function_files() -> tuple[SqlFile, ...]:
    """The functions of one tenant that read its views or are read by them, by name."""
    return _folder("views/functions")


def _folder(name: str) -> tuple[SqlFile, ...]:
    return tuple(read_sql(path) for path in _sorted((SQL_ROOT / name).glob("*.sql")))


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.name)


@cache
def read_sql(path: Path) -> SqlFile:
    """Reads one file."""
    return SqlFile(name=path.stem, text=path.read_text(encoding="utf-8"))
