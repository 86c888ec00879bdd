"""The rows of `integration.outbox`: every step of a write, committed before and after its call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.writing import Body
from pipedrive_pipeline.errors import Superseded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.entries import COLUMNS, Intent, State, WriteEntry, read_entry
from pipedrive_pipeline.sync.writes.errors import WriteKeyReused
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

KEPT: Final = timedelta(days=7)  # a settled write, for requests that come again
RETRY_AFTER: Final = timedelta(seconds=30)  # in the background, and as much longer each time
RETRY_MAX: Final = timedelta(minutes=30)


def find(
    connection: psycopg.Connection, tenant: Tenant, key: str, request_hash: str
) -> WriteEntry | None:
    """The write of a request that came before with this key; None if none did.

    Raises:
        WriteKeyReused: it was another request.
    """
    entry = read_entry(connection, _BY_KEY, [tenant.slug, key])
    if entry is not None and entry.request_hash != request_hash:
        raise WriteKeyReused(
            "This Idempotency-Key came with another request before; use a new one for each."
        )
    return entry


def entry_of(connection: psycopg.Connection, tenant: Tenant, entry_id: UUID) -> WriteEntry | None:
    """The write of this id, if it is the tenant's."""
    return read_entry(connection, _BY_ID, [tenant.slug, entry_id])


def intend(
    warehouse: Warehouse, intent: Intent, *, retry_in: timedelta = RETRY_AFTER
) -> WriteEntry:
    """Commits a write before it is done; a write of the same key is returned as it is.

    Args:
        warehouse: has the outbox.
        intent: the write.
        retry_in: when the background may take it, unless the caller has settled it by then.

    Raises:
        WriteKeyReused: the key came with another request, at the same time.
    """
    scope = intent.scope
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "mart": intent.mart,
        "verb": intent.verb,
        "remote_id": intent.remote_id,
        "parent": intent.parent_remote_id,
        "key": intent.idempotency_key,
        "hash": intent.request_hash,
        "who": intent.who,
        "is_async": intent.is_async,
        "body": Jsonb(intent.stored()),
        "columns": sorted(intent.new_values or intent.values),
        "version": intent.expected_version,
        "match": None if intent.match is None else Jsonb(dict(intent.match)),
        "retry_in": timedelta() if intent.is_async else retry_in,
        "kept": KEPT,
    }
    with warehouse.transaction(tenant=scope.tenant) as connection:
        connection.execute(_DELETE_OLD, values)
        entry = read_entry(connection, _INTEND, values)
        if entry is None and intent.idempotency_key is not None:
            entry = find(connection, scope.tenant, intent.idempotency_key, intent.request_hash)
    assert entry is not None  # noqa: S101 - it was inserted, or its key is there
    return entry


def note_sending(warehouse: Warehouse, entry: WriteEntry, body: Body) -> WriteEntry:
    """Commits that a call is being made, with the body in its last form."""
    values = {"id": entry.id, "body": Jsonb(body)}
    return _changed(warehouse, entry, _SENDING, values)


def note_matched(warehouse: Warehouse, entry: WriteEntry, remote_id: str) -> WriteEntry:
    """Commits that a create changes this record instead."""
    return _changed(warehouse, entry, _MATCHED, {"id": entry.id, "remote_id": remote_id})


def note_unmatched(warehouse: Warehouse, entry: WriteEntry) -> WriteEntry:
    """Commits that the record that was matched is gone, so that a new one is made after all."""
    return _changed(warehouse, entry, _UNMATCHED, {"id": entry.id})


def note_unsent(warehouse: Warehouse, entry: WriteEntry) -> WriteEntry:
    """Commits that the call was certainly not carried out."""
    return _changed(warehouse, entry, _UNSENT, {"id": entry.id})


def note_written(warehouse: Warehouse, entry: WriteEntry, remote_id: str | None) -> WriteEntry:
    """Commits that the source has it."""
    return _changed(warehouse, entry, _WRITTEN, {"id": entry.id, "remote_id": remote_id})


def note_conflict(warehouse: Warehouse, entry: WriteEntry, facts: Mapping[str, Any]) -> WriteEntry:
    """Commits that the record moved, and that a person decides."""
    return _changed(warehouse, entry, _CONFLICT, {"id": entry.id, "answer": Jsonb(dict(facts))})


def settle(
    warehouse: Warehouse, entry: WriteEntry, state: State, status: int, answer: Mapping[str, Any]
) -> WriteEntry:
    """Commits the outcome, and empties the body."""
    values = {"id": entry.id, "state": state, "status": status, "answer": Jsonb(dict(answer))}
    return _changed(warehouse, entry, _SETTLE, values)


def put_off(warehouse: Warehouse, entry: WriteEntry, until: datetime | None = None) -> None:
    """Lets the background try it later, each time after a longer wait."""
    values = {"id": entry.id, "until": until, "after": RETRY_AFTER, "max": RETRY_MAX}
    _changed(warehouse, entry, _PUT_OFF, values)


def due(warehouse: Warehouse, *, limit: int = 100) -> list[WriteEntry]:
    """The writes that the background settles now, the longest waiting first."""
    with warehouse.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(WriteEntry))
        return cursor.execute(_DUE, [limit]).fetchall()


def claimed(
    connection: psycopg.Connection, scope: Scope, mart: str, ids: Sequence[str]
) -> set[str]:
    """Those of these records that another create has made."""
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "mart": mart,
        "ids": list(ids),
    }
    return {row[0] for row in connection.execute(_CLAIMED, values).fetchall()}


def is_unsettled(connection: psycopg.Connection, entry: WriteEntry) -> bool:
    """True if an earlier create with the same match was sent and is not in the tables yet."""
    values = {
        "tenant": entry.tenant_id,
        "system": entry.system,
        "mart": entry.mart,
        "match": Jsonb(entry.match),
        "id": entry.id,
    }
    return connection.execute(_UNSETTLED, values).fetchone() is not None


def _changed(
    warehouse: Warehouse, entry: WriteEntry, query: str, values: Mapping[str, Any]
) -> WriteEntry:
    with warehouse.transaction(tenant=entry.scope.tenant) as connection:
        changed = read_entry(connection, query, values)
    if changed is None:
        raise Superseded(entry.tenant_id)  # the tenant was removed meanwhile
    return changed


_BY_KEY: Final = f"""
select {COLUMNS}
from integration.outbox
where outbox.tenant_id = %s
    and outbox.idempotency_key = %s
"""
_BY_ID: Final = f"""
select {COLUMNS}
from integration.outbox
where outbox.tenant_id = %s
    and outbox.id = %s
"""
_DELETE_OLD: Final = """
delete from integration.outbox
where outbox.tenant_id = %(tenant)s
    and (
        outbox.settled_at < now() - %(kept)s
        or (
            outbox.state = 'intended'
            and not outbox.is_async
            and outbox.created_at < now() - %(kept)s
        )
    )
"""
_INTEND: Final = f"""
insert into integration.outbox (
    tenant_id, system, company_id, mart, verb, remote_id, parent_remote_id, idempotency_key,
    request_hash, requested_by, is_async, body, sent_columns, expected_version, match,
    next_attempt_at
)
select
    %(tenant)s, %(system)s, connections.company_id, %(mart)s, %(verb)s, %(remote_id)s, %(parent)s,
    %(key)s, %(hash)s, %(who)s, %(is_async)s, %(body)s, %(columns)s, %(version)s, %(match)s,
    clock_timestamp() + %(retry_in)s
from (values (%(tenant)s, %(system)s)) as asked (tenant_id, system)
left join integration.connections
    on connections.tenant_id = asked.tenant_id
    and connections.system = asked.system
on conflict (tenant_id, idempotency_key) do nothing
returning {COLUMNS}
"""
_SENDING: Final = f"""
update integration.outbox
set state = 'sending',
    body = case
        when outbox.verb = 'create' and outbox.body -> 'new' is not null
            then jsonb_set(outbox.body, '{{new,call}}', %(body)s)
        else jsonb_set(outbox.body, '{{call}}', %(body)s)
    end,
    attempts = outbox.attempts + 1,
    first_sent_at = coalesce(outbox.first_sent_at, clock_timestamp()),
    last_sent_at = clock_timestamp()
where outbox.id = %(id)s
returning {COLUMNS}
"""
_MATCHED: Final = f"""
update integration.outbox
set verb = 'update',
    remote_id = %(remote_id)s,
    sent_columns = array(select jsonb_object_keys(outbox.body -> 'values') order by 1)
where outbox.id = %(id)s
returning {COLUMNS}
"""
_UNMATCHED: Final = f"""
update integration.outbox
set verb = 'create',
    remote_id = null,
    sent_columns = array(
        select jsonb_object_keys(coalesce(outbox.body -> 'new', outbox.body) -> 'values') order by 1
    )
where outbox.id = %(id)s
returning {COLUMNS}
"""
_UNSENT: Final = f"""
update integration.outbox
set state = 'intended',
    first_sent_at = null,
    last_sent_at = null
where outbox.id = %(id)s
returning {COLUMNS}
"""
_WRITTEN: Final = f"""
update integration.outbox
set state = 'written',
    remote_id = coalesce(%(remote_id)s, outbox.remote_id)
where outbox.id = %(id)s
returning {COLUMNS}
"""
_CONFLICT: Final = f"""
update integration.outbox
set state = 'conflict',
    answer = %(answer)s
where outbox.id = %(id)s
returning {COLUMNS}
"""
_SETTLE: Final = f"""
update integration.outbox
set state = %(state)s,
    status = %(status)s,
    answer = %(answer)s,
    body = null,
    match = null,
    settled_at = clock_timestamp()
where outbox.id = %(id)s
returning {COLUMNS}
"""
_PUT_OFF: Final = f"""
update integration.outbox
set next_attempt_at = coalesce(
        %(until)s,
        clock_timestamp() + least(%(max)s, %(after)s * power(2, least(outbox.attempts, 10)))
    )
where outbox.id = %(id)s
returning {COLUMNS}
"""
_DUE: Final = f"""
select {COLUMNS}
from integration.outbox
inner join integration.connections
    on connections.tenant_id = outbox.tenant_id
    and connections.system = outbox.system
    and connections.state = 'connected'
where outbox.settled_at is null
    and (outbox.state in ('sending', 'written') or (outbox.state = 'intended' and outbox.is_async))
    and outbox.next_attempt_at <= clock_timestamp()
order by
    outbox.next_attempt_at asc,
    outbox.id asc
limit %s
"""
_CLAIMED: Final = """
select outbox.remote_id
from integration.outbox
where outbox.tenant_id = %(tenant)s
    and outbox.system = %(system)s
    and outbox.mart = %(mart)s
    and outbox.verb = 'create'
    and outbox.remote_id = any (%(ids)s)
"""
_UNSETTLED: Final = """
select
from integration.outbox
where outbox.tenant_id = %(tenant)s
    and outbox.system = %(system)s
    and outbox.mart = %(mart)s
    and outbox.match = %(match)s
    and outbox.state in ('sending', 'written')
    and outbox.id <> %(id)s
limit 1
"""
