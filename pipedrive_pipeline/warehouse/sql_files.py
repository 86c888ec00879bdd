"""Finds and reads the files of `sql/`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from psycopg import sql

from pipedrive_pipeline.settings import PROJECT_ROOT

SQL_ROOT = PROJECT_ROOT / "sql"


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

    @property
    def query(self) -> sql.SQL:
        """The text for use as a sub-select: without the final semicolon."""
        # A file of this project is as good as a literal.
        return sql.SQL(self.text.rstrip().removesuffix(";"))


def schema_files() -> tuple[SqlFile, ...]:
    """The files that create control tables and marts, in the order of application; never empty."""
    return _folder("schema")


def function_files() -> tuple[SqlFile, ...]:
    """The files with the database's functions, by name."""
    return _folder("functions")


def mart_file(name: str) -> SqlFile:
    """The select of one mart."""
    return _read(SQL_ROOT / "marts" / f"{name}.sql")


def audit_files(mart: str) -> tuple[SqlFile, ...]:
    """The audits of one mart, by name: the files that begin with the mart's."""
    return tuple(file for file in _folder("audits") if file.name.startswith(f"{mart}_"))


def view_files() -> tuple[SqlFile, ...]:
    """The views of one tenant, by name."""
    return _folder("views")


def _folder(name: str) -> tuple[SqlFile, ...]:
    return tuple(_read(path) for path in _sorted((SQL_ROOT / name).glob("*.sql")))


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.name)


@cache
def _read(path: Path) -> SqlFile:
    return SqlFile(name=path.stem, text=path.read_text(encoding="utf-8"))
