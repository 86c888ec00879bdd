"""Parents whose lists of children are still to be read, by child entity.

They lie in the tenant's staging schema. A parent is noted before its row is loaded and removed
after its children are committed, so that a crash makes a list be read again and never forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from psycopg import sql

from pipedrive_pipeline.connectors.contract import Children, Column, Entity, Tombstone
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.own_tables import OwnTable
from pipedrive_pipeline.ingest.values import typed_keys
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

TABLE = OwnTable(
    "staging",
    "due_parents",
    """
create table {table} (
    entity text not null,
    id text not null,
    primary key (entity, id)
);
comment on table {table} is 'Parents whose lists of children are still to be read.';
""",
)


class DueParents:
    """The due parents of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope, entities: Iterable[Entity]) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._entities = {entity.name: entity for entity in entities}
        self._table = TABLE.of(scope)

    def children_of(self, parent: Entity) -> list[Entity]:
        """The entities that are read as lists of this one's records."""
        return [
            entity
            for entity in self._entities.values()
            if isinstance(entity.read, Children) and entity.read.of == parent.name
        ]

    def note(self, parents: Batch) -> None:
        """Notes parents that raw lacks, holds in another version or holds as gone.

        Of parents without a version, every one that is read counts as changed. `Children.due_by`
        may name another column than that of the version.
        """
        if parents.table.num_rows:
            for child in self.children_of(parents.entity):
                self._note(child, parents)

    def _note(self, child: Entity, parents: Batch) -> None:
        entity = parents.entity
        with self._warehouse.transaction() as connection:
            is_in_raw = is_there(connection, self._scope.raw_schema, entity.name)
            due_by = _due_by(child)
            version = due_by or entity.version_column
            statement = sql.SQL(_NOTE_CHANGED if is_in_raw and version else _NOTE)
            connection.execute(
                statement.format(
                    table=self._table,
                    raw=sql.Identifier(self._scope.raw_schema, entity.name),
                    deletions=sql.Identifier(self._scope.raw_schema, "deletions"),
                    key=sql.Identifier(entity.key.name),
                    version=sql.Identifier(version or entity.key.name),
                    key_type=sql.SQL(entity.key.type.value),
                    type=sql.SQL(_column_of(entity, version or entity.key.name).type.value),
                    is_worth_it=sql.SQL("given.version is not null" if due_by else "true"),
                ),
                {
                    "child": child.name,
                    "parent": entity.name,
                    "ids": parents.json_texts(entity.key.name),
                    "versions": parents.json_texts(version or entity.key.name),
                },
            )

    def note_all(self, child: Entity) -> None:
        """Notes every parent that raw holds, whose list is worth reading and that is not gone."""
        if not isinstance(child.read, Children):
            return
        parent = self._entities[child.read.of]
        with self._warehouse.transaction() as connection:
            connection.execute(
                sql.SQL("delete from {} where entity = %s").format(self._table), [child.name]
            )
            if is_there(connection, self._scope.raw_schema, parent.name):
                statement = sql.SQL(_NOTE_ALL).format(
                    table=self._table,
                    raw=sql.Identifier(self._scope.raw_schema, parent.name),
                    deletions=sql.Identifier(self._scope.raw_schema, "deletions"),
                    key=sql.Identifier(parent.key.name),
                    is_worth_it=sql.SQL("raw.{} is not null").format(sql.Identifier(due_by))
                    if (due_by := _due_by(child))
                    else sql.SQL("true"),
                )
                connection.execute(statement, {"child": child.name, "parent": parent.name})

    def due(self, child: Entity) -> tuple[str, ...]:
        """The ids of the parents whose lists are due, in a fixed order.

        Those that `Children.first` names come first, then those with the greatest value in the
        column of `Children.due_by`.
        """
        read = child.read
        with self._warehouse.transaction() as connection:
            query = sql.SQL(_DUE).format(table=self._table)
            if isinstance(read, Children) and (read.due_by or read.first):
                parent = self._entities[read.of]
                if is_there(connection, self._scope.raw_schema, parent.name):
                    query = self._ordered(read, parent)
            return tuple(row[0] for row in connection.execute(query, {"child": child.name}))

    def due_among(self, child: Entity, ids: Sequence[str]) -> list[str]:
        """Those of these parents whose lists are due."""
        query = sql.SQL("select id from {} where entity = %s and id = any(%s) order by id")
        with self._warehouse.transaction() as connection:
            rows = connection.execute(query.format(self._table), [child.name, list(ids)])
            return [row[0] for row in rows]

    def _ordered(self, read: Children, parent: Entity) -> sql.Composed:
        column, value = read.first or (parent.key.name, None)
        return sql.SQL(_DUE_IN_ORDER).format(
            table=self._table,
            raw=sql.Identifier(self._scope.raw_schema, parent.name),
            key=sql.Identifier(parent.key.name),
            key_type=sql.SQL(parent.key.type.value),
            first=sql.Identifier("raw", column),
            value=sql.Literal(value),
            due_by=sql.Identifier("raw", read.due_by or parent.key.name),
        )

    def remove(self, child: Entity, ids: Sequence[str]) -> None:
        """Removes parents whose children are committed."""
        statement = sql.SQL("delete from {} where entity = %s and id = any(%s)").format(self._table)
        with self._warehouse.transaction() as connection:
            connection.execute(statement, [child.name, list(ids)])

    def listed_in_raw(self, child: Entity, parents: Sequence[str]) -> list[str]:
        """The keys of the children of these parents in raw that are not marked as gone."""
        if not isinstance(child.read, Children) or not parents:
            return []
        column = _column_of(child, child.read.column)
        with self._warehouse.transaction() as connection:
            if not is_there(connection, self._scope.raw_schema, child.name):
                return []
            query = sql.SQL(_CHILDREN).format(
                raw=sql.Identifier(self._scope.raw_schema, child.name),
                deletions=sql.Identifier(self._scope.raw_schema, "deletions"),
                key=sql.Identifier(child.key.name),
                parent=sql.Identifier(child.read.column),
                type=sql.SQL(column.type.value),
            )
            values = {"child": child.name, "parents": typed_keys(column, parents)}
            return [row[0] for row in connection.execute(query, values)]

    def mark_orphans(self, deletions: Deletions, parent: Entity, gone: Sequence[str]) -> None:
        """Marks the children of parents that are gone as deleted."""
        for child in self.children_of(parent):
            orphans = self.listed_in_raw(child, gone)
            deletions.mark(child, [Tombstone(key, "deleted") for key in orphans])


def affordable(
    child: Entity, parents: Sequence[str], tokens_left: Callable[[], int]
) -> tuple[str, ...]:
    """The parents whose lists a run may read with its tokens; the others stay due."""
    read = child.read
    if not isinstance(read, Children) or read.share >= 1:
        return tuple(parents)
    calls = int(tokens_left() * read.share) // child.cost.tokens_per_page
    return tuple(parents[: calls * read.batch])


def _due_by(child: Entity) -> str | None:
    return child.read.due_by if isinstance(child.read, Children) else None


def _column_of(entity: Entity, name: str) -> Column:
    return {column.name: column for column in (entity.key, *entity.columns)}[name]


# Raw is compared in the types of its columns, so that their indexes are used: cast to text, each
# page of parents and each batch of lists read a whole table of raw.
_NOTE = """
insert into {table} (entity, id)
select %(child)s, given.id
from rows from (
    jsonb_array_elements_text(%(ids)s),
    jsonb_array_elements_text(%(versions)s)
) as given (id, version)
where {is_worth_it}
on conflict do nothing
"""

_DUE = """
select due.id from {table} as due where due.entity = %(child)s order by due.id
"""

_DUE_IN_ORDER = """
select due.id
from {table} as due
left join {raw} as raw on raw.{key} = due.id::{key_type}
where due.entity = %(child)s
order by
    coalesce({first}::text = {value}, false) desc,
    {due_by} desc nulls last,
    due.id asc
"""

_NOTE_CHANGED = """
insert into {table} (entity, id)
select %(child)s, given.id
from rows from (
    jsonb_array_elements_text(%(ids)s),
    jsonb_array_elements_text(%(versions)s)
) as given (id, version)
left join {raw} as raw on raw.{key} = given.id::{key_type}
where {is_worth_it}
    and (
        raw.{key} is null
        or raw.{version} is distinct from given.version::{type}
        or exists (
            select from {deletions} as deletions
            where deletions.entity = %(parent)s and deletions.id = given.id
        )
    )
on conflict do nothing
"""

_NOTE_ALL = """
insert into {table} (entity, id)
select %(child)s, raw.{key}::text
from {raw} as raw
where {is_worth_it} and not exists (
    select from {deletions} as deletions
    where deletions.entity = %(parent)s and deletions.id = raw.{key}::text
)
"""

_CHILDREN = """
select raw.{key}::text
from {raw} as raw
where raw.{parent} = any(%(parents)s::{type}[])
    and not exists (
        select from {deletions} as deletions
        where deletions.entity = %(child)s and deletions.id = raw.{key}::text
    )
order by raw.{key}
"""
