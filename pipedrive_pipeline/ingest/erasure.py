"""Records erased from raw: their rows, what a load staged of them, their marks, their seen keys.

All of it happens in the caller's transaction, so that nothing is half erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.ingest.erased_records import erased_versions
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there


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
        """How many rows of raw were erased; what was staged and noted of these records as well."""
        of_records = sql.SQL("{} = any({})").format(
            sql.Identifier(entity.key.name), _keys_of(entity)
        )
        of_notes = sql.SQL("entity = %(entity)s and id = any(%(keys)s)")
        parameters = {"entity": entity.name, "keys": list(keys)}
        erased = self._delete(self._raw, entity.name, of_records, parameters)
        self._delete(self._staging, entity.name, of_records, parameters)
        self._delete(self._raw, "deletions", of_notes, parameters)
        self._delete(self._staging, "seen_keys", of_notes, parameters)
        return erased

    def erased(self, entity: Entity) -> dict[str, datetime | None]:
        """Records that were erased on request, with the version up to which they are kept out."""
        everything = erased_versions(self._connection, self._scope)
        return dict(everything.get(entity.name, {}))

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
