"""Signals: records that changed at the source and are to be read again, one row for each record.

A webhook's event becomes a row of `integration.webhook_events` and a signal in one statement. The
row keeps what only the event knows until `serving.py` has used it, and is there until the source no
longer repeats the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import Notice
from pipedrive_pipeline.ingest.sanitise import clean_text, cleaned, json_text
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

REFRESHED_AFTER = timedelta(seconds=10)  # by a run of its own, if no walk has served it by then
RETRY_AFTER = timedelta(minutes=1)  # and as much longer with each attempt in vain
ATTEMPTS = 5  # then the next sync has to find the change


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


def due_scopes(warehouse: Warehouse) -> list[Scope]:
    """Returns the connected scopes with signals that no walk has served within ten seconds."""
    values = {"refreshed_after": REFRESHED_AFTER, "retry_after": RETRY_AFTER}
    with warehouse.transaction() as connection:
        rows = connection.execute(_DUE, values).fetchall()
    return [Scope(Tenant(slug), system) for slug, system in rows]


def waiting_signals(warehouse: Warehouse, scope: Scope, limit: int) -> list[Signal]:
    """Returns the signals that wait, at most ``limit``: the first attempts first, then by age."""
    values = [scope.tenant.slug, scope.system, limit]
    with warehouse.transaction(tenant=scope.tenant) as connection:
        rows = connection.execute(_WAITING, values).fetchall()
    return [Signal(*row) for row in sorted(rows)]


def delete_signals(connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal]) -> None:
    """Deletes signals that were served; one that arrived meanwhile has a new value and stays."""
    connection.execute(_DELETE, [scope.tenant.slug, scope.system, _values(signals)])


def note_attempt(connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal]) -> None:
    """Counts an attempt in vain, and deletes the signals that had too many."""
    values = [scope.tenant.slug, scope.system, _values(signals)]
    connection.execute(_ATTEMPT, values)
    connection.execute(_GIVE_UP, [*values, ATTEMPTS])


def _values(signals: Sequence[Signal]) -> list[UUID]:
    return [signal.signal for signal in signals]


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
        attempts = 0
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
    attempts = 0
"""
_WAITING = """
select
    signals.entity,
    signals.remote_id,
    signals.signal
from integration.signals
where signals.tenant_id = %s
    and signals.system = %s
order by
    signals.attempts asc,
    signals.received_at asc
limit %s
"""
_DELETE = """
delete from integration.signals
where signals.tenant_id = %s
    and signals.system = %s
    and signals.signal = any(%s)
"""
_ATTEMPT = """
update integration.signals
set attempts = signals.attempts + 1
where signals.tenant_id = %s
    and signals.system = %s
    and signals.signal = any(%s)
"""
_GIVE_UP = _DELETE + "    and signals.attempts >= %s"
_DUE = """
select
    signals.tenant_id,
    signals.system
from integration.signals
inner join integration.connections
    on connections.tenant_id = signals.tenant_id
    and connections.system = signals.system
    and connections.state = 'connected'
where signals.received_at
    < now() - %(refreshed_after)s - signals.attempts * %(retry_after)s::interval
group by
    signals.tenant_id,
    signals.system
order by min(signals.received_at) asc
"""
