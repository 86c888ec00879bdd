"""Spaces calls so that a healthy run never gets a 429, and fills the source's window.

One pacer serves all clients of a tenant and system in this process. The first call goes alone: its
answer may name a limit. Not every system names one; then no call waits. Where a limit is known, a
call begins if one of two counts says that the window holds it, each of which is exact:

- what the last answer said is left, less the calls that it may not have counted yet;
- the limit, less the calls that are under way or were answered within the window. The source
  counted each of these before its answer came.

If the source counts more calls than ours, another process uses the token. Then only the first count
holds, and most of what is left is for the others.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from pipedrive_pipeline.connectors.answers import RateLimits
from pipedrive_pipeline.connectors.transport import Clock

DRIFT_SHARE = 0.01  # of the window, added to it: two clocks
MARGIN_SHARE = 0.1  # of the window: a call of ours that began so early may still be counted
OTHERS_WINDOWS = 5  # for so many windows another process is expected to go on
# Times a call must fit into what is left: while an answer is on its way, others begin calls too. By
# simulation 4 is too few for three processes, and 6 enough for four.
OTHERS_CAUTION = 6
LOOK_SECONDS = 0.05  # until a call that waits for an answer looks again
PACERS_MAX = 512  # tenants; one that comes back later than so many others begins again

_sharing = threading.Lock()


def shared_pacer(system: str, tenant: str, window_seconds: float, clock: Clock) -> Pacer:
    """The pacer of a tenant's token, the same for all clients of this process."""
    with _sharing:
        return _pacer_of(system, tenant, window_seconds, clock)


@lru_cache(PACERS_MAX)
def _pacer_of(_system: str, _tenant: str, window_seconds: float, clock: Clock) -> Pacer:
    return Pacer(window_seconds, clock)


@dataclass(frozen=True)
class _Left:
    """How many calls the source said are left."""

    number: int  # of the call whose answer it was
    at: float
    calls: int
    uncounted: int  # earlier calls that were under way


class Pacer:
    """Lets calls begin, no more than the source's window holds; for any thread and event loop."""

    def __init__(self, window_seconds: float, clock: Clock) -> None:
        self._window_seconds, self._clock = window_seconds, clock
        self._lock = threading.Lock()
        # When calls began that the oldest one under way may have been counted with.
        self._begun: deque[float] = deque()
        self._ended: deque[float] = deque()  # when answers came, within the window
        self._under_way: dict[int, float] = {}  # when these calls began
        self._last_number = 0
        self._is_answered = False
        self._limit: int | None = None
        self._left: _Left | None = None
        self._blocked_until = self._others_until = 0.0

    async def turn(self) -> int:
        """Waits until a call may begin, and counts it; returns its number, for `end`."""
        while True:
            with self._lock:
                now = self._clock.monotonic_seconds()
                wait = self._wait_seconds(now)
                if wait <= 0:
                    self._last_number += 1
                    self._begun.append(now)
                    self._under_way[self._last_number] = now
                    return self._last_number
            await self._clock.sleep(wait)

    def end(self, number: int, limits: RateLimits | None = None) -> None:
        """Counts the end of a call; ``limits`` are what its answer says, None if none came."""
        with self._lock:
            now = self._clock.monotonic_seconds()
            self._ended.append(now)
            if limits is not None:
                self._is_answered = True
                self._learn(now, number, limits)
            del self._under_way[number]
            self._forget(now)

    def _learn(self, now: float, number: int, limits: RateLimits) -> None:
        if limits.burst_limit is not None and limits.burst_limit > 0:
            self._limit = limits.burst_limit
        left = limits.burst_left
        if left is None or self._limit is None:
            return
        oldest = self._under_way[number] - self._longest_seconds
        if self._limit - left > sum(at > oldest for at in self._begun):
            self._others_until = now + OTHERS_WINDOWS * self._window_seconds
            if left == 0:
                longest, reset = self._longest_seconds, limits.burst_reset_seconds
                seconds = longest if reset is None else min(max(reset, 0.0), longest)
                self._blocked_until = max(self._blocked_until, now + seconds)
        if self._left is None or number > self._left.number:
            uncounted = sum(each < number for each in self._under_way)
            self._left = _Left(number, now, left, uncounted)

    @property
    def _longest_seconds(self) -> float:
        return self._window_seconds * (1 + MARGIN_SHARE)

    def _forget(self, now: float) -> None:
        oldest_under_way = next(iter(self._under_way.values()), now)
        while self._begun and self._begun[0] <= oldest_under_way - self._longest_seconds:
            self._begun.popleft()
        while self._ended and self._ended[0] <= now - self._window_seconds * (1 + DRIFT_SHARE):
            self._ended.popleft()

    def _wait_seconds(self, now: float) -> float:
        """How long the next call waits at least; 0 if it may begin."""
        self._forget(now)
        if now < self._blocked_until:
            return self._blocked_until - now
        if self._limit is None:
            return LOOK_SECONDS if self._under_way and not self._is_answered else 0.0
        left, counted = 0, 0
        if self._left is not None:
            left = self._left.calls
            counted = self._last_number - self._left.number + self._left.uncounted + 1
        if now < self._others_until and self._left is not None:
            is_stale = now - self._left.at >= self._window_seconds and not self._under_way
            return 0.0 if is_stale or OTHERS_CAUTION * counted <= left else LOOK_SECONDS
        excess = len(self._under_way) + len(self._ended) - self._limit
        if excess < 0 or (self._left is not None and counted <= left):
            return 0.0
        if excess >= len(self._ended):
            return LOOK_SECONDS  # every call of the window is under way
        return max(0.001, self._ended[excess] + self._window_seconds * (1 + DRIFT_SHARE) - now)
