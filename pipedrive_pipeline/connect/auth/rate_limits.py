"""Rate limits: the requests of one caller within a minute, in this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from pipedrive_pipeline.connect.errors import TooManyRequests

WINDOW_SECONDS = 60.0
REQUESTS_A_MINUTE = 600  # of one key and tenant: a page that polls ten times a second
FAILURES_A_MINUTE = 20  # of one address: wrong keys, forged states, unknown links
CALLERS_MAX = 10_000  # the caller that was quiet for the longest time is forgotten


@dataclass(frozen=True)
class Quota:
    """The rest of a caller's window, for the headers of the answer."""

    limit: int
    remaining: int
    resets_in_seconds: float


@dataclass
class RateLimit:
    """One window per caller."""

    limit: int
    monotonic_seconds: Callable[[], float] = time.monotonic
    _counts: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, caller: str) -> Quota:
        """Counts one more request of this caller.

        Raises:
            TooManyRequests: the limit is reached.
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
        return Quota(self.limit, self.limit - count - 1, left_seconds)
