"""A transaction over a tenant's raw tables, with empty tables for those never loaded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import ceil
from typing import Final

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import HISTORY_COLUMNS, Column
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import tables_of
from pipedrive_pipeline.warehouse.database import Warehouse, set_local

Columns = tuple[tuple[str, str], ...]  # name and type
HOLD_WAIT_SECONDS: Final = 60
LOAD_ID: Final = ("_dlt_load_id", "text")
ADDED_COLUMNS: Final[Columns] = (("extra", "jsonb"), LOAD_ID)
DELETIONS: Final[Columns] = (
    ("entity", "text"),
    ("id", "text"),
    ("reason", "text"),
    ("merged_into", "text"),
    ("seen_at", "timestamptz"),
    LOAD_ID,
)


@contextmanager
def raw_transaction(
    warehouse: Warehouse, scope: Scope, *, is_held: bool = False
) -> Iterator[psycopg.Connection]:
    """Yields a transaction with the tenant's raw tables on the search_path, none missing.

    Args:
        warehouse: has the tables.
        scope: whose tables, of which system.
        is_held: what a load wants to write there waits until the transaction ends. Otherwise each
            statement sees what is committed by then.

    Raises:
        Contended: a load had one of the tables all the time.
        Superseded: the warehouse belongs to one run, and another run has begun since.
    """
    with warehouse.transaction(scope.tenant, ("pg_temp", scope.raw_schema)) as connection:
        tables = _tables(scope.system)
        present = tables.keys() & tables_of(connection, scope.raw_schema)
        if is_held and present:
            _hold(connection, [sql.Identifier(scope.raw_schema, name) for name in sorted(present)])
        _create_missing(connection, {name: tables[name] for name in tables.keys() - present})
        yield connection


def _tables(system: str) -> Mapping[str, Columns]:
    """Returns a system's raw tables with their columns, the histories and the deletion marks."""
    entities = registry.system(system).entities
    declared = {
        entity.name: (*_types((entity.key, *entity.columns)), *ADDED_COLUMNS) for entity in entities
    }
    histories = {
        entity.history_table: (
            *_types((*HISTORY_COLUMNS, *entity.history_columns)),
            LOAD_ID,
        )
        for entity in entities
        if entity.history
    }
    return {**declared, **histories, "deletions": DELETIONS}


def _types(columns: Iterable[Column]) -> Columns:
    return tuple((column.name, column.type.value) for column in columns)


def _hold(connection: psycopg.Connection, tables: Sequence[sql.Identifier]) -> None:
    """Keeps others from writing to these tables until the transaction ends.

    A load that waits for one of them may have another, so nothing is held while we wait: we wait
    for each table alone, and ask for all of them again. Postgres ends an autovacuum only where
    somebody waits for its table.
    """
    lock = "lock table {} in share mode"
    all_at_once = sql.SQL(lock + " nowait").format(sql.SQL(", ").join(tables))
    give_up_at = time.monotonic() + HOLD_WAIT_SECONDS
    while (left_seconds := give_up_at - time.monotonic()) > 0:
        with suppress(errors.LockNotAvailable), connection.transaction():
            connection.execute(all_at_once)
            return
        for table in tables:
            with connection.transaction(force_rollback=True):
                set_local(connection, "lock_timeout", f"{ceil(left_seconds * 1000)}ms")
                connection.execute(sql.SQL(lock).format(table))
    connection.execute(all_at_once)


def _create_missing(connection: psycopg.Connection, tables: Mapping[str, Columns]) -> None:
    """Creates these tables as temporary ones, empty, and dropped on commit.

    A tenant without persons, or whose first load failed after the organizations, has marts too.
    `pg_temp` comes first on the search_path, so that they stay empty if a load makes the real ones.
    """
    created = [
        sql.SQL("create temporary table {} ({}) on commit drop").format(
            sql.Identifier("pg_temp", name),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
                for column, kind in columns
            ),
        )
        for name, columns in tables.items()
    ]
    if created:
        connection.execute(sql.SQL("; ").join(created))
