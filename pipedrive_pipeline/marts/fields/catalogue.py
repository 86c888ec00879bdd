"""The field catalogue: every field that a tenant's records ever had, and its changes over time.

A field is identified by its key. A removed field keeps its row and a removed option its label,
because records may still contain both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import errors
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.sources import marts_folder
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.sql_files import read_sql


@dataclass(frozen=True)
class Field:
    """One field.

    ``labels`` includes the labels of removed options; ``is_writable`` is False where the source
    says that nobody but itself sets the values.
    """

    system: str
    entity: str
    field_key: str
    field_name: str
    field_type: str
    is_custom: bool
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    is_writable: bool = True
    removed_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Entity and key."""
        return self.entity, self.field_key


@dataclass(frozen=True)
class Change:
    """One change of a field or of one of its options."""

    entity: str
    field_key: str
    change: str
    before: str | None
    after: str | None


def fields_of(connection: psycopg.Connection, scope: Scope) -> list[Field]:
    """Returns every known field, removed ones included, oldest first."""
    return (
        connection.cursor(row_factory=class_row(Field))
        .execute(_KNOWN, (scope.tenant.slug, scope.system))
        .fetchall()
    )


def are_custom_fields_wanted(connection: psycopg.Connection, scope: Scope) -> bool:
    """True if the tenant wants its custom fields shown and mapped, which is the default."""
    row = connection.execute(_WANTED, (scope.tenant.slug, scope.system)).fetchone()
    return row is None or bool(row[0])


def current_fields(connection: psycopg.Connection, scope: Scope) -> list[Field]:
    """Returns all known fields for somebody who looks at them, updated from raw if nobody builds.

    A build updates them itself, in a transaction that may take a minute: until its end they are as
    they were before. Otherwise builds wait for the end of this transaction.
    """
    name = scope.tenant.marts_lock
    locks.prepare(connection, name)
    try:
        with connection.transaction():
            locks.take(connection, name, wait_seconds=0)
    except errors.LockNotAvailable:
        return fields_of(connection, scope)
    return refresh_catalogue(connection, scope)


def refresh_catalogue(connection: psycopg.Connection, scope: Scope) -> list[Field]:
    """Updates the catalogue from raw's definitions, logs the changes, returns all known fields.

    Args:
        connection: a transaction with the tenant's raw schema first on its search_path; its caller
            has the lock on the marts.
        scope: whose fields, of which CRM.
    """
    known = {field.identity: field for field in fields_of(connection, scope)}
    current = {field.identity: field for field in _defined(connection, scope.system)}
    changes = [
        change
        for identity in [*current, *(key for key in known if key not in current)]
        for change in _changes(known.get(identity), current.get(identity))
    ]
    touched = {(change.entity, change.field_key) for change in changes}
    touched |= {
        identity
        for identity, now in current.items()
        if identity in known and known[identity].is_writable != now.is_writable
    }
    if not touched:
        return list(known.values())
    rows = [_row(scope, known.get(identity), current.get(identity)) for identity in sorted(touched)]
    cursor = connection.cursor()
    cursor.executemany(_UPSERT, rows)
    cursor.executemany(
        _NOTE,
        [
            (
                scope.tenant.slug,
                scope.system,
                change.entity,
                change.field_key,
                change.change,
                change.before,
                change.after,
            )
            for change in changes
        ],
    )
    return fields_of(connection, scope)


def _defined(connection: psycopg.Connection, system: str) -> Iterator[Field]:
    """Yields the fields that the system's definitions have now; none if it has no definitions."""
    if not field_entities(system):
        return
    definitions = read_sql(marts_folder(system) / "fields.sql")
    for row in connection.execute(definitions.query):
        entity, key, name, kind, is_custom, options, is_writable = row
        yield Field(
            system, entity, key, name, kind, is_custom, options or {}, is_writable=is_writable
        )


def _changes(known: Field | None, current: Field | None) -> Iterable[Change]:
    """Yields the changes between the known definition and the current one of the source."""
    newest = current or known
    if newest is None:
        return

    def change(kind: str, before: str | None, after: str | None) -> Change:
        return Change(newest.entity, newest.field_key, kind, before, after)

    if known is None:
        yield change("added", None, newest.field_name)
    elif current is None:
        if known.removed_at is None:
            yield change("removed", known.field_name, None)
    else:
        if known.removed_at is not None:
            yield change("restored", None, current.field_name)
        if known.field_name != current.field_name:
            yield change("renamed", known.field_name, current.field_name)
        if known.field_type != current.field_type:
            yield change("retyped", known.field_type, current.field_type)
        yield from (change(*parts) for parts in _option_changes(known.options, current.options))


def _option_changes(
    known: Mapping[str, str], current: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    for key, label in current.items():
        if key not in known:
            yield "option_added", None, label
        elif known[key] != label:
            yield "option_renamed", known[key], label
    yield from (
        ("option_removed", label, None) for key, label in known.items() if key not in current
    )


def _row(scope: Scope, known: Field | None, current: Field | None) -> tuple[object, ...]:
    newest = current or known
    if newest is None:
        raise LookupError("a change belongs to a field that is known or current")
    labels = {**(known.labels if known else {}), **(current.options if current else {})}
    return (
        scope.tenant.slug,
        scope.system,
        newest.entity,
        newest.field_key,
        newest.field_name,
        newest.field_type,
        newest.is_custom,
        Jsonb(dict(current.options if current else newest.options)),
        Jsonb(labels),
        newest.is_writable,
        current is None,
    )


_WANTED = """
select sync_settings.sync_custom_fields
from integration.sync_settings
where sync_settings.tenant_id = %s
    and sync_settings.system = %s
"""
_KNOWN = """
select
    fields.system,
    fields.entity,
    fields.field_key,
    fields.field_name,
    fields.field_type,
    fields.is_custom,
    fields.options,
    fields.labels,
    fields.is_writable,
    fields.removed_at
from integration.fields
where fields.tenant_id = %s
    and fields.system = %s
order by
    fields.entity asc,
    fields.first_seen_at asc,
    fields.field_key asc
"""
_UPSERT = """
insert into integration.fields as known (
    tenant_id, system, entity, field_key, field_name, field_type, is_custom, options, labels,
    is_writable, removed_at
)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s then now() end)
on conflict (tenant_id, system, entity, field_key) do update
set
    field_name = excluded.field_name,
    field_type = excluded.field_type,
    is_custom = excluded.is_custom,
    options = excluded.options,
    labels = excluded.labels,
    is_writable = excluded.is_writable,
    last_seen_at = case when excluded.removed_at is null then now() else known.last_seen_at end,
    removed_at = excluded.removed_at
"""
_NOTE = """
insert into integration.field_changes
    (tenant_id, system, entity, field_key, change, before, after)
values (%s, %s, %s, %s, %s, %s, %s)
"""
