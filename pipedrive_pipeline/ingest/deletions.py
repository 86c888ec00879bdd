"""Raw's own record of what is gone at the source: the table ``deletions``.

A mark is a row of its own; raw's row stays, so that what was synced stays readable.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from psycopg import sql

from pipedrive_pipeline.connectors.contract import Entity, Tombstone
from pipedrive_pipeline.ingest.rejections import strike_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse


class Deletions:
    """The marks of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._raw = scope.raw_schema
        self._table = sql.Identifier(self._raw, "deletions")

    def prepare(self) -> None:
        """Makes the table where it is missing."""
        with self._warehouse.transaction() as connection:
            if not is_there(connection, self._raw, "deletions"):
                schema = sql.Identifier(self._raw)
                connection.execute(sql.SQL(_TABLE).format(schema=schema, table=self._table))

    def mark(self, entity: Entity, tombstones: Iterable[Tombstone]) -> None:
        """Marks these keys as gone; a known mark keeps the time at which it was first seen.

        What raw rejected of them is no longer listed: nobody can repair it at the source.
        """
        mark_id = f"mark-{uuid.uuid4()}"
        rows = [
            (entity.name, stone.id, stone.reason, stone.merged_into, mark_id)
            for stone in tombstones
        ]
        if not rows:
            return
        statement = sql.SQL(_MARK).format(table=self._table)
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.cursor().executemany(statement, rows)
            connection.execute(
                _TELL_MARTS, [self._scope.tenant.slug, self._scope.system, [mark_id]]
            )
            keys = [stone_id for _, stone_id, *_ in rows]
            strike_values(connection, self._scope, entity, keys)

    def unmark(self, entity: str, keys: Sequence[str]) -> int:
        """Takes back the marks of keys that the source holds again; says how many.

        Where there were any, the marts read everything again.
        """
        statement = sql.SQL("delete from {} where entity = %s and id = any(%s)").format(self._table)
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            restored = connection.execute(statement, [entity, list(keys)]).rowcount
            if restored:
                connection.execute(_REBUILD_MARTS, [self._scope.tenant.slug, self._scope.system])
        return restored


_TABLE = """
create schema if not exists {schema};
create table if not exists {table} (
    entity text not null,
    id text not null,
    reason text not null check (reason in ('deleted', 'merged', 'converted', 'invisible')),
    merged_into text,
    seen_at timestamptz not null default now(),
    _dlt_load_id text not null,
    primary key (entity, id)
);
comment on table {table} is 'Records that are gone at the source; their rows stay where they were.';
"""

_MARK = """
insert into {table} as known (entity, id, reason, merged_into, _dlt_load_id)
values (%s, %s, %s, %s, %s)
on conflict (entity, id) do update
set reason = excluded.reason, merged_into = excluded.merged_into,
    _dlt_load_id = excluded._dlt_load_id
where (known.reason, known.merged_into)
    is distinct from (excluded.reason, excluded.merged_into)
"""

_TELL_MARTS = """
insert into integration.mart_state as state (tenant_id, system, pending_loads)
values (%s, %s, %s)
on conflict (tenant_id, system) do update
set pending_loads = state.pending_loads || excluded.pending_loads
"""

_REBUILD_MARTS = """
insert into integration.mart_state (tenant_id, system, is_rebuild_due)
values (%s, %s, true)
on conflict (tenant_id, system) do update set is_rebuild_due = true
"""
