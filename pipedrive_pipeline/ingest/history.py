"""Raw's history: the former values of columns that an entity declares in `Entity.history`.

The table ``<entity>_history`` has one row per version of a record that differs from the version
before it in one of those columns. A row is added in the transaction that writes the version to raw,
so that no crash loses or doubles one; a version that raw does not take is not added either. A read
of everything leaves the table as it is.

Versions that a webhook's events tell are added apart, where they belong by the source's time of
change: an event may arrive after a later version was read.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import HISTORY_COLUMNS, Column, Entity
from pipedrive_pipeline.ingest.deletions import ANNOUNCE
from pipedrive_pipeline.ingest.sanitise import json_text
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

LOAD_ID: Final = "_dlt_load_id"
ORDER: Final = HISTORY_COLUMNS[0].name  # by it, a table of raw is known as a history
OF_AN_EVENT: Final = "webhook"  # the origin of a version that an event stated


@dataclass(frozen=True)
class EventVersion:
    """One version of a record that an event stated."""

    values: Mapping[str, Any]  # by column: all of `Entity.history_columns`
    actor_id: str | None  # the CRM user who made it


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

    def add_versions(self, entity: Entity, versions: Sequence[EventVersion]) -> None:
        """Adds versions where they belong in the order of changes, and announces them to the marts.

        Nothing is added of a version that is there already, or of a record that raw lacks.
        """
        stamp = entity.version_column
        if not versions or stamp is None:
            return
        self.prepare(entity)
        schema, load_id = self._scope.raw_schema, f"mark-{uuid.uuid4()}"
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            if not is_there(connection, schema, entity.name):
                return
            statement = _adding(entity, schema)
            given = [{**each.values, "actor_id": each.actor_id} for each in versions]
            added = connection.execute(
                statement, {"versions": Jsonb(given, dumps=json_text), "load_id": load_id}
            ).rowcount
            if added:
                connection.execute(
                    ANNOUNCE, [self._scope.tenant.slug, self._scope.system, [load_id]]
                )

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
                meanings=sql.SQL(" ").join(
                    _meaning(schema, table, column)
                    for column in (*HISTORY_COLUMNS, *entity.history_columns)
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
        for column in (*HISTORY_COLUMNS, *entity.history_columns):
            if column.name not in present:
                connection.execute(
                    sql.SQL("alter table {} add column {} {}; {}").format(
                        sql.Identifier(schema, table),
                        sql.Identifier(column.name),
                        sql.SQL(column.type.value),
                        _meaning(schema, table, column),
                    )
                )


def _meaning(schema: str, table: str, column: Column) -> sql.Composed:
    """The statement that says what a column of a history is."""
    return sql.SQL("comment on column {}.{} is {};").format(
        sql.Identifier(schema, table), sql.Identifier(column.name), sql.Literal(column.description)
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


def _adding(entity: Entity, raw_schema: str) -> sql.Composed:
    names = [column.name for column in entity.history_columns]
    return sql.SQL(_ADD).format(
        history=sql.Identifier(raw_schema, entity.history_table),
        raw=sql.Identifier(raw_schema, entity.name),
        key=sql.Identifier(entity.key.name),
        stamp=sql.Identifier(entity.version_column or ""),
        types=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type.value))
            for column in entity.history_columns
        ),
        columns=_listed(names),
        given_columns=_listed(names, "given"),
        last_columns=_listed(names, "last"),
        later_columns=_listed(names, "later"),
        kept=sql.SQL("jsonb_build_array({})").format(_listed([*entity.history])),
        origin=sql.Literal(OF_AN_EVENT),
    )


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
    actor_id text,
    _dlt_load_id text not null
);
create index on {table} ({key}, history_id);
create index on {table} (_dlt_load_id);
comment on table {table} is {comment};
comment on column {table}._dlt_load_id is 'The load that put it here.';
{meanings}
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

# Later versions are added again behind the event's, so that the order of the rows is that of the
# changes. `former` is the last row that stays, to compare with.
_ADD = """
with given as (
    select
        event.*,
        event_order.place
    from jsonb_array_elements(%(versions)s) with ordinality as event_order (item, place)
    cross join lateral jsonb_to_record(event_order.item) as event ({types}, actor_id text)
    where exists (select from {raw} as raw where raw.{key} = event.{key})
),

first_event as (
    select
        given.{key},
        min(given.{stamp}) as {stamp}
    from given
    group by given.{key}
),

later as (
    delete from {history} as history
    using first_event
    where history.{key} = first_event.{key}
        and history.{stamp} > first_event.{stamp}
    returning history.*
),

former as (
    select last.*
    from first_event
    cross join lateral (
        select history.*
        from {history} as history
        where history.{key} = first_event.{key}
            and (history.{stamp} > first_event.{stamp}) is not true
        order by history.history_id desc
        limit 1
    ) as last
),

versions as (
    select {last_columns}, 0 as part, 0 as place, null::timestamptz as read_at,
        null as origin, null as actor_id, null as _dlt_load_id
    from former as last
    union all
    select {later_columns}, 1, later.history_id, later.read_at,
        later.origin, later.actor_id, later._dlt_load_id
    from later
    union all
    select {given_columns}, 2, given.place, now(),
        {origin}, given.actor_id, %(load_id)s
    from given
),

compared as (
    select
        versions.*,
        {kept} is distinct from lag({kept}) over (
            partition by versions.{key}
            order by
                (versions.part > 0) asc,
                versions.{stamp} asc,
                versions.part asc,
                versions.place asc
        ) as is_other
    from versions
)

insert into {history} ({columns}, read_at, origin, actor_id, _dlt_load_id)
select {columns}, compared.read_at, compared.origin, compared.actor_id, compared._dlt_load_id
from compared
where compared.part = 1
    or (compared.part = 2 and compared.is_other)
order by
    compared.{key} asc,
    compared.{stamp} asc,
    compared.part asc,
    compared.place asc
"""
