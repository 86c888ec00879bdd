"""Erases records from raw, and keeps them out of it until they are edited at the source.

Rows, their history, what a load staged of them, marks and seen keys are erased in the caller's
transaction, so that nothing is half erased. An erased record is known by its key and the version
that was erased, and by nothing else. Any other version is an edit: it is read by a request that was
sent after the erasure, since both need the lock on raw. Its time stamp may well be smaller, where
the source's clock went back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:  # `tenants` needs no Arrow
    from pipedrive_pipeline.ingest.batches import Batch


class RawErasure:
    """Erasing records of one tenant and system in the caller's transaction."""

    def __init__(self, connection: psycopg.Connection, scope: Scope) -> None:
        self._connection, self._scope = connection, scope
        self._raw, self._staging = scope.raw_schema, scope.staging_schema
        self._deletions = sql.Identifier(self._raw, "deletions")

    def with_merged(self, entity: Entity, keys: Sequence[str]) -> list[str]:
        """These keys and the keys of all records that were merged into them."""
        parameters = {"entity": entity.name, "keys": list(keys)}
        return sorted(set(keys) | set(self._marks(_WITH_MERGED, parameters)))

    def marked(self, entity: Entity, keys: Sequence[str]) -> set[str]:
        """Those of these records that are marked as gone at the source."""
        return set(self._marks(_MARKED, {"entity": entity.name, "keys": list(keys)}))

    def aged(self, entity: Entity, days: int, limit: int) -> list[str]:
        """Records marked as deleted or merged for longer than so many days, the oldest first."""
        return self._marks(_AGED, {"entity": entity.name, "days": days, "limit": limit})

    def versions(self, entity: Entity, keys: Sequence[str]) -> dict[str, datetime | None]:
        """The versions that raw holds of these records; nothing of those that it does not hold."""
        if not is_there(self._connection, self._raw, entity.name):
            return {}
        column = entity.version_column
        query = sql.SQL("select {key}::text, {version} from {table} where {key} = any({keys})")
        rows = self._connection.execute(
            query.format(
                key=sql.Identifier(entity.key.name),
                version=sql.Identifier(column) if column else sql.NULL,
                table=sql.Identifier(self._raw, entity.name),
                keys=_keys_of(entity),
            ),
            {"keys": list(keys)},
        )
        return dict(rows.fetchall())

    def erase(self, entity: Entity, keys: Sequence[str]) -> int:
        """How many rows of raw were erased; their history, staged rows and notes are as well."""
        of_records = sql.SQL("{} = any({})").format(
            sql.Identifier(entity.key.name), _keys_of(entity)
        )
        of_notes = sql.SQL("entity = %(entity)s and id = any(%(keys)s)")
        parameters = {"entity": entity.name, "keys": list(keys)}
        erased = self._delete(self._raw, entity.name, of_records, parameters)
        self._delete(self._staging, entity.name, of_records, parameters)
        if entity.history:
            self._delete(self._raw, entity.history_table, of_records, parameters)
        self._delete(self._raw, "deletions", of_notes, parameters)
        self._delete(self._staging, "seen_keys", of_notes, parameters)
        return erased

    def children(self, child: Entity, parents: Sequence[str]) -> list[str]:
        """The keys of all records in the lists of these parents, staged ones included."""
        if not isinstance(child.read, Children):
            return []
        found: set[str] = set()
        for schema in (self._raw, self._staging):
            if is_there(self._connection, schema, child.name):
                query = sql.SQL("select {}::text from {} where {}::text = any(%s)").format(
                    sql.Identifier(child.key.name),
                    sql.Identifier(schema, child.name),
                    sql.Identifier(child.read.column),
                )
                found |= {row[0] for row in self._connection.execute(query, [list(parents)])}
        return sorted(found)

    def _marks(self, query: str, parameters: Mapping[str, object]) -> list[str]:
        if not is_there(self._connection, self._raw, "deletions"):
            return []
        rows = self._connection.execute(
            sql.SQL(query).format(deletions=self._deletions), parameters
        )
        return [row[0] for row in rows]

    def _delete(
        self, schema: str, table: str, condition: sql.Composable, parameters: Mapping[str, object]
    ) -> int:
        if not is_there(self._connection, schema, table):
            return 0
        statement = sql.SQL("delete from {} where {}")
        return self._connection.execute(
            statement.format(sql.Identifier(schema, table), condition), parameters
        ).rowcount


def _keys_of(entity: Entity) -> sql.Composable:
    """The parameter of keys in the key's own type, which reaches its index."""
    return sql.SQL("%(keys)s::{}[]").format(sql.SQL(entity.key.type.value))


_WITH_MERGED = """
with recursive same as (
    select unnest(%(keys)s::text[]) as id
    union
    select deletions.id
    from {deletions} as deletions
    inner join same
        on same.id = deletions.merged_into
    where deletions.entity = %(entity)s
)
select same.id from same
"""

_MARKED = """
select deletions.id
from {deletions} as deletions
where deletions.entity = %(entity)s
    and deletions.id = any(%(keys)s)
"""

_AGED = """
select deletions.id
from {deletions} as deletions
where deletions.entity = %(entity)s
    and deletions.reason in ('deleted', 'merged')
    and deletions.seen_at <= now() - make_interval(days => %(days)s)
order by
    deletions.seen_at asc,
    deletions.id asc
limit %(limit)s
"""


class ErasedRecords:
    """The erased records of one tenant and system, read once.

    Every load and every erasure holds the tenant's lock, so the set cannot change in between.
    """

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._known: dict[str, dict[str, datetime | None]] | None = None

    def withhold(self, batch: Batch) -> list[str]:
        """Takes erased records out of a batch; returns the keys of those that come back.

        Those were edited since, and are erased no more once their load is committed (`let_back`).
        Records in the list of an erased one stay out as long as it does.
        """
        self._withhold_children(batch)
        erased = self._erased(batch.entity.name) if batch.table.num_rows else {}
        keys = batch.keys if erased else []
        if erased.keys().isdisjoint(keys):
            return []
        column = batch.entity.version_column
        versions = batch.table[column].to_pylist() if column else [None] * len(keys)
        read = {key: version for key, version in zip(keys, versions, strict=True) if key in erased}
        withheld = {key for key, version in read.items() if not is_edited(version, erased[key])}
        batch.withhold([key in withheld for key in keys])
        return sorted(read.keys() - withheld)

    def _withhold_children(self, batch: Batch) -> None:
        read = batch.entity.read
        if not isinstance(read, Children) or not batch.table.num_rows:
            return
        erased = self._erased(read.of)
        if erased:
            batch.withhold([parent in erased for parent in batch.texts(read.column)])

    def let_back(self, entity: str, keys: list[str]) -> None:
        """Forgets that these were erased: raw holds another version of them."""
        if keys:
            for key in keys:
                self._erased(entity).pop(key, None)
            with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
                connection.execute(
                    _LET_BACK, [self._scope.tenant.slug, self._scope.system, entity, keys]
                )

    def _erased(self, entity: str) -> dict[str, datetime | None]:
        if self._known is None:
            with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
                self._known = erased_versions(connection, self._scope)
        return self._known.get(entity, {})


def erased_versions(
    connection: psycopg.Connection, scope: Scope
) -> dict[str, dict[str, datetime | None]]:
    """Erased records by entity and key: the version that was erased, if it is known."""
    versions: dict[str, dict[str, datetime | None]] = {}
    for entity, key, version in connection.execute(_ERASED, [scope.tenant.slug, scope.system]):
        versions.setdefault(entity, {})[key] = version
    return versions


def is_edited(version: datetime | None, erased: datetime | None) -> bool:
    """True for any known version but the erased one; an unknown version proves no edit."""
    return version is not None and version != erased


_ERASED = """
select erased_records.entity, erased_records.record_id, erased_records.version
from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
"""

_LET_BACK = """
delete from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
    and erased_records.entity = %s
    and erased_records.record_id = any(%s)
"""
