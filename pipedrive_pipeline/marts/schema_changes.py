"""What declared marts have and the database lacks: the next file of `sql/schema`, or dropped parts.

A test compares both, and writes the file with ``UPDATE_DOCS=1``. A file that was merged is never
edited: databases that have applied it would not get the change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import api_ddl, ddl
from pipedrive_pipeline.marts.declared import MARTS, SCHEMA, DeclaredColumn, Generated, Mart
from pipedrive_pipeline.warehouse.catalog import Relation, relations
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import head, is_newer
from pipedrive_pipeline.warehouse.sql_files import SQL_ROOT

BEGINNING: Final = "-- crm: "  # of a file that this module wrote
NAMED_MARTS: Final = 3  # at most, in the name of a file
FOLDER: Final[Path] = SQL_ROOT / "schema"


def changes(connection: psycopg.Connection, marts: Sequence[Mart] = MARTS) -> str:
    """Returns the statements that give `crm` what is declared; empty if it has all of it.

    Columns that are not declared are an app's, and stay.

    Raises:
        BadInput: a column has another type than declared; such a change is written by hand.
    """
    tables = {table.name: table for table in relations(connection, SCHEMA)}
    new = [each for each in marts if each.name not in tables]
    statements = [ddl.table_text(each) for each in new]
    statements += [ddl.foreign_key(each, link) for each in new for link in each.links]
    for each in marts:
        if each.name in tables:
            statements += _column_changes(each, tables[each.name])
    if new:
        statements.append(ddl.live_rows(marts))
    statements += _api_changes(connection, marts)
    return "\n".join(statements)


def missing(connection: psycopg.Connection, marts: Sequence[Mart] = MARTS) -> list[str]:
    """Names the declared tables and columns that `crm` lacks, such as `crm.customers.website`."""
    tables = {table.name: table for table in relations(connection, SCHEMA)}
    names: list[str] = []
    for each in marts:
        if each.name not in tables:
            names.append(f"{SCHEMA}.{each.name}")
            continue
        absent = _absent_columns(each, tables[each.name])
        names += [f"{SCHEMA}.{each.name}.{column.name}" for column in absent]
    return names


def restore(warehouse: Warehouse) -> list[str]:
    """Makes the tables and columns of `crm` that somebody dropped, empty, and returns their names.

    A database of a newer release is left alone: it may have given them up.

    Raises:
        BadInput: a column has another type than declared; it is put right by hand.
    """
    if is_newer(warehouse):
        return []
    with warehouse.transaction() as connection:
        names = missing(connection)
        if names:
            connection.execute(changes(connection).encode())
    return names


def write_next(
    connection: psycopg.Connection, folder: Path = FOLDER, marts: Sequence[Mart] = MARTS
) -> Path | None:
    """Writes the file with the next number and returns its path; None if nothing has changed.

    It is called after the marts that it changes. Before it is merged, it may be given another name,
    or deleted and written again.
    """
    text = changes(connection, marts)
    if not text:
        return None
    changed = [each.name for each in marts if changes(connection, (each,))]
    name = "_".join(changed) if len(changed) <= NAMED_MARTS else "marts"
    path = folder / f"{int(head()) + 1:04}_{name}.sql"
    path.write_text(
        _HEADER.format(beginning=BEGINNING, title=", ".join(changed), needs=head()) + text, "utf-8"
    )
    return path


def _absent_columns(each: Mart, table: Relation) -> list[DeclaredColumn | Generated]:
    existing = {column.name for column in table.columns}
    return [column for column in each.all_columns if column.name not in existing]


def _column_changes(each: Mart, table: Relation) -> Iterator[str]:
    existing = {column.name: column for column in table.columns}
    added = _absent_columns(each, table)
    for column in each.all_columns:
        known = existing.get(column.name)
        if known and known.type != ddl.TYPE_NAMES.get(column.type, column.type):
            raise BadInput(
                f"{SCHEMA}.{each.name}.{column.name} is {known.type} and is declared as "
                f"{column.type}: write this file of sql/schema by hand."
            )
    for column in added:
        yield f"alter table {SCHEMA}.{each.name}\n    add column {ddl.column_text(column)};\n"
    for column in each.all_columns:
        known = existing.get(column.name)
        if known is None or known.comment != column.comment:
            yield ddl.comment_text(each, column)
    names = {column.name for column in added}
    yield from (text + "\n" for text in ddl.column_indexes(each, names))
    yield from (ddl.foreign_key(each, link) for link in each.links if link.name in names)


def _api_changes(connection: psycopg.Connection, marts: Sequence[Mart]) -> Iterator[str]:
    """Yields the indexes and policies of the CRM API that are missing."""
    existing = {row[0] for row in connection.execute(_INDEXES_AND_BOUND_TABLES, {"crm": SCHEMA})}
    for each in marts:
        for name, statement in api_ddl.statements(each).items():
            if name not in existing:
                yield statement + "\n"


_INDEXES_AND_BOUND_TABLES: Final = """
select pg_indexes.indexname
from pg_catalog.pg_indexes
where pg_indexes.schemaname = %(crm)s
union all
select pg_policies.tablename
from pg_catalog.pg_policies
where pg_policies.schemaname = %(crm)s
    and pg_policies.policyname = 'app'
    and pg_policies.qual like '%%key_user()%%'
"""
_HEADER: Final = """\
{beginning}{title}.
-- What: tables and columns of crm that are declared in marts/declared.py and were not there before.
-- Reads: nothing.
-- Needs: the files up to {needs}.

"""
