"""Rate limits: rolling windows of requests by caller, and an allowance of tokens by day."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Literal
from zoneinfo import ZoneInfo

from pipedrive_pipeline.sandbox.kit.clock import ServerClock

Admission = Literal["admitted", "refused", "blocked"]


@dataclass(frozen=True)
class WindowState:
    """The state of a caller's window after one request."""

    limit: int
    remaining: int
    reset_seconds: int
    admission: Admission = "admitted"


class RollingWindow:
    """Counts the requests of each caller over a rolling window of real time.

    A caller who goes on after `abuse_count` refusals within `abuse_seconds` is blocked for as long.
    """

    def __init__(
        self,
        window_seconds: float,
        *,
        abuse_count: int,
        abuse_seconds: float,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_seconds, self._seconds = window_seconds, seconds
        self._abuse_count, self._abuse_seconds = abuse_count, abuse_seconds
        self._calls: dict[tuple[str, Hashable], deque[float]] = defaultdict(deque)
        self._refused: dict[str, deque[float]] = defaultdict(deque)
        self._blocked_until: dict[str, float] = {}

    def admit(
        self, caller: str, limit: int, *, window: Hashable = None, can_be_blocked: bool = False
    ) -> WindowState:
        """Counts one request.

        Args:
            caller: the token that it came with.
            limit: how many requests fit into the window.
            window: a caller has one window for each of these.
            can_be_blocked: if false, refusals are never counted as abuse.
        """
        now = self._seconds()
        if now < self._blocked_until.get(caller, 0.0):
            return WindowState(limit, 0, 0, "blocked")
        calls = self._calls[caller, window]
        _forget(calls, now - self._window_seconds)
        is_full = len(calls) >= limit
        if not is_full:
            calls.append(now)
        reset = max(1, round(calls[0] + self._window_seconds - now))
        if not is_full:
            return WindowState(limit, limit - len(calls), reset)
        is_abuse = self._count_refusal(caller, now) and can_be_blocked
        if is_abuse:
            self._blocked_until[caller] = now + self._abuse_seconds
        return WindowState(limit, 0, reset, "blocked" if is_abuse else "refused")

    def _count_refusal(self, caller: str, now: float) -> bool:
        """True if the caller was refused more often than is taken for a mistake."""
        refused = self._refused[caller]
        _forget(refused, now - self._abuse_seconds)
        refused.append(now)
        return len(refused) > self._abuse_count


class DailyAllowance:
    """The tokens that a whole company may spend in a day."""

    def __init__(self, limit: int, zone: str, clock: ServerClock) -> None:
        self._clock = clock
        self._zone = ZoneInfo(zone)
        self.limit = limit
        self._day = self._today()
        self._spent = 0

    @property
    def remaining(self) -> int:
        """The remaining tokens of today."""
        today = self._today()
        if today != self._day:
            self._day, self._spent = today, 0
        return max(0, self.limit - self._spent)

    def spend(self, tokens: int) -> None:
        """Charge tokens of a request or of another app."""
        self._spent = self.limit - self.remaining + tokens

    def seconds_to_reset(self) -> int:
        """Seconds to midnight in the allowance's time zone."""
        local = self._clock.now().astimezone(self._zone)
        day = (local + timedelta(days=1)).date()
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return max(1, ceil(midnight.timestamp() - local.timestamp()))

    def _today(self) -> str:
        return self._clock.now().astimezone(self._zone).date().isoformat()


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
