"""The keys that a read of everything saw, kept until it ends, and their comparison with raw.

They lie in the tenant's staging schema, not in memory: a read may take several runs, and a million
keys. A key is noted before its row is loaded; after a crash it is noted again.

The keys of an entity are those of one read, which `seen_reads` names by its beginning. A read that
starts over forgets what an earlier one saw before it notes a key of its own; the earlier one's plan
may not go on from then on, because what it read would seem to be gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.own_tables import OwnTable
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse, set_local

READS = OwnTable(
    "staging",
    "seen_reads",
    """
create table {table} (
    entity text primary key,
    began_at timestamptz not null
);
comment on table {table} is 'When the read began whose keys are in seen_keys.';
""",
)
# Keys that were lost are those of no read any more.
KEYS = OwnTable(
    "staging",
    "seen_keys",
    """
create table {table} (
    entity text not null,
    id text not null,
    version timestamptz,
    primary key (entity, id)
);
comment on table {table} is 'Keys that an unfinished read of everything has seen so far.';
delete from {staging}.seen_reads;
""",
)


@dataclass(frozen=True)
class KeyComparison:
    """The source as it was seen, against raw; in rows."""

    seen: int
    known: int  # in raw, and not marked as gone
    missing: int  # seen, and neither in raw nor erased
    stale: int  # in raw in another version than the one seen, older or newer by its stamp
    extra: list[str]  # keys in raw, not marked as gone, and not seen
    expired: list[str]  # the same, of records that the source listed as deleted before

    @property
    def behind(self) -> int:
        """Rows in which raw is behind what was seen."""
        return self.missing + self.stale


class SeenKeys:
    """The seen keys of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._raw = scope.raw_schema
        self._table, self._reads = KEYS.of(scope), READS.of(scope)

    def begin(self, began_at: Mapping[str, datetime]) -> None:
        """Forgets the keys of entities; those noted from now on are of the read of then.

        Args:
            began_at: when the read began, by entity.
        """
        names, times = [*began_at], [*began_at.values()]
        with self._warehouse.transaction() as connection:
            connection.execute(sql.SQL(_END).format(table=self._table), [names])
            connection.execute(sql.SQL(_BEGIN).format(reads=self._reads), [names, times])

    def end(self, entities: Collection[str]) -> None:
        """Forgets the keys of entities whose read is whole."""
        with self._warehouse.transaction() as connection:
            connection.execute(sql.SQL(_END).format(table=self._table), [[*entities]])

    def are_of(self, entity: Entity, began_at: datetime) -> bool:
        """True if an entity's keys are those of the read that began then."""
        values = {"entity": entity.name, "began_at": began_at}
        with self._warehouse.transaction() as connection:
            query = sql.SQL(_ARE_OF).format(reads=self._reads)
            return connection.execute(query, values).fetchone() is not None

    def forget(self, entity: Entity, keys: list[str]) -> None:
        """Forgets these keys of an entity."""
        with self._warehouse.transaction() as connection:
            connection.execute(
                sql.SQL(_FORGET).format(table=self._table), {"entity": entity.name, "keys": keys}
            )

    def note(self, batches: Iterable[Batch]) -> None:
        """Notes the keys and versions of batches."""
        self._write(_NOTE, batches)

    def renew(self, batches: Iterable[Batch]) -> None:
        """Notes the versions of keys that an unfinished read of everything saw, and no others.

        Records that are read by another way meanwhile are in raw in their later version.
        """
        self._write(_RENEW, batches)

    def _write(self, text: str, batches: Iterable[Batch]) -> None:
        statement = sql.SQL(text).format(table=self._table)
        written = [batch for batch in batches if batch.table.num_rows]
        if not written:
            return
        with self._warehouse.transaction() as connection:
            for batch in written:
                key, version = batch.entity.key.name, batch.entity.version_column
                values = {
                    "entity": batch.entity.name,
                    "keys": batch.json_texts(key),
                    "versions": batch.json_texts(version) if version else "[]",
                }
                connection.execute(statement, values)

    def compare(self, entity: Entity) -> KeyComparison:
        """Compares the keys that the read saw with the rows of raw."""
        names, whose = self._names(entity), self._whose(entity)
        with self._compared() as connection:
            counts = connection.execute(sql.SQL(_COUNTS).format(**names), whose).fetchone()
            unseen = connection.execute(sql.SQL(_UNSEEN).format(**names), whose).fetchall()
        seen_count, known, missing, stale = counts or (0, 0, 0, 0)
        extra = [key for key, is_gone in unseen if not is_gone]
        expired = [key for key, is_gone in unseen if is_gone]
        return KeyComparison(seen_count, known, missing, stale, extra, expired)

    def behind(self, entity: Entity) -> list[str]:
        """Keys that were seen, and that raw lacks by no erasure or holds in another version."""
        query = sql.SQL(_BEHIND).format(**self._names(entity))
        with self._compared() as connection:
            return [row[0] for row in connection.execute(query, self._whose(entity))]

    @contextmanager
    def _compared(self) -> Iterator[psycopg.Connection]:
        """Yields a transaction that joins whole tables by no nested loop.

        The keys of an entity that was just read are in no statistics: Postgres expected one, and
        compared each row with each key. 200,000 deal products took more than twenty minutes.
        """
        with self._warehouse.transaction() as connection:
            set_local(connection, "enable_nestloop", "off")
            yield connection

    def _whose(self, entity: Entity) -> dict[str, str]:
        return {
            "tenant": self._scope.tenant.slug,
            "system": self._scope.system,
            "entity": entity.name,
        }

    def _names(self, entity: Entity) -> dict[str, sql.Composable]:
        return {
            "seen": self._table,
            "is_erased": sql.SQL(_IS_ERASED),
            "raw": sql.Identifier(self._raw, entity.name),
            "deletions": sql.Identifier(self._raw, "deletions"),
            "key": sql.Identifier(entity.key.name),
            "is_gone": (
                sql.SQL("coalesce({}, false)").format(sql.Identifier("raw", entity.gone_column))
                if entity.gone_column
                else sql.SQL("false")
            ),
            "version": (
                sql.Identifier("raw", entity.version_column) if entity.version_column else sql.NULL
            ),
        }


_BEGIN = """
insert into {reads} (entity, began_at)
select given.entity, given.began_at
from unnest(%s::text[], %s::timestamptz[]) as given (entity, began_at)
on conflict (entity) do update set began_at = excluded.began_at
"""

_ARE_OF = "select from {reads} where entity = %(entity)s and began_at = %(began_at)s"

_NOTE = """
insert into {table} (entity, id, version)
select %(entity)s, given.id, given.version::timestamptz
from rows from (
    jsonb_array_elements_text(%(keys)s),
    jsonb_array_elements_text(%(versions)s)
) as given (id, version)
on conflict (entity, id) do update set version = excluded.version
"""

_RENEW = """
update {table} as known
set version = given.version::timestamptz
from rows from (
    jsonb_array_elements_text(%(keys)s),
    jsonb_array_elements_text(%(versions)s)
) as given (id, version)
where known.entity = %(entity)s and known.id = given.id
"""

_FORGET = "delete from {table} where entity = %(entity)s and id = any(%(keys)s)"

_END = "delete from {table} where entity = any(%s)"

_BEHIND = """
select seen.id from {seen} as seen
left join {raw} as raw on raw.{key}::text = seen.id
where seen.entity = %(entity)s
    and case
        when raw.{key} is null then not {is_erased}
        else {version} is distinct from seen.version
    end
"""

# Kept out of raw on purpose, see `erasure.py`.
_IS_ERASED = """exists (
    select from integration.erased_records as erased
    where erased.tenant_id = %(tenant)s
        and erased.system = %(system)s
        and erased.entity = seen.entity
        and erased.record_id = seen.id
        and (seen.version is null or seen.version = erased.version)
)"""

_COUNTS = """
select
    (select count(*) from {seen} as seen where seen.entity = %(entity)s),
    (
        select count(*) from {raw} as raw
        where not exists (
            select from {deletions} as deletions
            where deletions.entity = %(entity)s and deletions.id = raw.{key}::text
        )
    ),
    (
        select count(*) from {seen} as seen
        left join {raw} as raw on raw.{key}::text = seen.id
        where seen.entity = %(entity)s and raw.{key} is null and not {is_erased}
    ),
    (
        select count(*) from {seen} as seen
        inner join {raw} as raw on raw.{key}::text = seen.id
        where seen.entity = %(entity)s and {version} is distinct from seen.version
    )
"""

_UNSEEN = """
select raw.{key}::text, {is_gone} from {raw} as raw
where not exists (
    select from {seen} as seen where seen.entity = %(entity)s and seen.id = raw.{key}::text
) and not exists (
    select from {deletions} as deletions
    where deletions.entity = %(entity)s and deletions.id = raw.{key}::text
)
order by raw.{key}
"""
