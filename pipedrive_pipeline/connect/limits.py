"""How often one caller may ask: a window of a minute, in this process.

Belongs here: counting. Does not belong here: who the caller is (`callers.py`).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from pipedrive_pipeline.connect.refusals import TooManyRequests

WINDOW_SECONDS = 60.0
CALLERS_MAX = 10_000  # remembered at once; the longest quiet one is forgotten


@dataclass(frozen=True)
class Turn:
    """What is left of a caller's window."""

    limit: int
    left: int
    resets_in_seconds: float


@dataclass
class Windows:
    """One window a caller."""

    limit: int
    monotonic_seconds: Callable[[], float] = time.monotonic
    _counts: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, caller: str) -> Turn:
        """One more request of this caller.

        Raises:
            TooManyRequests: its window is full.
        """
        now = self.monotonic_seconds()
        with self._lock:
            began, count = self._counts.pop(caller, (now, 0))
            if now - began >= WINDOW_SECONDS:
                began, count = now, 0
            self._counts[caller] = (began, count + 1)
            if len(self._counts) > CALLERS_MAX:
                self._counts.popitem(last=False)
        left_seconds = WINDOW_SECONDS - (now - began)
        if count >= self.limit:
            raise TooManyRequests(left_seconds)
        return Turn(self.limit, self.limit - count - 1, left_seconds)
