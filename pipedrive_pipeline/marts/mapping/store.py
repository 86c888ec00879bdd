"""Reads and saves the versions of a tenant's mapping; exactly one version is active."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.fields.catalogue import Field, current_fields, fields_of
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.mapping.form import Entry, Mapping, parsed
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse


class MappingOutdated(PersonMustAct):
    """Another version was saved meanwhile; look at it and try again."""

    code = "mapping_outdated"


@dataclass(frozen=True)
class Version:
    """One saved version; number 0 means that none was saved."""

    number: int = 0
    mapping: Mapping = field(default_factory=Mapping)
    saved_at: datetime | None = None
    saved_by: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """A tenant's fields as of the last load."""

    fields: tuple[Field, ...]


def catalogue(warehouse: Warehouse, scope: Scope) -> Catalogue:
    """Returns the fields that a mapping may name, updated from raw without calling the source."""
    with raw_transaction(warehouse, scope) as connection:
        return Catalogue(tuple(current_fields(connection, scope)))


def active(connection: psycopg.Connection, scope: Scope) -> Version:
    """Returns the version that the marts are built with."""
    entities = field_entities(scope.system)
    row = connection.execute(_ACTIVE, (scope.tenant.slug, scope.system)).fetchone()
    if row is None:
        return Version(mapping=Mapping(entities=tuple(entities)))
    number, written, saved_at, saved_by = row
    return Version(number, parsed(written, entities)[0], saved_at, saved_by)


def versions(connection: psycopg.Connection, scope: Scope) -> list[Version]:
    """Returns every saved version, newest first."""
    entities = field_entities(scope.system)
    rows = connection.execute(_VERSIONS, (scope.tenant.slug, scope.system)).fetchall()
    return [Version(row[0], parsed(row[1], entities)[0], *row[2:]) for row in rows]


def vanished(mapping: Mapping, fields: list[Field]) -> list[Entry]:
    """Returns entries whose field is removed; their targets keep the last values."""
    live = {field.identity for field in fields if field.removed_at is None}
    return [entry for entry in mapping.entries if (entry.entity, entry.field_key) not in live]


def refused_values(connection: psycopg.Connection, scope: Scope, entity: str) -> dict[str, int]:
    """Returns how many values of an entity's fields their columns refused, by field key."""
    rows = connection.execute(_REFUSED, (scope.tenant.slug, scope.system, entity)).fetchall()
    return {row[0]: row[1] for row in rows}


def save(
    warehouse: Warehouse,
    scope: Scope,
    text: Any,
    *,
    who: str,
    based_on: int | None = None,
) -> Version:
    """Saves a mapping as the active version; the next build reads all of raw with it.

    Args:
        warehouse: where it is stored.
        scope: whose mapping, of which CRM.
        text: the mapping as decoded JSON.
        who: the author, for the version and the audit log.
        based_on: the version that the author edited; None skips the check for later versions.

    Raises:
        BadMapping: an entry cannot be used; nothing was saved.
        MappingOutdated: the active version is not ``based_on``.
    """
    catalogue(warehouse, scope)
    # As the app's role, because the database then lets no other tenant's mapping be written.
    with warehouse.as_app(scope.tenant, turn=scope.tenant.mapping_lock) as connection:
        before = active(connection, scope)
        if based_on is not None and based_on != before.number:
            raise MappingOutdated(
                f"{scope.tenant}: version {before.number} of the mapping is active, not "
                f"{based_on}; look at it and save again."
            )
        mapping = validated(scope, text, fields_of(connection, scope))
        facts = (scope.tenant.slug, scope.system)
        connection.execute(_RETIRE, facts)
        cursor = connection.cursor(row_factory=class_row(_Saved))
        saved = cursor.execute(_INSERT, (*facts, *facts, Jsonb(mapping.written()), who)).fetchone()
        if saved is None:
            raise LookupError("an insert with `returning` returns its row")
        changed = Jsonb(before.mapping.written()), Jsonb(mapping.written())
        connection.execute(_AUDIT, (who, scope.tenant.slug, f"version {saved.version}", *changed))
    return Version(saved.version, mapping, saved.created_at, who)


@dataclass(frozen=True)
class _Saved:
    version: int
    created_at: datetime


_ACTIVE = """
select
    field_mappings.version,
    field_mappings.mapping,
    field_mappings.created_at,
    field_mappings.created_by
from integration.field_mappings
where field_mappings.tenant_id = %s
    and field_mappings.system = %s
    and field_mappings.is_active
"""
_VERSIONS = """
select
    field_mappings.version,
    field_mappings.mapping,
    field_mappings.created_at,
    field_mappings.created_by
from integration.field_mappings
where field_mappings.tenant_id = %s
    and field_mappings.system = %s
order by field_mappings.version desc
"""
_RETIRE = """
update integration.field_mappings
set is_active = false
where field_mappings.tenant_id = %s
    and field_mappings.system = %s
    and field_mappings.is_active
"""
_INSERT = """
insert into integration.field_mappings
    (tenant_id, system, version, mapping, is_active, created_by)
select
    %s,
    %s,
    coalesce(max(field_mappings.version), 0) + 1,
    given.mapping,
    true,
    given.who
from (values (%s, %s, %s::jsonb, %s)) as given (tenant_id, system, mapping, who)
left join integration.field_mappings
    on field_mappings.tenant_id = given.tenant_id
    and field_mappings.system = given.system
group by
    given.mapping,
    given.who
returning version, created_at
"""
_AUDIT = """
insert into integration.audit_log (who, tenant_id, action, subject, before, after)
values (%s, %s, 'mapping.save', %s, %s, %s)
"""
_REFUSED = """
select
    rejected_values.field,
    count(*)
from integration.rejected_values
where rejected_values.tenant_id = %s
    and rejected_values.system = %s
    and rejected_values.entity = %s
    and rejected_values.field is not null
    and rejected_values.is_confirmed
group by rejected_values.field
"""
