"""Erases a person on request, and keeps them out until they are edited at the source.

`Mart.personal` and `Entity.personal` say where a person's address is looked for. One transaction
deletes the person's records from every table and writes the audit log. `docs/erasure.md` lists the
places that an erasure does not reach.

The audit log is never shortened, so it names a receipt and no id. The receipt serves as proof of
the erasure; once the record's own entry is gone, it leads to no person.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import ColumnType, Entity
from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.ingest.erasure import RawErasure, erased_versions, is_edited
from pipedrive_pipeline.marts.contact_points.upkeep import TABLE as CONTACT_POINTS
from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.erasure import (
    address_pattern,
    changed_at,
    erase_former_rows,
    has_address,
    rows_with_address,
)
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.scratch import clear_scratch
from pipedrive_pipeline.sync.tenancy.record_erasure import (
    child_keys,
    children_of,
    erase_with_children,
    sources_of,
    with_children,
)
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.vacuum import clear_remains

BIGINT_MAX = 2**63 - 1  # of Postgres's type bigint
_WHOLE_NUMBER = re.compile("[0-9]{1,19}")


class NobodyToErase(BadInput):
    """No stored row matches the ids or the address."""

    code = "nobody_to_erase"


@dataclass(frozen=True, order=True)
class PersonalRecord:
    """A record with a person's data, as one system knows it."""

    system: str
    entity: str
    id: str

    def __str__(self) -> str:
        return f"{self.system} {self.entity} {self.id}"


@dataclass(frozen=True, order=True)
class FormerRow:
    """A mart's row of an account that the tenant was connected to before, by our id."""

    mart: str
    id: UUID


@dataclass(frozen=True)
class Matches:
    """Everything that contains one e-mail address."""

    records: tuple[PersonalRecord, ...] = ()
    former: tuple[FormerRow, ...] = ()
    of_the_app: int = 0  # rows that the app created


@dataclass(frozen=True)
class Erased:
    """The result of one erasure: deleted rows by place, and records that return if edited."""

    receipt: UUID
    records: tuple[PersonalRecord, ...]  # includes duplicates that were merged into the person
    raw_rows: int
    mart_rows: dict[str, int]  # by mart; only those that an erasure may change
    rejected_values: int
    # Records that existed at the last read; the source itself was not changed.
    at_source: tuple[PersonalRecord, ...]

    @property
    def rows(self) -> dict[str, int]:
        """Returns the counts by place, for the CLI, JSON and the audit log."""
        return {
            "raw_rows": self.raw_rows,
            **self.mart_rows,
            "rejected_values": self.rejected_values,
        }


def personal_marts() -> tuple[Mart, ...]:
    """Returns the marts whose rows have personal data."""
    return tuple(mart for mart in MARTS if mart.personal)


def personal_record(system: str, mart: str, record_id: str) -> PersonalRecord:
    """Returns the record of a system that a row of a mart is made from.

    Raises:
        BadInput: the system has no records for this mart.
        NobodyToErase: no record can have this id.
    """
    for source in mart_sources(system):
        if source.name == mart:
            _check_id(system, system_of(system).entity(source.entity), record_id)
            return PersonalRecord(system, source.entity, record_id)
    raise BadInput(f"{system_of(system).label} has no records for {mart}.")


def _check_id(system: str, entity: Entity, record_id: str) -> None:
    is_number = entity.key.type is ColumnType.BIGINT
    if is_number and not (_WHOLE_NUMBER.fullmatch(record_id) and int(record_id) <= BIGINT_MAX):
        raise NobodyToErase(
            f"{record_id[:64]!r} is no id of {system} {entity.name}: theirs are whole numbers; "
            "nothing was erased."
        )
    if not record_id:
        raise NobodyToErase(f"an id of {system} {entity.name} is not empty; nothing was erased.")


def find_by_address(warehouse: Warehouse, tenant: Tenant, email: str) -> Matches:
    """Returns the records, in marts and raw tables of every system, that contain an address."""
    with warehouse.transaction(tenant=tenant) as connection:
        rows = rows_with_address(connection, tenant, email)
        records = {
            personal_record(row.system, row.mart, row.remote_id)
            for row in rows
            if row.system and row.remote_id and not row.is_former
        }
        for system in systems():
            for entity in system.entities:
                if entity.personal:
                    records |= _raw_matches(connection, Scope(tenant, system.key), entity, email)
    return Matches(
        records=tuple(sorted(records)),
        former=tuple(FormerRow(row.mart, row.id) for row in rows if row.is_former),
        of_the_app=sum(row.system is None for row in rows),
    )


def erase_records(
    lock: TenantLock,
    settings: Settings,
    records: Sequence[PersonalRecord],
    *,
    former: Sequence[FormerRow] = (),
    who: str,
) -> Erased:
    """Erases persons from every table and file of this project, or changes nothing.

    Args:
        lock: the tenant's locks; the caller has taken them.
        settings: locates the files of runs.
        records: the persons' records.
        former: rows from an account that the tenant left.
        who: the person who requested the erasure, for the audit log.

    Raises:
        NobodyToErase: no row of these records is stored, and they were not erased before.
        ErasureRefused: a table of the app refers to such a row; its owner must act.
    """
    tenant, warehouse = lock.tenant, lock.warehouse
    lock.assert_held()
    with warehouse.transaction(tenant=tenant) as connection:
        erased = _erase_all(connection, tenant, records, former)
        connection.execute(
            "insert into integration.audit_log (who, tenant_id, action, subject, after)"
            " values (%s, %s, 'person.erase', %s, %s)",
            [who, tenant.slug, str(erased.receipt), Jsonb(erased.rows)],
        )
    for system in {record.system for record in erased.records}:
        clear_scratch(settings, warehouse, Scope(tenant, system))
    clear_remains(warehouse, list(_tables_of(tenant, erased, former)))
    return erased


def erase_returned_records(warehouse: Warehouse, scope: Scope, *, is_raw_ours: bool = True) -> None:
    """Erases again records that a process without its lock or an older dump brought back.

    Such a dump restores rows of `crm` whose record is not in raw.

    Args:
        warehouse: the tenant's database.
        scope: the tenant and the system of the records; the caller holds the lock on the marts.
        is_raw_ours: True if the caller holds the lock on raw too; otherwise only `crm` is changed.
    """
    with warehouse.transaction(tenant=scope.tenant) as connection:
        everything = erased_versions(connection, scope)
        for entity in system_of(scope.system).entities:
            if erased := everything.get(entity.name):
                _erase_returned(connection, scope, entity, erased, is_raw_ours=is_raw_ours)


def _erase_returned(
    connection: psycopg.Connection,
    scope: Scope,
    entity: Entity,
    erased: dict[str, datetime | None],
    *,
    is_raw_ours: bool,
) -> None:
    in_raw = RawErasure(connection, scope).versions(entity, list(erased))
    stale = {key for key, version in in_raw.items() if not is_edited(version, erased[key])}
    gone = erased.keys() - (in_raw.keys() - stale if is_raw_ours else in_raw.keys())
    keys = set(stale if is_raw_ours else ())
    for source in sources_of(scope.system, entity):
        keys |= changed_at(connection, scope, source, list(erased)).keys() - in_raw.keys()
    for child in children_of(scope.system, entity):
        if child_keys(connection, scope, child, entity, sorted(gone)):
            keys |= gone
    if keys:
        erase_with_children(
            connection,
            scope,
            entity,
            sorted(keys),
            with_unidentified=True,
            from_raw=is_raw_ours,
        )


def _raw_matches(
    connection: psycopg.Connection, scope: Scope, entity: Entity, email: str
) -> set[PersonalRecord]:
    if not is_there(connection, scope.raw_schema, entity.name):
        return set()
    query = sql.SQL("select record.{}::text from {} as record where {}").format(
        sql.Identifier(entity.key.name),
        sql.Identifier(scope.raw_schema, entity.name),
        has_address("record", entity.personal),
    )
    rows = connection.execute(query, {"address": address_pattern(email)})
    return {PersonalRecord(scope.system, entity.name, key) for (key,) in rows}


def _erase_all(
    connection: psycopg.Connection,
    tenant: Tenant,
    records: Sequence[PersonalRecord],
    former: Sequence[FormerRow],
) -> Erased:
    receipt = uuid4()
    mart_rows: Counter[str] = Counter({mart.name: 0 for mart in personal_marts()})
    parts = [
        _erase(connection, Scope(tenant, system), entity, [record.id for record in group], receipt)
        for (system, entity), group in groupby(
            sorted(records), lambda record: (record.system, record.entity)
        )
    ]
    for part in parts:
        mart_rows.update(part.mart_rows)
    for name, rows in groupby(sorted(former), lambda row: row.mart):
        ids = [row.id for row in rows]
        mart_rows[name] += erase_former_rows(connection, tenant, mart_of(name), ids)
    return Erased(
        receipt=receipt,
        records=tuple(record for part in parts for record in part.records),
        raw_rows=sum(part.raw_rows for part in parts),
        mart_rows=dict(mart_rows),
        rejected_values=sum(part.rejected_values for part in parts),
        at_source=tuple(record for part in parts for record in part.at_source),
    )


def _erase(
    connection: psycopg.Connection,
    scope: Scope,
    entity_name: str,
    ids: Sequence[str],
    receipt: UUID,
) -> Erased:
    """Erases the records of one entity."""
    entity = system_of(scope.system).entity(entity_name)
    raw = RawErasure(connection, scope)
    whose = [scope.tenant.slug, scope.system, entity.name]
    keys = raw.with_merged(entity, ids)
    marked, raw_versions = raw.marked(entity, keys), raw.versions(entity, keys)
    versions: dict[str, datetime | None] = {}
    for source in sources_of(scope.system, entity):
        # A row may remain although its record is no longer in raw.
        if not source.is_of_parts:
            versions |= changed_at(connection, scope, source, keys)
    versions |= raw_versions
    known = {row[0] for row in connection.execute(_KNOWN, [*whose, *whose])}
    if unknown := sorted(set(keys) - marked - versions.keys() - known):
        raise NobodyToErase(
            f"{scope.tenant}: no {entity.name} with the id {', '.join(unknown)}; nothing was "
            f"erased. Ids are those of {scope.system}; `--email` looks for an address."
        )
    rows = [(*whose, key, versions.get(key), receipt) for key in keys]
    connection.cursor().executemany(_KEEP_OUT, rows)

    def records(ids: Sequence[str]) -> tuple[PersonalRecord, ...]:
        return tuple(PersonalRecord(scope.system, entity.name, key) for key in ids)

    erased = erase_with_children(connection, scope, entity, keys, with_unidentified=True)
    return Erased(
        receipt=receipt,
        records=records(keys),
        raw_rows=erased.raw,
        mart_rows=dict(erased.marts),
        rejected_values=erased.rejected_values,
        at_source=records(sorted(raw_versions.keys() - marked)),
    )


def _tables_of(
    tenant: Tenant, erased: Erased, former: Sequence[FormerRow]
) -> Iterator[tuple[str, str]]:
    """Yields the tables from which rows were deleted or in which links were emptied."""
    for system, name in sorted({(record.system, record.entity) for record in erased.records}):
        scope = Scope(tenant, system)
        for entity in with_children(system, system_of(system).entity(name)):
            yield scope.raw_schema, entity.name
            yield scope.staging_schema, entity.name
            if entity.history:
                yield scope.raw_schema, entity.history_table
    changed = {name for name, count in erased.mart_rows.items() if count}
    changed |= {row.mart for row in former}
    for mart in MARTS:
        if mart.name in changed or any(link.mart in changed for link in mart.links):
            yield mart.table
    if any(mart.points for mart in MARTS if mart.name in changed):
        yield CONTACT_POINTS
    yield "integration", "rejected_values"
    yield "integration", "outbox"
    yield "integration", "record_events"
    yield "integration", "links"
    yield "integration", "sink_links"


_KNOWN = """
select erased_records.record_id
from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
    and erased_records.entity = %s
union all
select rejected_values.record_id
from integration.rejected_values
where rejected_values.tenant_id = %s
    and rejected_values.system = %s
    and rejected_values.entity = %s
    and rejected_values.record_id is not null
"""

_KEEP_OUT = """
insert into integration.erased_records as known
    (tenant_id, system, entity, record_id, version, receipt)
values (%s, %s, %s, %s, %s, %s)
on conflict (tenant_id, system, entity, record_id) do update
set version = coalesce(excluded.version, known.version),
    receipt = excluded.receipt,
    erased_at = now()
"""
