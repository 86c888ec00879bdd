"""Signals: records that changed at the source and are to be read again, one row for each record.

Whoever holds the lock on raw serves them: a walk at each border of a chunk, else a refresh run. A
signal is deleted only after raw and marts with its record are committed, and only if no newer
signal of the record has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from uuid import UUID

import psycopg

from pipedrive_pipeline import marts
from pipedrive_pipeline.errors import DatabaseUnavailable, PipelineError, Superseded
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.tenancy.erasure import erase_returned_records
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SIGNALS_PER_TURN = 500  # records; further ones are served at the next border of a chunk
REFRESHED_AFTER = timedelta(seconds=10)  # by a run of its own, if no walk has served it by then
RETRY_AFTER = timedelta(minutes=1)  # and as much longer with each attempt in vain
ATTEMPTS = 5  # then the next sync has to find the change

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signal:
    """One record that changed; ``signal`` is a new value with each change that was signalled."""

    entity: str
    remote_id: str
    signal: UUID


@dataclass(frozen=True)
class Served:
    """What became of the signals of one turn."""

    count: int = 0  # records that were read again, built and are no longer signalled
    built: marts.MartsBuilt | None = None
    errors: tuple[PipelineError, ...] = ()  # of entities whose records could not be read


@dataclass
class _Turn:
    served: list[Signal] = field(default_factory=list)
    errors: list[PipelineError] = field(default_factory=list)


def signal_records(warehouse: Warehouse, scope: Scope, entity: str, ids: Iterable[str]) -> None:
    """Writes a signal for each record."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        connection.cursor().executemany(
            _SIGNAL, [(scope.tenant.slug, scope.system, entity, remote_id) for remote_id in ids]
        )


def serve_signals(lock: TenantLock, scope: Scope, refresher: Refresher) -> Served:
    """Reads the signalled records again and builds the marts; the lock on raw is held.

    Raises:
        AuditBreach, BuildRefused, Busy, Contended: the marts were not built; the signals stay.
        DatabaseUnavailable, Superseded: this run may not write any more.
    """
    waiting = _waiting(lock.warehouse, scope)
    if not waiting:
        return Served()
    turn = _read_again(lock.warehouse, scope, refresher, waiting)
    if not turn.served:
        return Served(errors=tuple(turn.errors))
    with lock.with_marts() as both:
        erase_returned_records(both.warehouse, scope)
        built = marts.build(both.warehouse, scope, is_read_running=True)
    with lock.warehouse.transaction(tenant=scope.tenant) as connection:
        _delete(connection, scope, turn.served)
    return Served(len(turn.served), built, tuple(turn.errors))


def due_scopes(warehouse: Warehouse) -> list[Scope]:
    """Returns the connected scopes with signals that no walk has served within ten seconds."""
    values = {"refreshed_after": REFRESHED_AFTER, "retry_after": RETRY_AFTER}
    with warehouse.transaction() as connection:
        rows = connection.execute(_DUE, values).fetchall()
    return [Scope(Tenant(slug), system) for slug, system in rows]


def _read_again(
    warehouse: Warehouse, scope: Scope, refresher: Refresher, waiting: Sequence[Signal]
) -> _Turn:
    turn = _Turn()
    for entity, signals in groupby(waiting, key=lambda signal: signal.entity):
        of_entity = list(signals)
        try:
            refresher.refresh(entity, [signal.remote_id for signal in of_entity])
        except (DatabaseUnavailable, Superseded):
            raise
        except PipelineError as error:
            log.warning("%s: signalled %s were not read: %s", scope, entity, error)
            turn.errors.append(error)
            with warehouse.transaction(tenant=scope.tenant) as connection:
                _note_attempt(connection, scope, of_entity)
        else:
            turn.served += of_entity
    return turn


def _waiting(warehouse: Warehouse, scope: Scope) -> list[Signal]:
    values = [scope.tenant.slug, scope.system, SIGNALS_PER_TURN]
    with warehouse.transaction(tenant=scope.tenant) as connection:
        rows = connection.execute(_WAITING, values).fetchall()
    return [Signal(*row) for row in sorted(rows)]


def _delete(connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal]) -> None:
    connection.execute(_DELETE, [scope.tenant.slug, scope.system, _values(signals)])


def _note_attempt(connection: psycopg.Connection, scope: Scope, signals: Sequence[Signal]) -> None:
    values = [scope.tenant.slug, scope.system, _values(signals)]
    connection.execute(_ATTEMPT, values)
    connection.execute(_GIVE_UP, [*values, ATTEMPTS])


def _values(signals: Sequence[Signal]) -> list[UUID]:
    return [signal.signal for signal in signals]


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
