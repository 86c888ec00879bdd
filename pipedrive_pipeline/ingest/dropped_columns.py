"""Tables and columns that somebody dropped from raw or staging, and how they come back.

dlt compares a table with its note of it only where the note is new. Without a column every load of
the table would be refused from then on; a table that is gone would be made again, with what changed
since the last read alone. So a lost column is added again, and the position of an entity that lost
a column or its table is deleted with it: the next read of the entity reads everything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.ingest import history, read_positions
from pipedrive_pipeline.ingest.few_rows import COLUMN_TYPES
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import columns_of, is_there
from pipedrive_pipeline.warehouse.database import Warehouse

NOTES = "_dlt_version"  # dlt's notes of the tables that it made
log = logging.getLogger(__name__)


def restore_raw(warehouse: Warehouse, scope: Scope, entities: tuple[Entity, ...]) -> frozenset[str]:
    """Adds lost columns, forgets positions of what was lost, and returns the tables that exist."""
    with warehouse.transaction() as connection:
        tables = columns_of(connection, scope.raw_schema)
        absent = {
            entity.name: [
                column for column in entity.columns if column.name not in tables[entity.name]
            ]
            for entity in entities
            if entity.name in tables
        }
        noted = _noted(connection, scope) if any(absent.values()) and NOTES in tables else {}
        lost = {
            name: [column for column in columns if column.name in noted.get(name, ())]
            for name, columns in absent.items()
        }
        for name, columns in lost.items():
            for column in columns:
                connection.execute(
                    sql.SQL(
                        "alter table {0} add column {1} {2}; comment on column {0}.{1} is {3}"
                    ).format(
                        sql.Identifier(scope.raw_schema, name),
                        sql.Identifier(column.name),
                        sql.SQL(COLUMN_TYPES[column.type]),
                        sql.Literal(column.description),
                    )
                )
        damaged = [name for name, columns in lost.items() if columns]
        gone = [entity.name for entity in entities if entity.name not in tables]
        forgotten = connection.execute(
            sql.SQL("delete from {} where entity = any(%s) returning entity").format(
                read_positions.TABLE.of(scope)
            ),
            [[*damaged, *gone]],
        ).fetchall()
    for (name,) in forgotten:
        log.warning("%s: raw has lost rows or values of %s; all is read again", scope, name)
    return frozenset(tables)


def restore_staging(warehouse: Warehouse, scope: Scope, own_tables: Sequence[str]) -> None:
    """Lets dlt make staging tables and columns that somebody dropped.

    dlt looks at the tables only where its own note of them is not the newest. Without one it makes
    what is missing; with one every load of the tenant would be refused from then on.

    Args:
        warehouse: the tenant's database.
        scope: the tenant and system.
        own_tables: names of the tables in the raw schema that dlt has no part in.
    """
    raw, staging = scope.raw_schema, scope.staging_schema
    with warehouse.transaction() as connection:
        if not is_there(connection, staging, NOTES):
            return
        names = {"raw": raw, "staging": staging, "history": history.ORDER, "own": own_tables}
        row = connection.execute(_IS_ANY_MISSING, names).fetchone()
        if row and row[0]:
            note = sql.Identifier(staging, NOTES)
            connection.execute(sql.SQL("delete from {}").format(note))


def _noted(connection: psycopg.Connection, scope: Scope) -> dict[str, Any]:
    """The columns that dlt made, by table, as its newest note says; none if it cannot be read."""
    row = connection.execute(
        sql.SQL("select schema from {} order by inserted_at desc limit 1").format(
            sql.Identifier(scope.raw_schema, NOTES)
        )
    ).fetchone()
    try:
        tables = json.loads(row[0])["tables"] if row else {}
        return {name: table["columns"] for name, table in tables.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


# The histories are ours too, and dlt's own tables have no part in a load.
_IS_ANY_MISSING = """
select exists (
    select
    from information_schema.columns as raw
    left join information_schema.columns as staging
        on staging.table_schema = %(staging)s
        and staging.table_name = raw.table_name
        and staging.column_name = raw.column_name
    where raw.table_schema = %(raw)s
        and raw.table_name <> all(%(own)s)
        and raw.table_name !~ '^_dlt_'
        and staging.column_name is null
        and not exists (
            select from information_schema.columns as history
            where history.table_schema = raw.table_schema
                and history.table_name = raw.table_name
                and history.column_name = %(history)s
        )
)
"""
