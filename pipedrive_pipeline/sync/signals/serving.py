"""Serves signals: reads the records again, builds the marts, deletes the signals.

The owner of the lock on raw serves them: a walk at each border of a chunk, else a refresh. A
signal is deleted only after raw and marts with its record are committed, and only if no newer
signal of the record has arrived.

Signalled records of an entity are read by their ids, or by one walk over what changed, whichever
costs fewer tokens: a bulk edit of 50,000 records is 100 pages, and would be 500 calls by ids. What
the walk does not give is read by its id.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil

from pipedrive_pipeline import marts
from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.errors import (
    BudgetSpent,
    DatabaseUnavailable,
    Permanent,
    PipelineError,
    Superseded,
)
from pipedrive_pipeline.ingest.outcome import Event
from pipedrive_pipeline.ingest.signalled import SignalledRecords
from pipedrive_pipeline.marts.sinks import feed_sinks
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.signals.store import (
    Lag,
    Signal,
    StoredEvent,
    Waiting,
    events_of,
    has_due_signals,
    note_attempt,
    put_off,
    settle,
    waiting_signals,
)
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.sync.tenancy.person_erasure import erase_returned_records
from pipedrive_pipeline.warehouse.database import Warehouse

SIGNALS_PER_TURN = 500  # records of an entity that are read by ids; the others wait for the next
ASKED_EVERY_SECONDS = 5.0
WALKED_SECONDS_MAX = 10.0  # between two turns that take longer
HELPLESS_SECONDS = 60.0
ALL_SIGNALS = 1_000_000  # of an entity that is read by one walk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChangesWalk:
    """Reads what changed of an entity, from its cursor; only a run that walks nothing else does."""

    changed_count: Callable[[Entity], int | None]  # since its cursor; None: it has no cursor
    read: Callable[[Entity], Collection[str]]  # the keys; raises the error that the walk ended with


@dataclass(frozen=True)
class Served:
    """What became of the signals of one turn."""

    count: int = 0  # records that were read again, built and are no longer signalled
    built: marts.MartsBuilt | None = None
    errors: tuple[PipelineError, ...] = ()  # of entities whose records could not be read
    lag: Lag | None = None  # of the events among them


class SignalsInWalk:
    """Serves signals between the loads of a walk, and asks for an early load where some wait.

    A chunk may take a minute to read. Between two turns the walk goes on for as long as a turn
    takes, up to a limit: where edits arrive all the time, each chunk had one page, and a read took
    ten times as long. Where serving did not help, because signals wait for tokens or for the
    end of the walk, the next chunks are as long as ever.
    """

    def __init__(
        self,
        lock: TenantLock,
        scope: Scope,
        records: SignalledRecords,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock, self._scope, self._records, self._clock = lock, scope, records, clock
        self._asked_next = clock()

    def are_waiting(self) -> bool:
        """True if signals are due; the database is asked every few seconds."""
        if self._clock() < self._asked_next:
            return False
        self._asked_next = self._clock() + ASKED_EVERY_SECONDS
        return has_due_signals(self._lock.warehouse, self._scope)

    def serve(self) -> None:
        """Serves what is due; where the marts cannot be built, the walk goes on and says it itself.

        Raises:
            DatabaseUnavailable, Superseded: this run may not write any more.
        """
        if not has_due_signals(self._lock.warehouse, self._scope):
            return
        began = self._clock()
        try:
            served_count = serve_signals(self._lock, self._scope, self._records).count
        except (DatabaseUnavailable, Superseded):
            raise
        except PipelineError as error:
            log.warning("%s: signals wait for the end of the walk: %s", self._scope, error)
            served_count = 0
        taken = self._clock() - began
        pause = min(max(ASKED_EVERY_SECONDS, taken), WALKED_SECONDS_MAX)
        self._asked_next = self._clock() + (pause if served_count else HELPLESS_SECONDS)


@dataclass
class _Turn:
    """The signals that are served in one build of the marts."""

    warehouse: Warehouse
    scope: Scope
    records: SignalledRecords
    walk: ChangesWalk | None
    served: list[Signal] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    errors: list[PipelineError] = field(default_factory=list)

    def read(self, waiting: Mapping[str, Waiting]) -> None:
        """Reads each entity in the system's order; one that the tenant does not read is ignored."""
        entities_on = entities_read(self.warehouse, self.scope)
        for name in waiting.keys() - entities_on.keys():
            self._settle(waiting[name].signals)
        for name, entity in entities_on.items():
            if name in waiting and (signals := self._read_entity(entity, waiting[name])):
                ids = [signal.remote_id for signal in signals]
                with self._noted_failures(entity, ()):  # the lists stay due for the next sync
                    self.records.read_children(entity, ids, entities_on.keys())

    def _read_entity(self, entity: Entity, waiting: Waiting) -> Sequence[Signal]:
        """Returns the signals whose records are in raw now; none if they wait or a read failed."""
        signals, walk = waiting.signals, self.walk
        if not _is_walk_cheaper(entity, waiting.count, walk):
            with self._noted_failures(entity, signals):
                events = self._settle(signals)
                ids = [signal.remote_id for signal in signals]
                self.records.read_again(entity, ids, events)
                return signals
        elif walk is not None:
            signals = self._all_signals(entity)
            with self._noted_failures(entity, signals):
                events = self._settle(signals)
                ids = [signal.remote_id for signal in signals]
                self.records.read_rest(entity, ids, walk.read(entity), events)
                return signals
        return ()

    def _all_signals(self, entity: Entity) -> tuple[Signal, ...]:
        found = waiting_signals(self.warehouse, self.scope, limit=ALL_SIGNALS, entity=entity.name)
        return found[entity.name].signals if found else ()

    def _settle(self, signals: Sequence[Signal]) -> list[Event]:
        """Takes the signals and their events into this turn; returns the events."""
        events = events_of(self.warehouse, self.scope, signals)
        self.served += signals
        self.events += events
        return [stored.event for stored in events]

    @contextmanager
    def _noted_failures(self, entity: Entity, signals: Sequence[Signal]) -> Iterator[None]:
        """Keeps signals that could not be served for a later attempt."""
        served, events = len(self.served), len(self.events)
        try:
            yield
        except (DatabaseUnavailable, Superseded):
            raise
        except PipelineError as error:
            log.warning("%s: signalled %s were not read: %s", self.scope, entity.name, error)
            self.errors.append(error)
            del self.served[served:], self.events[events:]
            _note_failure(self.warehouse, self.scope, signals, error)


def serve_signals(
    lock: TenantLock,
    scope: Scope,
    records: SignalledRecords,
    walk: ChangesWalk | None = None,
) -> Served:
    """Reads the signalled records again and builds the marts; the lock on raw is held.

    Args:
        lock: on raw.
        scope: whose signals.
        records: reads them.
        walk: None within a walk; then signals that a walk would serve cheaper wait for its end.

    Raises:
        AuditBreach, BuildRefused, Busy, Contended: the marts were not built; the signals stay.
        DatabaseUnavailable, Superseded: this run may not write any more.
    """
    waiting = waiting_signals(lock.warehouse, scope, limit=SIGNALS_PER_TURN)
    if not waiting:
        return Served()
    turn = _Turn(lock.warehouse, scope, records, walk)
    turn.read(waiting)
    if not turn.served:
        return Served(errors=tuple(turn.errors))
    built = _build(lock, scope)
    with lock.warehouse.transaction(tenant=scope.tenant) as connection:
        lag = settle(connection, scope, turn.served, turn.events)
    for fed in feed_sinks(lock.warehouse, scope, is_whole=False):
        if fed.message:  # its state has it, too; the signals are served
            log.warning("%s: %s", scope, fed.message)
    return Served(len(turn.served), built, tuple(turn.errors), lag)


def _build(lock: TenantLock, scope: Scope) -> marts.MartsBuilt | None:
    """Builds what changed; None if the records were in raw as they are, as after a write of ours.

    Nothing is locked then: such a turn takes half the time of one with a build.
    """
    with lock.warehouse.transaction(tenant=scope.tenant) as connection:
        if not marts.is_build_due(connection, scope):
            return None
    with lock.with_marts() as both:
        erase_returned_records(both.warehouse, scope)
        return marts.build(both.warehouse, scope, is_read_running=True)


def _is_walk_cheaper(entity: Entity, count: int, walk: ChangesWalk | None) -> bool:
    """True if one walk over what changed costs fewer tokens than the records by their ids."""
    cost, read = entity.cost, entity.read
    if isinstance(read, Children) or entity.version_column is None:
        return False
    by_ids = ceil(count / cost.ids_per_call) * cost.tokens_per_page
    if by_ids <= _price_of_walk(entity, count):
        return False
    if walk is None:
        return True
    changed = walk.changed_count(entity)
    return changed is not None and _price_of_walk(entity, max(changed, count)) < by_ids


def _price_of_walk(entity: Entity, changed: int) -> int:
    cost = entity.cost
    return cost.tokens_of_no_change + changed // cost.records_per_page * cost.tokens_per_page


def _note_failure(
    warehouse: Warehouse, scope: Scope, signals: Sequence[Signal], error: PipelineError
) -> None:
    with warehouse.transaction(tenant=scope.tenant) as connection:
        if isinstance(error, BudgetSpent):
            put_off(connection, scope, signals, error.resets_at)
        else:
            is_permanent = isinstance(error, Permanent)
            note_attempt(connection, scope, signals, is_permanent=is_permanent)


def together(turns: Sequence[Served]) -> Served:
    """Returns several turns as one, with the sum of their counts."""
    built = [turn.built for turn in turns if turn.built]
    counts: dict[str, marts.RowCounts] = {}
    for name, of_turn in (item for each in built for item in each.counts.items()):
        counts[name] = counts.get(name, marts.RowCounts()) + of_turn
    lags = [turn.lag for turn in turns if turn.lag]
    return Served(
        sum(turn.count for turn in turns),
        replace(built[-1], counts=counts) if built else None,
        tuple(error for turn in turns for error in turn.errors),
        Lag(
            sum(lag.events for lag in lags),
            max(lag.since_received for lag in lags),
            max(lag.since_happened for lag in lags),
        )
        if lags
        else None,
    )
