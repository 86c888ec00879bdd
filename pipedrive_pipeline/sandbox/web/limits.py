"""Rate limits: the burst window of a token and the daily budget of the company.

Source:
    https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (read 2026-09)
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from pipedrive_pipeline.sandbox.options import Options, Plan
from pipedrive_pipeline.sandbox.web.answers import CLOUDFLARE_BLOCK, Answer, by_gateway, html
from pipedrive_pipeline.sandbox.web.calls import Caller
from pipedrive_pipeline.sandbox.world.clock import Clock

TOKENS_PER_SEAT = 30_000  # a day, on the smallest plan
MULTIPLIER: dict[Plan, int] = {"lite": 1, "growth": 2, "premium": 5, "ultimate": 7}
BURST: dict[Plan, tuple[int, int]] = {  # requests in the window: API token, OAuth token
    "lite": (20, 80),
    "growth": (40, 160),
    "premium": (100, 400),
    "ultimate": (120, 480),
}
SEARCH_BURST = 10  # requests in the window, every plan
WINDOW_SECONDS = 2.0
DAILY_LIMIT = "x-daily-ratelimit-token-limit"
DAILY_REMAINING = "x-daily-ratelimit-token-remaining"
# Abuse is not defined by the vendor: here it is this many refused requests of an API token within
# a minute, and the edge blocks it for as long.
ABUSE_COUNT, ABUSE_SECONDS = 100, 60.0


@dataclass(frozen=True)
class WindowState:
    """The state of a token's window after one request."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """The three burst headers."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_seconds),
        }


class BurstWindow:
    """Counts the requests of each token over two rolling seconds of real time."""

    def __init__(self, options: Options, seconds: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._seconds = seconds
        self._calls: dict[tuple[str, bool], deque[float]] = defaultdict(deque)
        self._refused: dict[str, deque[float]] = defaultdict(deque)
        self._blocked_until: dict[str, float] = {}

    def admit(self, caller: Caller, *, is_search: bool) -> WindowState | Answer:
        """Count a request; returns a 429 if the window is full."""
        now = self._seconds()
        limit = SEARCH_BURST if is_search else BURST[self._options.plan][caller.is_app]
        if not self._options.has_limits:
            return WindowState(limit, limit, 0)
        if now < self._blocked_until.get(caller.token, 0.0):
            return html(403, CLOUDFLARE_BLOCK)
        calls = self._calls[caller.token, is_search]
        _forget(calls, now - WINDOW_SECONDS)
        if len(calls) >= limit:
            reset = calls[0] + WINDOW_SECONDS - now
            return self._refuse(caller, WindowState(limit, 0, max(1, round(reset))), now)
        calls.append(now)
        reset = calls[0] + WINDOW_SECONDS - now
        return WindowState(limit, limit - len(calls), max(1, round(reset)))

    def _refuse(self, caller: Caller, window: WindowState, now: float) -> Answer:
        refused = self._refused[caller.token]
        _forget(refused, now - ABUSE_SECONDS)
        refused.append(now)
        if len(refused) > ABUSE_COUNT and not caller.is_app:
            self._blocked_until[caller.token] = now + ABUSE_SECONDS
            return html(403, CLOUDFLARE_BLOCK)
        return burst_refusal(window, has_retry_after=self._options.burst_retry_after)


def burst_refusal(window: WindowState, *, has_retry_after: bool) -> Answer:
    """429: too many requests in the window."""
    headers = window.headers()
    if has_retry_after:
        headers["retry-after"] = str(window.reset_seconds)
    return by_gateway(429, "Request over limit", headers).answer


class Budget:
    """The tokens that the whole company may spend in a day."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._clock = clock
        self._zone = ZoneInfo(options.budget_zone)
        self._has_limits = options.has_limits
        seats = options.seats * MULTIPLIER[options.plan]
        self.limit = TOKENS_PER_SEAT * seats + options.top_up_tokens
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

    def refusal(self, cost: int) -> Answer | None:
        """429 until midnight if a request costs more than the remaining tokens."""
        if not self._has_limits or cost <= self.remaining:
            return None
        return budget_refusal(self.seconds_to_reset())

    def seconds_to_reset(self) -> int:
        """Seconds to midnight in the budget's time zone."""
        local = self._clock.now().astimezone(self._zone)
        day = (local + timedelta(days=1)).date()
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return max(1, ceil(midnight.timestamp() - local.timestamp()))

    def headers(self) -> dict[str, str]:
        """The two headers of the daily budget."""
        return {
            DAILY_LIMIT: str(self.limit),
            DAILY_REMAINING: str(self.remaining),
        }

    def _today(self) -> str:
        return self._clock.now().astimezone(self._zone).date().isoformat()


def budget_refusal(retry_after_seconds: int) -> Answer:
    """429: the day's budget is spent."""
    headers = {"retry-after": str(retry_after_seconds), DAILY_REMAINING: "0"}
    return by_gateway(429, "daily request budget exceeded", headers).answer


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
