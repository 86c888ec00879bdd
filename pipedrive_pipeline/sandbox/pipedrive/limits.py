"""Pipedrive's rate limits: the burst window of a token and the daily budget of the company.

Source:
    https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting (read 2026-09)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer, html
from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.grants import TokenHolder
from pipedrive_pipeline.sandbox.kit.limits import DailyAllowance, RollingWindow, WindowState
from pipedrive_pipeline.sandbox.pipedrive.answers import CLOUDFLARE_BLOCK, by_gateway
from pipedrive_pipeline.sandbox.pipedrive.options import Options, Plan

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


class BurstLimit:
    """The burst windows of every token, by plan and kind of token."""

    def __init__(self, options: Options, seconds: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._window = RollingWindow(
            WINDOW_SECONDS, abuse_count=ABUSE_COUNT, abuse_seconds=ABUSE_SECONDS, seconds=seconds
        )

    def admit(self, caller: TokenHolder, *, is_search: bool) -> WindowState | SandboxAnswer:
        """Count a request; returns a 429 if the window is full, a 403 if the token is blocked."""
        limit = SEARCH_BURST if is_search else BURST[self._options.plan][caller.is_app]
        if not self._options.has_limits:
            return WindowState(limit, limit, 0)
        state = self._window.admit(
            caller.token, limit, window=is_search, can_be_blocked=not caller.is_app
        )
        if state.admission == "blocked":
            return html(403, CLOUDFLARE_BLOCK)
        if state.admission == "refused":
            return burst_refusal(state, has_retry_after=self._options.burst_retry_after)
        return state


def burst_headers(window: WindowState) -> dict[str, str]:
    """The three burst headers."""
    return {
        "x-ratelimit-limit": str(window.limit),
        "x-ratelimit-remaining": str(window.remaining),
        "x-ratelimit-reset": str(window.reset_seconds),
    }


def burst_refusal(window: WindowState, *, has_retry_after: bool) -> SandboxAnswer:
    """429: too many requests in the window."""
    headers = burst_headers(window)
    if has_retry_after:
        headers["retry-after"] = str(window.reset_seconds)
    return by_gateway(429, "Request over limit", headers).answer


class TokenBudget(DailyAllowance):
    """The tokens that the whole company may spend in a day."""

    def __init__(self, options: Options, clock: ServerClock) -> None:
        self._has_limits = options.has_limits
        seats = options.seats * MULTIPLIER[options.plan]
        super().__init__(
            TOKENS_PER_SEAT * seats + options.top_up_tokens, options.budget_zone, clock
        )

    def refusal(self, cost: int) -> SandboxAnswer | None:
        """429 until midnight if a request costs more than the remaining tokens."""
        if not self._has_limits or cost <= self.remaining:
            return None
        return budget_refusal(self.seconds_to_reset())

    def headers(self) -> dict[str, str]:
        """The two headers of the daily budget."""
        return {DAILY_LIMIT: str(self.limit), DAILY_REMAINING: str(self.remaining)}


def budget_refusal(retry_after_seconds: int) -> SandboxAnswer:
    """429: the day's budget is spent."""
    headers = {"retry-after": str(retry_after_seconds), DAILY_REMAINING: "0"}
    return by_gateway(429, "daily request budget exceeded", headers).answer
