"""Every file of `sql/schema` as an Alembic revision that follows the file before it.

Alembic usually reads a folder of Python modules; ours would contain a file's name each and nothing
else, so they are made here. This is a module of its own because Alembic takes 0.3 s to import and
is seldom needed. Source: https://alembic.sqlalchemy.org/en/latest/api/runtime.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psycopg
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from alembic.script.revision import RevisionMap
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from pipedrive_pipeline.warehouse.sql_files import SQL_ROOT, SqlFile, schema_files


def upgrade(
    connection: psycopg.Connection,
    *,
    functions: Sequence[SqlFile],
    version_table: str,
    version_schema: str,
) -> None:
    """Applies these functions, then missing files, in the connection's own transaction."""
    scripts = _scripts()
    revision_map = RevisionMap(lambda: scripts)
    if revision_map.heads != (scripts[-1].revision,):  # reading it also connects the revisions
        raise ValueError("the files of sql/schema do not form one line")

    def missing(applied: tuple[str, ...], _context: MigrationContext) -> list[MigrationStep]:
        newest = max(applied, default="")
        return [
            MigrationStep.upgrade_from_script(revision_map, script)
            for script in scripts
            if script.revision > newest
        ]

    with _sqlalchemy(connection) as bind:
        context = MigrationContext.configure(
            bind,
            opts={
                "fn": missing,
                "version_table": version_table,
                "version_table_schema": version_schema,
            },
        )
        _apply_functions(connection, functions)
        # Past SQLAlchemy, which would read `%` and `:name` in a file as parameters.
        context.run_migrations(driver_connection=connection)


def _apply_functions(connection: psycopg.Connection, files: Sequence[SqlFile]) -> None:
    # A body may name a table that a file of sql/schema makes later, in the same transaction.
    connection.execute("set local check_function_bodies = off")
    for file in files:
        connection.execute(file.text.encode())
        connection.execute(_APPLIED, (file.name, file.text_hash))
    connection.execute("set local check_function_bodies = on")


_APPLIED = """
insert into integration.function_files (name, text_hash, applied_at)
values (%s, %s, clock_timestamp())
on conflict (name, text_hash) do update
set applied_at = excluded.applied_at
"""


@contextmanager
def _sqlalchemy(connection: psycopg.Connection) -> Iterator[Connection]:
    """The psycopg connection as a SQLAlchemy connection in a transaction, closed at the end."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=NullPool)
    try:
        with engine.connect() as bind, bind.begin():
            yield bind
    except DBAPIError as error:
        if error.orig is None:
            raise
        raise error.orig from error


def _scripts() -> list[Script]:
    files = schema_files()
    before = (None, *(file.number for file in files))
    return [_script(file, former) for file, former in zip(files, before, strict=False)]


def _script(file: SqlFile, former: str | None) -> Script:
    def apply(driver_connection: psycopg.Connection) -> None:
        driver_connection.execute(file.text.encode())

    module: Any = ModuleType(file.name, file.title)
    module.down_revision = former
    module.upgrade = apply
    return Script(module, file.number, SQL_ROOT / "schema" / f"{file.name}.sql")
