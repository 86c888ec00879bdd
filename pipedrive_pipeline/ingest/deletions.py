"""Raw's own record of what is gone at the source: the table ``deletions``.

A mark is a row of its own; raw's row stays, so that what was synced stays readable.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from psycopg import sql

from pipedrive_pipeline.connectors.contract import Entity, Tombstone, next_number
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.own_tables import OwnTable
from pipedrive_pipeline.ingest.rejections import strike_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

TABLE = OwnTable(
    "raw",
    "deletions",
    """
create table {table} (
    entity text not null,
    id text not null,
    reason text not null check (reason in ('deleted', 'merged', 'converted', 'invisible')),
    merged_into text,
    seen_at timestamptz not null default now(),
    _dlt_load_id text not null,
    primary key (entity, id)
);
comment on table {table} is
    'Records that are gone at the source; a mark is taken back when the record is seen again.';
comment on column {table}.entity is 'Kind of the record: the name of its table.';
comment on column {table}.id is 'Its key.';
comment on column {table}.reason is
    'deleted, merged, converted into another kind of record, or invisible: the connected user may '
    'not see it any more.';
comment on column {table}.merged_into is 'The id that it was merged into.';
comment on column {table}.seen_at is 'When it was first seen to be gone.';
comment on column {table}._dlt_load_id is 'The marking that put it here.';
""",
)
NO_TIMES: Mapping[str, datetime | None] = MappingProxyType({})


@dataclass(frozen=True)
class _Stated:
    """A tombstone of an event, with its place among this run's requests."""

    number: int  # of `next_number`, when it was learned
    happened_at: datetime | None
    tombstone: Tombstone

    def is_newer_than(self, sent: int, stamp: datetime | None) -> bool:
        """True unless the record was requested later, or was changed later at the source.

        `versions.py` has the rule.
        """
        if sent > self.number:
            return False
        return stamp is None or self.happened_at is None or stamp <= self.happened_at


class Deletions:
    """The marks of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._table = TABLE.of(scope)
        self._stated: dict[str, dict[str, _Stated]] = {}  # by entity and key

    def mark(
        self,
        entity: Entity,
        tombstones: Iterable[Tombstone],
        gone_at: Mapping[str, datetime | None] = NO_TIMES,
    ) -> None:
        """Marks these keys as gone; a known mark keeps the earliest time.

        One that says what became of a record is kept: a record that was merged or converted is
        answered like a deleted one. What raw rejected of them is no longer listed: nobody can
        repair it at the source.

        Args:
            entity: of the keys.
            tombstones: of the keys.
            gone_at: since when by key, where the source said it; of the others it is now.
        """
        mark_id = f"mark-{uuid.uuid4()}"
        rows = [
            (entity.name, stone.id, stone.reason, stone.merged_into, gone_at.get(stone.id), mark_id)
            for stone in tombstones
        ]
        if not rows:
            return
        statement = sql.SQL(_MARK).format(table=self._table)
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.cursor().executemany(statement, rows)
            connection.execute(ANNOUNCE, [self._scope.tenant.slug, self._scope.system, [mark_id]])
            keys = [stone_id for _, stone_id, *_ in rows]
            strike_values(connection, self._scope, entity, keys)

    def remember(self, entity: Entity, tombstone: Tombstone, happened_at: datetime | None) -> None:
        """Remembers for this run that an event stated it; answers that are older do not undo it."""
        stated = _Stated(next_number(), happened_at, tombstone)
        self._stated.setdefault(entity.name, {})[tombstone.id] = stated

    def unmark(self, batch: Batch) -> int:
        """Takes back the marks of loaded records that are live; says how many.

        A record may be listed although it is deleted, or have been read before the run learned
        that it is gone. Where a mark was taken back, the marts read everything again.
        """
        outdated = self._outdated(batch)
        gone_at = {stone.tombstone.id: stone.happened_at for stone in outdated}
        self.mark(batch.entity, [stone.tombstone for stone in outdated], gone_at)
        keys = sorted(batch.live_keys - gone_at.keys())
        statement = sql.SQL("delete from {} where entity = %s and id = any(%s)").format(self._table)
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            restored = connection.execute(statement, [batch.entity.name, keys]).rowcount
            if restored:
                connection.execute(_REBUILD_MARTS, [self._scope.tenant.slug, self._scope.system])
        return restored

    def _outdated(self, batch: Batch) -> list[_Stated]:
        """The tombstones that are newer than the records of the batch."""
        stated = self._stated.get(batch.entity.name)
        if not stated:
            return []
        return [
            stated[key]
            for key, sent, stamp in batch.requests()
            if key in stated and stated[key].is_newer_than(sent, stamp)
        ]


_MARK = """
insert into {table} as known (entity, id, reason, merged_into, seen_at, _dlt_load_id)
values (%s, %s, %s, %s, coalesce(%s, now()), %s)
on conflict (entity, id) do update
set reason = excluded.reason, merged_into = excluded.merged_into,
    seen_at = least(known.seen_at, excluded.seen_at), _dlt_load_id = excluded._dlt_load_id
where not (
        known.reason in ('merged', 'converted') and excluded.reason in ('deleted', 'invisible')
    )
    and (known.reason, known.merged_into, known.seen_at)
    is distinct from
    (excluded.reason, excluded.merged_into, least(known.seen_at, excluded.seen_at))
"""

ANNOUNCE = """
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
