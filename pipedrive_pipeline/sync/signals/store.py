"""Signals: records that changed at the source and are to be read again, one row for each record.

A webhook's event becomes a row of `integration.webhook_events` and a signal in one statement. The
row keeps what only the event knows until `serving.py` has used it, and is there until the source no
longer repeats the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.ingest.outcome import Event
from pipedrive_pipeline.ingest.sanitise import clean_text, cleaned, json_text
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

REFRESHED_AFTER = timedelta(seconds=10)  # by a run of its own, if nothing has served it by then
RETRY_AFTER = timedelta(minutes=1)  # and as much longer with each attempt in vain
ATTEMPTS = 5  # at what a rerun cannot mend; then the next sync has to find the change
ASKED_AGAIN_AFTER = timedelta(minutes=10)  # while today's tokens are spent
EVENTS_KEPT = timedelta(days=2)  # a source repeats one for hours at most; longer, its lag is shown
EVENTS_PER_DELETE = 10_000


@dataclass(frozen=True)
class Signal:
    """One record that changed; ``signal`` is a new value with each change that was signalled."""

    entity: str
    remote_id: str
    signal: UUID


@dataclass(frozen=True)
class ReceivedEvents:
    """What one delivery of a webhook says."""

    scope: Scope
    webhook_id: str
    notices: Sequence[Notice]


@dataclass(frozen=True)
class Waiting:
    """The signals of one entity that are due: their number, and the first of them."""

    count: int
    signals: tuple[Signal, ...]


@dataclass(frozen=True)
class StoredEvent:
    """An event that waits, with the columns that name it."""

    webhook_id: str
    key: str
    entity: str
    event: Event


@dataclass(frozen=True)
class Lag:
    """From events to the commit of their rows: the longest of a turn, in seconds."""

    events: int
    since_received: float
    since_happened: float  # by the source's clock


def receive(warehouse: Warehouse, scope: Scope, webhook_id: str, notices: Sequence[Notice]) -> int:
    """Stores the events of one delivery; see `receive_all`."""
    return receive_all(warehouse, [ReceivedEvents(scope, webhook_id, notices)])[0]


def receive_all(warehouse: Warehouse, deliveries: Sequence[ReceivedEvents]) -> list[int]:
    """Stores the events of deliveries with their signals; returns how many of each are new.

    When it returns, they are committed. It is one statement: an event has both rows, or none.
    """
    events = [[_event(delivery, notice) for notice in delivery.notices] for delivery in deliveries]
    if not any(events):
        return [0] * len(deliveries)
    values = {"events": Jsonb([event for each in events for event in each], dumps=json_text)}
    with warehouse.transaction() as connection:
        new = set(connection.execute(_RECEIVE, values).fetchall())
    counts = []
    for each in events:
        keys = {tuple(event[name] for name in KEY_OF_EVENT) for event in each} & new
        new -= keys  # a second delivery of the same event has none
        counts.append(len(keys))
    return counts


KEY_OF_EVENT = ("tenant_id", "system", "webhook_id", "event_key")


def _event(delivery: ReceivedEvents, notice: Notice) -> dict[str, Any]:
    stone = notice.tombstone
    return {
        "tenant_id": delivery.scope.tenant.slug,
        "system": delivery.scope.system,
        "webhook_id": clean_text(delivery.webhook_id),
        "event_key": clean_text(notice.key),
        "entity": clean_text(notice.entity),
        "remote_id": clean_text(notice.id),
        "happened_at": notice.happened_at and notice.happened_at.isoformat(),
        "reason": stone and stone.reason,
        "merged_into": stone and stone.merged_into and clean_text(stone.merged_into),
        "version": notice.version and cleaned(msgspec.json.encode(notice.version)).value,
        "actor_id": notice.actor_id and clean_text(notice.actor_id),
    }


def signal_records(warehouse: Warehouse, scope: Scope, entity: str, ids: Iterable[str]) -> None:
    """Writes a signal for each record."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        connection.cursor().executemany(
            _SIGNAL, [(scope.tenant.slug, scope.system, entity, remote_id) for remote_id in ids]
        )


def due_scopes(warehouse: Warehouse, *, older_than: timedelta = REFRESHED_AFTER) -> list[Scope]:
    """Returns the connected scopes with due signals of this age, the longest waiting first."""
    with warehouse.transaction() as connection:
        rows = connection.execute(_DUE, {"older_than": older_than}).fetchall()
    return [Scope(Tenant(slug), system) for slug, system in rows]


def has_due_signals(warehouse: Warehouse, scope: Scope) -> bool:
    """True if a signal of the scope is due."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        values = [scope.tenant.slug, scope.system]
        return connection.execute(_HAS_DUE, values).fetchone() is not None


def waiting_signals(
    warehouse: Warehouse, scope: Scope, *, limit: int, entity: str | None = None
) -> dict[str, Waiting]:
    """Returns the due signals by entity, at most ``limit`` of each, the oldest first."""
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "limit": limit,
        "entity": entity,
    }
    with warehouse.transaction(tenant=scope.tenant) as connection:
        rows = connection.execute(_WAITING, values).fetchall()
    waiting: dict[str, Waiting] = {}
    for name, of_entity in groupby(rows, key=lambda row: row[0]):
        *_, (_, _, _, count) = same = list(of_entity)
        waiting[name] = Waiting(count, tuple(Signal(*row[:3]) for row in same))
    return waiting


def events_of(warehouse: Warehouse, scope: Scope, signals: Sequence[Signal]) -> list[StoredEvent]:
    """Returns the events of these records of one entity that are not served yet."""
    if not signals:
        return []
    values = [
        scope.tenant.slug,
        scope.system,
        signals[0].entity,
        [signal.remote_id for signal in signals],
    ]
    with warehouse.transaction(tenant=scope.tenant) as connection:
        rows = connection.cursor(row_factory=dict_row).execute(_EVENTS, values).fetchall()
    return [_stored(row) for row in rows]


def _stored(row: dict[str, Any]) -> StoredEvent:
    stone = row["reason"] and Tombstone(row["remote_id"], row["reason"], row["merged_into"])
    event = Event(
        row["remote_id"],
        row["received_at"],
        row["happened_at"],
        stone,
        row["version"] and msgspec.json.decode(row["version"], type=dict[str, msgspec.Raw]),
        row["actor_id"],
    )
    return StoredEvent(row["webhook_id"], row["event_key"], row["entity"], event)


def settle(
    connection: psycopg.Connection,
    scope: Scope,
    signals: Sequence[Signal],
    events: Sequence[StoredEvent],
) -> Lag | None:
    """Deletes signals whose rows are committed and notes their events as served.

    A signal that arrived meanwhile has a new value and stays. Returns None if there is no event.
    """
    whose = [scope.tenant.slug, scope.system]
    keys = [[event.webhook_id for event in events], [event.key for event in events]]
    row = connection.execute(_SERVED, [*keys, *whose]).fetchone()
    connection.execute(_DELETE, [*whose, [signal.signal for signal in signals]])
    connection.execute(_DELETE_OLD, [*whose, EVENTS_KEPT, EVENTS_PER_DELETE])
    return Lag(*row) if row and row[0] else None


def forget_events(
    connection: psycopg.Connection, scope: Scope, entity: str, ids: Sequence[str]
) -> None:
    """Deletes the events of erased records; a delivery that is repeated only signals them again."""
    connection.execute(_FORGET, [scope.tenant.slug, scope.system, entity, list(ids)])


def note_attempt(
    connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal], *, is_permanent: bool
) -> None:
    """Counts an attempt in vain; signals that had too many are deleted if a rerun cannot help."""
    values = [scope.tenant.slug, scope.system, [signal.signal for signal in signals]]
    connection.execute(_ATTEMPT, [RETRY_AFTER, *values])
    if is_permanent:
        connection.execute(_DELETE + "    and signals.attempts >= %s", [*values, ATTEMPTS])


def put_off(
    connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal], until: datetime
) -> None:
    """Lets signals wait for tokens, without counting an attempt."""
    values = [scope.tenant.slug, scope.system, [signal.signal for signal in signals]]
    connection.execute(_PUT_OFF, [until, ASKED_AGAIN_AFTER, *values])


# In one order, so that two deliveries never wait for each other.
_RECEIVE = """
with given as (
    select event.*
    from jsonb_to_recordset(%(events)s) as event (
        tenant_id text,
        system text,
        webhook_id text,
        event_key text,
        entity text,
        remote_id text,
        happened_at timestamptz,
        reason text,
        merged_into text,
        version jsonb,
        actor_id text
    )
),

new as (
    insert into integration.webhook_events (
        tenant_id, system, webhook_id, event_key, entity, remote_id, happened_at, reason,
        merged_into, version, actor_id
    )
    select
        given.tenant_id,
        given.system,
        given.webhook_id,
        given.event_key,
        given.entity,
        given.remote_id,
        given.happened_at,
        given.reason,
        given.merged_into,
        given.version,
        given.actor_id
    from given
    order by
        given.tenant_id asc,
        given.system asc,
        given.webhook_id asc,
        given.event_key asc
    on conflict (tenant_id, system, webhook_id, event_key) do nothing
    returning
        tenant_id,
        system,
        webhook_id,
        event_key,
        entity,
        remote_id
),

signalled as (
    insert into integration.signals (tenant_id, system, entity, remote_id)
    select distinct
        new.tenant_id,
        new.system,
        new.entity,
        new.remote_id
    from new
    order by
        new.tenant_id asc,
        new.system asc,
        new.entity asc,
        new.remote_id asc
    on conflict (tenant_id, system, entity, remote_id) do update
    set signal = gen_random_uuid(),
        attempts = 0,
        retry_at = null
)

select
    new.tenant_id,
    new.system,
    new.webhook_id,
    new.event_key
from new
"""
_SIGNAL = """
insert into integration.signals (tenant_id, system, entity, remote_id)
values (%s, %s, %s, %s)
on conflict (tenant_id, system, entity, remote_id) do update
set signal = gen_random_uuid(),
    attempts = 0,
    retry_at = null
"""
_WAITING = """
select
    due.entity,
    due.remote_id,
    due.signal,
    due.waiting
from (
    select
        signals.entity,
        signals.remote_id,
        signals.signal,
        count(*) over (partition by signals.entity) as waiting,
        row_number() over (
            partition by signals.entity
            order by
                signals.attempts asc,
                signals.received_at asc
        ) as place
    from integration.signals
    where signals.tenant_id = %(tenant)s
        and signals.system = %(system)s
        and signals.entity = coalesce(%(entity)s, signals.entity)
        and (signals.retry_at is null or signals.retry_at <= now())
) as due
where due.place <= %(limit)s
order by
    due.entity asc,
    due.place asc
"""
_HAS_DUE = """
select
from integration.signals
where signals.tenant_id = %s
    and signals.system = %s
    and (signals.retry_at is null or signals.retry_at <= now())
limit 1
"""
_EVENTS = """
select
    webhook_events.webhook_id,
    webhook_events.event_key,
    webhook_events.entity,
    webhook_events.remote_id,
    webhook_events.received_at,
    webhook_events.happened_at,
    webhook_events.reason,
    webhook_events.merged_into,
    webhook_events.version::text as version,
    webhook_events.actor_id
from integration.webhook_events
where webhook_events.tenant_id = %s
    and webhook_events.system = %s
    and webhook_events.entity = %s
    and webhook_events.remote_id = any(%s)
    and webhook_events.served_at is null
order by webhook_events.received_at asc
"""
_SERVED = """
with served as (
    update integration.webhook_events
    set served_at = clock_timestamp()
    from unnest(%s::text[], %s::text[]) as event (webhook_id, event_key)
    where webhook_events.tenant_id = %s
        and webhook_events.system = %s
        and webhook_events.webhook_id = event.webhook_id
        and webhook_events.event_key = event.event_key
    returning
        webhook_events.received_at,
        webhook_events.happened_at,
        webhook_events.served_at
)

select
    count(*),
    coalesce(max(extract(epoch from served.served_at - served.received_at)), 0)::float8,
    coalesce(max(extract(epoch from served.served_at - served.happened_at)), 0)::float8
from served
"""
_DELETE = """
delete from integration.signals
where signals.tenant_id = %s
    and signals.system = %s
    and signals.signal = any(%s)
"""
# An event whose signal was given up is not served, and is as old.
_DELETE_OLD = """
delete from integration.webhook_events
where ctid = any(
    array(
        select old.ctid
        from integration.webhook_events as old
        where old.tenant_id = %s
            and old.system = %s
            and old.received_at < now() - %s
            and not exists (
                select
                from integration.signals
                where signals.tenant_id = old.tenant_id
                    and signals.system = old.system
                    and signals.entity = old.entity
                    and signals.remote_id = old.remote_id
            )
        order by old.received_at asc
        limit %s
    )
)
"""
_FORGET = """
delete from integration.webhook_events
where webhook_events.tenant_id = %s
    and webhook_events.system = %s
    and webhook_events.entity = %s
    and webhook_events.remote_id = any(%s)
"""
_ATTEMPT = """
update integration.signals
set attempts = signals.attempts + 1,
    retry_at = now() + least(signals.attempts + 1, 10) * %s::interval
where signals.tenant_id = %s
    and signals.system = %s
    and signals.signal = any(%s)
"""
_PUT_OFF = """
update integration.signals
set retry_at = least(%s, now() + %s::interval)
where signals.tenant_id = %s
    and signals.system = %s
    and signals.signal = any(%s)
"""
_DUE = """
select
    signals.tenant_id,
    signals.system
from integration.signals
inner join integration.connections
    on connections.tenant_id = signals.tenant_id
    and connections.system = signals.system
    and connections.state = 'connected'
where signals.received_at <= now() - %(older_than)s
    and (signals.retry_at is null or signals.retry_at <= now())
group by
    signals.tenant_id,
    signals.system
order by min(signals.received_at) asc
"""
