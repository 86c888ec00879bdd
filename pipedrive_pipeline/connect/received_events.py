"""Events of each webhook that a process received: limits them, and stores every few seconds.

What is stored here is for people and for gaps. The events themselves are stored before they are
answered (`hooks/webhook.py`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from pipedrive_pipeline.connect.errors import TooManyRequests
from pipedrive_pipeline.sync.webhooks import gaps
from pipedrive_pipeline.warehouse.database import Warehouse

STORE_SECONDS: Final = 2.0
WINDOW_SECONDS: Final = 10.0
EVENTS_PER_WINDOW: Final = 5_000  # of one webhook, in each process; a source sends far fewer


class Deliveries:
    """The events of one process since they were last stored, by webhook."""

    def __init__(
        self,
        events_per_window: int = EVENTS_PER_WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events_per_window, self.window_seconds = events_per_window, WINDOW_SECONDS
        self._clock = clock
        self._lock, self._began_at = threading.Lock(), clock()
        self._events = Counter[UUID]()  # of the current window
        self._newest: dict[UUID, datetime] = {}
        self._refused: set[UUID] = set()

    def count(self, webhook_id: UUID) -> None:
        """Counts an event that is about to be stored.

        Raises:
            TooManyRequests: this webhook has sent as many as are received in ten seconds. A sync
                finds what they were about.
        """
        with self._lock:
            now = self._clock()
            if now - self._began_at >= self.window_seconds:
                self._events, self._began_at = Counter(), now
            self._events[webhook_id] += 1
            if self._events[webhook_id] > self.events_per_window:
                self._refused.add(webhook_id)
                raise TooManyRequests(self._began_at + self.window_seconds - now)
            self._newest[webhook_id] = datetime.now(UTC)

    def refuse(self, webhook_id: UUID) -> None:
        """Notes that an event of this webhook was refused; a sync finds what it was about."""
        with self._lock:
            self._refused.add(webhook_id)

    def store(self, warehouse: Warehouse) -> None:
        """Stores that this process can receive, the newest event of each webhook, and refusals.

        Raises:
            DatabaseUnavailable: what was counted is stored the next time.
        """
        gaps.note_alive(warehouse)
        with self._lock:
            newest, self._newest = self._newest, {}
            refused, self._refused = self._refused, set()
        if not (newest or refused):
            return
        try:
            gaps.note_events(warehouse, newest, refused)
        except BaseException:
            with self._lock:
                self._newest = newest | self._newest
                self._refused |= refused
            raise
