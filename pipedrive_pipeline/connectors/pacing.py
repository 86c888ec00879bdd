"""Spaces calls so that a healthy run never gets a 429.

Until an answer has named a limit no call waits, since not every system names one. From then
on at most the limit, less a small reserve, is begun in any one window; and when the source says
that nearly nothing is left, because another process uses the same token, the window is sat out.
"""

from __future__ import annotations

import asyncio
from collections import deque

from pipedrive_pipeline.connectors.answers import RateLimits
from pipedrive_pipeline.connectors.transport import Clock

RESERVE_SHARE = 0.05  # of the limit: calls that arrive closer together than they were sent
MARGIN_SHARE = 0.1  # of the window, added to it for the same reason


class Pacer:
    """Lets calls begin, one after the other, no more than the source's window holds."""

    def __init__(self, window_seconds: float, clock: Clock) -> None:
        self._window_seconds = window_seconds * (1 + MARGIN_SHARE)
        self._clock = clock
        self._begun: deque[float] = deque()
        self._limit: int | None = None
        self._blocked_until = 0.0
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Return when the next call may begin, and count it."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0:
                await self._clock.sleep(wait)
            self._begun.append(self._clock.monotonic_seconds())

    def learn(self, limits: RateLimits) -> None:
        """Takes in the limits that an answer reported."""
        if limits.burst_limit is not None and limits.burst_limit > 0:
            self._limit = limits.burst_limit
        if limits.burst_left is not None and limits.burst_left < max(1, self._reserve()):
            reset = limits.burst_reset_seconds
            seconds = self._window_seconds if reset is None else min(reset, self._window_seconds)
            until = self._clock.monotonic_seconds() + max(seconds, 0.0)
            self._blocked_until = max(self._blocked_until, until)

    def _reserve(self) -> int:
        return (
            0 if self._limit is None or self._limit <= 2 else 1 + int(self._limit * RESERVE_SHARE)
        )

    def _wait_seconds(self) -> float:
        now = self._clock.monotonic_seconds()
        while self._begun and self._begun[0] <= now - self._window_seconds:
            self._begun.popleft()
        blocked = self._blocked_until - now
        if self._limit is None:
            return blocked
        allowed = self._limit - self._reserve()
        if len(self._begun) < allowed:
            return blocked
        must_leave_first = self._begun[len(self._begun) - allowed]
        return max(blocked, must_leave_first + self._window_seconds - now)
