"""Raw's history: the former values of columns that an entity declares in `Entity.history`.

The table ``<entity>_history`` has one row per version of a record that differs from the version
before it in one of those columns. A row is added in the transaction that writes the version to raw,
so that no crash loses or doubles one; a version that raw does not take is not added either. A read
of everything leaves the table as it is.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import HISTORY_COLUMNS, Entity
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

LOAD_ID: Final = "_dlt_load_id"
ORDER: Final = HISTORY_COLUMNS[0].name  # by it, a table of raw is known as a history


class HistoryColumns(TypedDict):
    """The columns of a history by their role; dlt keeps them as a hint of the entity's table."""

    table: str
    key: str
    kept: list[str]  # a version that differs in one of them is added
    copied: list[str]  # all that come from the record


def history_columns(entity: Entity) -> HistoryColumns:
    """Returns the columns of an entity's history."""
    return HistoryColumns(
        table=entity.history_table,
        key=entity.key.name,
        kept=list(entity.history),
        copied=[column.name for column in entity.history_columns],
    )


class Histories:
    """The history tables of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._prepared: set[str] = set()

    def prepare(self, entity: Entity) -> None:
        """Makes the table of an entity that declares a history, with the versions that raw has."""
        if not entity.history or entity.name in self._prepared:
            return
        with self._warehouse.transaction() as connection:
            if not is_there(connection, self._scope.raw_schema, entity.history_table):
                self._create(connection, entity)
            self._add_columns(connection, entity)
        self._prepared.add(entity.name)

    def _create(self, connection: psycopg.Connection, entity: Entity) -> None:
        schema, table = self._scope.raw_schema, entity.history_table
        columns = [(column.name, column.type.value) for column in entity.history_columns]
        connection.execute(
            sql.SQL(_TABLE).format(
                schema=sql.Identifier(schema),
                table=sql.Identifier(schema, table),
                columns=sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                    for name, kind in columns
                ),
                key=sql.Identifier(entity.key.name),
                comment=sql.Literal(
                    f"{entity.label}: former values of {', '.join(entity.history)}."
                ),
            )
        )
        if is_there(connection, schema, entity.name):
            names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
            connection.execute(
                sql.SQL(_FIRST_VERSIONS).format(
                    history=sql.Identifier(schema, table),
                    raw=sql.Identifier(schema, entity.name),
                    columns=names,
                    key=sql.Identifier(entity.key.name),
                )
            )

    def _add_columns(self, connection: psycopg.Connection, entity: Entity) -> None:
        """Adds columns that the entity declares since the table was made."""
        schema, table = self._scope.raw_schema, entity.history_table
        rows = connection.execute(_COLUMNS, [schema, table])
        present = {row[0] for row in rows}
        for column in entity.history_columns:
            if column.name not in present:
                connection.execute(
                    sql.SQL("alter table {} add column {} {}").format(
                        sql.Identifier(schema, table),
                        sql.Identifier(column.name),
                        sql.SQL(column.type.value),
                    )
                )


def appending(
    names: Any, *, raw_schema: str, source: tuple[str, str], load_id: str | None = None
) -> str:
    """Returns the statement that adds versions to a history; it runs where raw takes them.

    Args:
        names: `HistoryColumns`, as dlt gives them back.
        raw_schema: of the history.
        source: schema and table of the new versions.
        load_id: only rows of this load are new; None: all rows of the source are.
    """
    columns: HistoryColumns = names
    of_load: sql.Composable = sql.SQL("true")
    if load_id is not None:
        of_load = sql.SQL("newest.{} = {}").format(sql.Identifier(LOAD_ID), sql.Literal(load_id))
    statement = sql.SQL(_APPEND).format(
        history=sql.Identifier(raw_schema, columns["table"]),
        source=sql.Identifier(*source),
        key=sql.Identifier(columns["key"]),
        columns=_listed(columns["copied"]),
        newest_columns=_listed(columns["copied"], "newest"),
        newest_kept=_listed(columns["kept"], "newest"),
        last_kept=_listed(columns["kept"], "last"),
        of_load=of_load,
    )
    return " ".join(statement.as_string(None).split())


def _listed(names: list[str], table: str | None = None) -> sql.Composed:
    prefix = (table,) if table else ()
    return sql.SQL(", ").join(sql.Identifier(*prefix, name) for name in names)


_TABLE = """
create schema if not exists {schema};
create table {table} (
    history_id bigint generated always as identity primary key,
    {columns},
    read_at timestamptz not null default now(),
    origin text not null default 'read',
    _dlt_load_id text not null
);
create index on {table} ({key}, history_id);
create index on {table} (_dlt_load_id);
comment on table {table} is {comment};
"""

_FIRST_VERSIONS = """
insert into {history} ({columns}, read_at, _dlt_load_id)
select {columns}, coalesce(pipeline.loaded_at(_dlt_load_id), now()), _dlt_load_id
from {raw}
order by {key} asc
"""

_COLUMNS = """
select columns.column_name
from information_schema.columns
where columns.table_schema = %s
    and columns.table_name = %s
"""

_APPEND = """
insert into {history} ({columns}, _dlt_load_id)
select {newest_columns}, newest._dlt_load_id
from {source} as newest
left join lateral (
    select last.*
    from {history} as last
    where last.{key} = newest.{key}
    order by last.history_id desc
    limit 1
) as last on true
where {of_load}
    and (last.history_id is null or ({newest_kept}) is distinct from ({last_kept}))
order by newest.{key} asc
"""
