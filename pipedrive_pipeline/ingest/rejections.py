"""The list of records and values that raw could not store in their place.

A value is listed by its record and field, and struck off as soon as the record comes without it. A
record without a usable key is listed by a fingerprint of its text. Nothing links it to the record
that it becomes once it is repaired, so it is struck off at the end of a read of everything that did
not send it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import psycopg

from pipedrive_pipeline.connectors.contract import ColumnType, Entity
from pipedrive_pipeline.ingest.outcome import Rejected
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:  # `tenants` needs no Arrow
    from pipedrive_pipeline.ingest.batches import Batch

VALUE_LENGTH = 1_000  # characters; a value in full is in raw's `extra`


class Rejections:
    """The rejected records and values of one tenant and system, during one run."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._occurrences: Counter[tuple[str, str]] = Counter()

    def begin(self, entities: Collection[str]) -> None:
        """Notes that reads of everything begin, so that `end` knows which records they sent."""
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(_BEGIN, self._whose_all(entities))

    def note(self, batches: Iterable[Batch]) -> None:
        """Lists what did not fit of batches, and strikes off what fits by now.

        It comes before the load: after a crash between the two the rows are read again.
        """
        noted = [batch for batch in batches if batch.table.num_rows or batch.rejected_records]
        if not noted:
            return
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            for batch in noted:
                self._note(connection, batch)

    def _note(self, connection: psycopg.Connection, batch: Batch) -> None:
        whose, values = self._whose(batch.entity), batch.rejected_values
        columns = {
            "keys": batch.json_texts(batch.entity.key.name),
            "fields": _fields_judged_here(batch.entity),
            "listed_ids": [value.record_id for value in values],
            "listed_fields": [value.field for value in values],
            "values": [value.value[:VALUE_LENGTH] for value in values],
            "reasons": [value.reason for value in values],
        }
        connection.execute(_STRIKE_FITTING, whose | columns)
        if values:
            connection.execute(_LIST_VALUES, whose | columns)
        if batch.rejected_records:
            records = self._identified(batch.entity, batch.rejected_records)
            connection.execute(_LIST_RECORDS, whose | records)

    def end(self, entities: Collection[str]) -> None:
        """Strikes off records without a key that whole reads of everything did not send."""
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(_END, self._whose_all(entities))

    def _identified(self, entity: Entity, records: Sequence[Rejected]) -> dict[str, list[str]]:
        """The records as columns, each with a fingerprint; the same text may come several times."""
        fingerprints = []
        for record in records:
            digest = hashlib.sha256(record.value.encode()).hexdigest()
            self._occurrences[entity.name, digest] += 1
            fingerprints.append(f"{digest}/{self._occurrences[entity.name, digest]}")
        return {
            "fingerprints": fingerprints,
            "listed_fields": [record.field or "" for record in records],
            "values": [record.value[:VALUE_LENGTH] for record in records],
            "reasons": [record.reason for record in records],
        }

    def _whose(self, entity: Entity) -> dict[str, object]:
        return _whose(self._scope, entity)

    def _whose_all(self, entities: Collection[str]) -> dict[str, object]:
        tenant, system = self._scope.tenant.slug, self._scope.system
        return {"tenant": tenant, "system": system, "entities": [*entities]}


def listed_by_field(
    connection: psycopg.Connection, scope: Scope, entities: Collection[Entity]
) -> dict[str, dict[str, int]]:
    """How many records and values raw does not hold in their place now, by entity and field."""
    listed: dict[str, dict[str, int]] = {entity.name: {} for entity in entities}
    fields = {(entity.name, name) for entity in entities for name in raw_fields(entity)}
    whose = {"tenant": scope.tenant.slug, "system": scope.system, "entities": list(listed)}
    for name, field, is_unidentified, count in connection.execute(_LISTED, whose):
        if is_unidentified or (name, field) in fields:
            listed[name][field] = listed[name].get(field, 0) + count
    return listed


def raw_fields(entity: Entity) -> list[str]:
    """The fields whose values raw may reject; a JSON column takes any value."""
    columns = (entity.key, *entity.columns)
    return [column.name for column in columns if column.type is not ColumnType.JSON]


def _fields_judged_here(entity: Entity) -> list[str]:
    """The fields of which only raw says whether a value fits; the marts judge those with a shape.

    A record that did not change is judged by no build, so an entry of the marts must stay.
    """
    shaped = {column.name for column in entity.columns if column.shape}
    return [name for name in raw_fields(entity) if name not in shaped]


def strike_values(
    connection: psycopg.Connection,
    scope: Scope,
    entity: Entity,
    keys: Sequence[str],
) -> None:
    """Strikes off what raw rejected of records that are gone at the source.

    Values of their custom fields stay listed: the views with deleted records still show them.
    """
    columns = {"keys": list(keys), "fields": raw_fields(entity)}
    connection.execute(_STRIKE_GONE, _whose(scope, entity) | columns)


def forget_rejected(
    connection: psycopg.Connection,
    scope: Scope,
    entity: Entity,
    keys: Sequence[str],
    *,
    with_unidentified: bool,
) -> int:
    """How many entries of erased records were deleted, in the caller's transaction.

    Args:
        connection: the caller's.
        scope: the tenant and system of the records.
        entity: their kind.
        keys: the erased records.
        with_unidentified: delete those of records without a usable key too: each of them may be
            the person who is to be erased. The next read of everything lists the others again.
    """
    return connection.execute(
        _FORGET,
        _whose(scope, entity) | {"keys": list(keys), "with_unidentified": with_unidentified},
    ).rowcount


def _whose(scope: Scope, entity: Entity) -> dict[str, object]:
    return {"tenant": scope.tenant.slug, "system": scope.system, "entity": entity.name}


_OF_ENTITY = """
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = %(entity)s
"""
_OF_ENTITIES = """
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = any(%(entities)s)
"""
_BEGIN = f"""
update integration.rejected_values
set is_confirmed = false
{_OF_ENTITIES}
    and rejected_values.record_id is null
"""
_END = f"""
delete from integration.rejected_values
{_OF_ENTITIES}
    and rejected_values.record_id is null
    and not rejected_values.is_confirmed
"""
# Rows with a target are of a mapping that could not use a value; the build judges them.
_STRIKE_FITTING = f"""
delete from integration.rejected_values
{_OF_ENTITY}
    and rejected_values.target is null
    and rejected_values.field = any(%(fields)s)
    and rejected_values.record_id in (select jsonb_array_elements_text(%(keys)s))
    and not exists (
        select
        from unnest(%(listed_ids)s::text[], %(listed_fields)s::text[]) as listed (id, field)
        where listed.id = rejected_values.record_id
            and listed.field = rejected_values.field
    )
"""
_LISTED = """
select
    rejected_values.entity,
    coalesce(rejected_values.field, ''),
    rejected_values.record_id is null,
    count(*)
from integration.rejected_values
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = any(%(entities)s)
    and rejected_values.target is null
group by 1, 2, 3
order by 1, 2, 3
"""
_LIST_VALUES = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
select %(tenant)s, %(system)s, %(entity)s, listed.*
from unnest(
    %(listed_ids)s::text[], %(listed_fields)s::text[], %(values)s::text[], %(reasons)s::text[]
) as listed
on conflict (tenant_id, system, entity, record_id, field) do update
set value = excluded.value, reason = excluded.reason, target = null, last_seen_at = now()
"""
_LIST_RECORDS = """
insert into integration.rejected_values
    (tenant_id, system, entity, fingerprint, field, value, reason)
select %(tenant)s, %(system)s, %(entity)s, listed.*
from unnest(
    %(fingerprints)s::text[], %(listed_fields)s::text[], %(values)s::text[], %(reasons)s::text[]
) as listed
on conflict (tenant_id, system, entity, fingerprint) where record_id is null do update
set reason = excluded.reason, last_seen_at = now(), is_confirmed = true
"""
_STRIKE_GONE = f"""
delete from integration.rejected_values
{_OF_ENTITY}
    and rejected_values.target is null
    and rejected_values.field = any(%(fields)s)
    and rejected_values.record_id = any(%(keys)s)
"""
_FORGET = f"""
delete from integration.rejected_values
{_OF_ENTITY}
    and (
        rejected_values.record_id = any(%(keys)s)
        or (%(with_unidentified)s and rejected_values.record_id is null)
    )
"""
