"""A transaction over a tenant's raw tables, with empty tables for those never loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import HISTORY_COLUMNS, Column
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

Columns = tuple[tuple[str, str], ...]  # name and type
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
def raw_transaction(warehouse: Warehouse, scope: Scope) -> Iterator[psycopg.Connection]:
    """Yields a transaction with the tenant's raw tables on the search_path, none missing.

    Raises:
        Superseded: the warehouse belongs to one run, and another run has begun since.
    """
    with warehouse.transaction(scope.tenant, (scope.raw_schema, "pg_temp")) as connection:
        _create_missing(connection, scope.raw_schema, _tables(scope.system))
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


def _create_missing(
    connection: psycopg.Connection, schema: str, tables: Mapping[str, Columns]
) -> None:
    """Creates empty temporary tables for those that ``schema`` lacks, dropped on commit.

    A tenant without persons, or whose first load failed after the organizations, has marts too.
    The tables are found because `pg_temp` follows the raw schema on the search_path.
    """
    rows = connection.execute(
        "select pg_tables.tablename from pg_catalog.pg_tables where pg_tables.schemaname = %s",
        (schema,),
    )
    present = {row[0] for row in rows}
    created = [
        sql.SQL("create temporary table {} ({}) on commit drop").format(
            sql.Identifier("pg_temp", name),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
                for column, kind in columns
            ),
        )
        for name, columns in tables.items()
        if name not in present
    ]
    if created:
        connection.execute(sql.SQL("; ").join(created))
