"""Serves signals as they arrive, in one process that stays: a second after an event, not ten.

The start of a run's process takes longer than the work for a few records. This loop serves what
costs a few calls; a bulk edit, and what waits ten seconds, is for a run of the job `refresh`,
so a loop that is not running loses nothing. Several loops may run: a tenant's lock lets one of them
through.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from pipedrive_pipeline.errors import Busy, DatabaseUnavailable, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.serving import Served
from pipedrive_pipeline.sync.signals.store import due_scopes
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

POLL_SECONDS = 0.5
BUSY_SECONDS = 2.0  # until a scope is tried again whose lock another run has
LEFT_SECONDS = 20.0  # or of which a bulk edit is left: the run that serves it needs the lock
FAILED_SECONDS = 60.0  # or that failed
DATABASE_SECONDS = 5.0  # until a database is asked again that could not be reached
TURNS = 2  # of one scope, so that the others wait no longer

log = logging.getLogger(__name__)


def serve_until(
    stop: threading.Event,
    warehouse: Warehouse,
    settings: Settings,
    on_served: Callable[[Scope, Served], None] = lambda _scope, _served: None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Serves the signals of all scopes, the longest waiting first, until ``stop`` is set."""
    not_before: dict[Scope, float] = {}  # by the clock
    with reusing(warehouse) as reused:
        while not stop.is_set():
            try:
                scopes = due_scopes(reused, older_than=timedelta(0))
            except DatabaseUnavailable as error:
                log.warning("%s", error)
                stop.wait(DATABASE_SECONDS)
                continue
            now = clock()
            not_before = {scope: at for scope, at in not_before.items() if at > now}
            for scope in scopes:
                if scope not in not_before and not stop.is_set():
                    pause = _serve(reused, settings, scope, on_served)
                    if pause:
                        not_before[scope] = clock() + pause
            stop.wait(POLL_SECONDS)


def _serve(
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    on_served: Callable[[Scope, Served], None],
) -> float:
    """Serves one scope; returns the seconds until it may be tried again."""
    try:
        served = serve_waiting(warehouse, settings, scope, turns=TURNS, may_walk=False)
    except Busy:
        return BUSY_SECONDS  # the run that has the lock serves them at its next chunk
    except DatabaseUnavailable as error:
        log.warning("%s: signals wait for the database: %s", scope, error)
        return DATABASE_SECONDS
    except PipelineError as error:
        log.warning("%s: signals were not served: %s", scope, error)
        return FAILED_SECONDS
    except Exception:  # a mistake of ours that shows with one tenant must not stop the others
        log.exception("%s: signals were not served", scope)
        return FAILED_SECONDS
    if served.count:
        log.info("%s: %s signalled records were read again.", scope, served.count)
    on_served(scope, served)
    return 0.0 if served.count else LEFT_SECONDS
