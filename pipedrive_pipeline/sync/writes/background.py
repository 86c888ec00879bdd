"""Settles in the background what no caller waits for: asynchronous writes, and lost answers.

It runs in the process of `serve-signals`, in a thread of its own, since a call may take minutes. A
write of a caller who waited is only looked up and brought into the tables, never sent again: that
is for the caller's next request with the same Idempotency-Key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from pipedrive_pipeline.errors import BudgetSpent, DatabaseUnavailable, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.writes import outbox
from pipedrive_pipeline.sync.writes.engine import Writes
from pipedrive_pipeline.sync.writes.entries import WriteEntry
from pipedrive_pipeline.sync.writes.errors import WriteError
from pipedrive_pipeline.sync.writes.steps import ACCEPTED, TIMING, Timing
from pipedrive_pipeline.warehouse.database import Warehouse

POLL_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


def settle_until(
    stop: threading.Event, warehouse: Warehouse, settings: Settings, timing: Timing = TIMING
) -> None:
    """Settles what is due, every few seconds, until ``stop`` is set."""
    while not stop.is_set():
        try:
            settle_due(warehouse, settings, timing)
        except DatabaseUnavailable as error:
            log.warning("%s", error)
        except Exception:  # a mistake of ours must not end the process that serves signals
            log.exception("writes were not settled")
        stop.wait(POLL_SECONDS)


def settle_due(warehouse: Warehouse, settings: Settings, timing: Timing = TIMING) -> int:
    """Settles the writes that are due; returns how many are settled now."""
    entries = sorted(outbox.due(warehouse), key=lambda each: (each.tenant_id, each.system))
    count = 0
    for scope, group in groupby(entries, key=lambda each: each.scope):
        count += _settle(warehouse, settings, scope, list(group), timing)
    return count


def _settle(
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    entries: Sequence[WriteEntry],
    timing: Timing,
) -> int:
    try:
        ended = Writes(warehouse, settings, scope, timing, is_background=True).do(entries)
    except PipelineError as error:
        log.info("%s: writes wait: %s", scope, error)
        for entry in entries:
            outbox.put_off(warehouse, entry)
        return 0
    count = 0
    for entry, end in zip(entries, ended, strict=True):
        if isinstance(end, WriteError) or (
            not isinstance(end, PipelineError) and end.status != ACCEPTED
        ):
            count += 1
            continue
        until = end.resets_at if isinstance(end, BudgetSpent) else None
        outbox.put_off(warehouse, entry, until)
        log.info("%s: a write of %s waits: %s", scope, entry.mart, end)
    return count
