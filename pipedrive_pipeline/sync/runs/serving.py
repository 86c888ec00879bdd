"""Serves signals: reads the records again, builds the marts, deletes the signals.

Whoever holds the lock on raw serves them: a walk at each border of a chunk, else a refresh run. A
signal is deleted only after raw and marts with its record are committed, and only if no newer
signal of the record has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pipedrive_pipeline import marts
from pipedrive_pipeline.errors import DatabaseUnavailable, PipelineError, Superseded
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import TenantLock
from pipedrive_pipeline.sync.runs.signals import (
    Signal,
    delete_signals,
    note_attempt,
    waiting_signals,
)
from pipedrive_pipeline.sync.tenancy.erasure import erase_returned_records
from pipedrive_pipeline.warehouse.database import Warehouse

SIGNALS_PER_TURN = 500  # records; further ones are served at the next border of a chunk

log = logging.getLogger(__name__)


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


def serve_signals(lock: TenantLock, scope: Scope, refresher: Refresher) -> Served:
    """Reads the signalled records again and builds the marts; the lock on raw is held.

    Raises:
        AuditBreach, BuildRefused, Busy, Contended: the marts were not built; the signals stay.
        DatabaseUnavailable, Superseded: this run may not write any more.
    """
    waiting = waiting_signals(lock.warehouse, scope, SIGNALS_PER_TURN)
    if not waiting:
        return Served()
    turn = _read_again(lock.warehouse, scope, refresher, waiting)
    if not turn.served:
        return Served(errors=tuple(turn.errors))
    with lock.with_marts() as both:
        erase_returned_records(both.warehouse, scope)
        built = marts.build(both.warehouse, scope, is_read_running=True)
    with lock.warehouse.transaction(tenant=scope.tenant) as connection:
        delete_signals(connection, scope, turn.served)
    return Served(len(turn.served), built, tuple(turn.errors))


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
                note_attempt(connection, scope, of_entity)
        else:
            turn.served += of_entity
    return turn
