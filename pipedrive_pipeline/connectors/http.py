"""The one HTTP client of all connectors: signed, paced, bounded, and plain about failure.

Up to 4 attempts in 180 s: broken connections, 5xx, bodies that cannot be read, a burst 429. Not
repeated: a second 401, 403, 402, 404, 410, redirects, an untrusted certificate, a body over the
cap, a spent day; a POST that may have reached the source. A wait that the source asks for is kept,
up to 60 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx

from pipedrive_pipeline.connectors.answers import (
    Dialect,
    HttpAnswer,
    RateLimits,
    SourceCall,
    Verdict,
)
from pipedrive_pipeline.connectors.contract import Access, ApiCall, Credential
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.connectors.jsontext import NotReadable
from pipedrive_pipeline.connectors.pacing import shared_pacer
from pipedrive_pipeline.connectors.refusals import SourceBlocked, SourceRedirected, SourceRefused
from pipedrive_pipeline.connectors.transport import (
    SYSTEM_CLOCK,
    BodyTooLarge,
    Clock,
    Limits,
    UnknownCompression,
    exchange,
    in_plain_words,
    is_untrusted,
    never_left,
    open_client,
)
from pipedrive_pipeline.errors import (
    BudgetSpent,
    PipelineError,
    ReauthNeeded,
    ScopeMissing,
    SourceBroke,
    SourceUnavailable,
)

T = TypeVar("T")
log = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()
UNKNOWN_LIMITS = RateLimits()
DAY_SECONDS_MAX = 25 * 3600  # until a day's end, by a clock that is up to an hour off
CREDENTIAL_KEPT_SECONDS = 60  # then lent again, so that a refresh comes before the token ends
REFUSALS = {
    400: "the call does not fit its interface",
    402: "the company's account is closed, or its trial is over",
    403: "this user may not read it; connect with an administrator of the company",
    404: "nothing is there; check that the API URL is the company's own",
    410: "this address was retired; a newer version of this program is needed",
}


class _Again(Exception):
    """This attempt failed in a way that another may not; ``error`` is raised after the last.

    ``is_undone`` is true if the source has certainly not done what the call wants.
    """

    def __init__(
        self,
        error: type[PipelineError],
        reason: str,
        wait_seconds: float | None = None,
        *,
        is_undone: bool = False,
    ) -> None:
        self.error, self.reason, self.wait_seconds = error, reason, wait_seconds
        self.is_undone = is_undone
        super().__init__(reason)


class _TokenRefused(Exception):
    """401, or an address that moved: a newer credential may help, once."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.answer = answer
        super().__init__()


class Client:
    """Calls one system on behalf of one tenant."""

    def __init__(
        self,
        dialect: Dialect,
        access: Access,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._dialect, self._access, self._limits, self._clock = dialect, access, limits, clock
        self._wallet = _Wallet(access, clock)
        self._pacer = shared_pacer(
            dialect.system, access.tenant, dialect.burst_window_seconds, clock
        )
        self._lines = asyncio.Semaphore(limits.connections)
        self._http = open_client(limits, access.allowed_hosts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def fetch(self, call: SourceCall, read: Callable[[HttpAnswer], T]) -> T:
        """What the source answers to ``call``, read by ``read``.

        Args:
            call: the call; repeated unchanged when it fails, as far as it is repeatable.
            read: turns a good answer into a value, or raises `NotReadable`.

        Raises:
            ReauthNeeded, ScopeMissing, HostNotAllowed, SourceRefused, SourceBlocked,
                SourceRedirected: a person must act.
            BudgetSpent: today's budget is used up, or what this run may spend of it.
            SourceUnavailable: no usable answer within the attempts and the time allowed.
            SourceBroke: answers came, but none could be read.
        """
        began = self._clock.monotonic_seconds()
        attempt, is_renewed = 1, False
        while True:
            credential = await self._wallet.lent()
            try:
                return self._judged(
                    call, credential, await self._sent(call, credential, began), read
                )
            except _TokenRefused as refused:
                if is_renewed:
                    raise self._dead_end(call, credential, refused.answer) from None
                is_renewed = True
                await self._wallet.renew(credential)
            except _Again as again:
                await self._wait_before(attempt + 1, call, again, began)
                attempt += 1

    async def _sent(self, call: SourceCall, credential: Credential, began: float) -> HttpAnswer:
        """One attempt, reported to the meter in every case."""
        origin = checked_base_url(credential.base_url, self._access.allowed_hosts)
        self._access.before_call(call.kind, call.tokens)
        request = self._http.build_request(
            call.method,
            origin + call.path,
            params=dict(call.params),
            headers=self._signature(credential),
            json=call.body,
        )
        left = self._limits.patience_seconds - (self._clock.monotonic_seconds() - began)
        limits = replace(self._limits, call_seconds=max(0.1, min(self._limits.call_seconds, left)))
        try:
            async with self._lines:  # a turn is taken with a free line, and so used at once
                answer, rate_limits = await self._exchanged(call, request, limits)
        except (BodyTooLarge, UnknownCompression) as error:
            self._report(call, None, tokens=call.tokens)
            raise self._unusable(call, origin, error) from error
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            self._report(call, None, tokens=0 if never_left(error) else call.tokens)
            reason = in_plain_words(error, origin, limits)
            if is_untrusted(error):
                untrusted = SourceUnavailable(self._message(call, reason))
                untrusted.is_undone = True
                raise untrusted from error
            raise _Again(SourceUnavailable, reason, is_undone=never_left(error)) from error
        charged = call.tokens if self._dialect.is_charged(answer.status) else 0
        self._report(call, answer.status, tokens=charged, rate_limits=rate_limits)
        return answer

    async def _exchanged(
        self, call: SourceCall, request: httpx.Request, limits: Limits
    ) -> tuple[HttpAnswer, RateLimits]:
        """The answer to a request, sent when the source's window holds it, and what it reports."""
        number, rate_limits = await self._pacer.turn(), None
        try:
            async with asyncio.timeout(limits.call_seconds):
                answer = await exchange(self._http, request, limits)
            rate_limits = self._dialect.rate_limits(answer)
            return answer, rate_limits
        except asyncio.CancelledError:
            self._report(call, None, tokens=call.tokens)  # the source may have counted it
            raise
        finally:
            self._pacer.end(number, rate_limits)

    def _judged(
        self,
        call: SourceCall,
        credential: Credential,
        answer: HttpAnswer,
        read: Callable[[HttpAnswer], T],
    ) -> T:
        """The value of a good answer; of any other the exception that fits it."""
        match self._dialect.verdict(answer):
            case Verdict.READ:
                try:
                    return read(answer)
                except NotReadable as error:
                    raise _Again(SourceBroke, str(error)) from error
            case Verdict.RENEW:
                raise _TokenRefused(answer)
            case Verdict.REDIRECT if credential.kind == "oauth":
                raise _TokenRefused(answer)  # a renamed company: the new address comes with a token
            case Verdict.SLOW_DOWN:
                raise _Again(
                    SourceUnavailable,
                    "too many calls just now (status 429)",
                    self._burst_wait_seconds(answer),
                    is_undone=True,
                )
            case Verdict.TROUBLE:
                raise _Again(
                    SourceUnavailable, f"status {answer.status}", answer.wait_seconds(self._now())
                )
        raise self._dead_end(call, credential, answer)

    def _dead_end(
        self, call: SourceCall, credential: Credential, answer: HttpAnswer
    ) -> PipelineError:
        """The error for an answer that no second asking changes."""
        tenant, status = self._access.tenant, answer.status
        system, label = self._dialect.system, self._dialect.label
        match self._dialect.verdict(answer):
            case Verdict.RENEW:
                reason = "a fresh token was refused too" if credential.generation else "401"
                return ReauthNeeded(tenant, system, reason)
            case Verdict.BUDGET_SPENT:
                return BudgetSpent(tenant, label, self._resets_at(answer))
            case Verdict.SCOPE_MISSING:
                return ScopeMissing(
                    f"{tenant}: the connection to {label} lacks a right for {call.kind!r}; add the "
                    f"scope to the app, then run `connect --tenant {tenant} --system {system}` "
                    "again."
                )
            case Verdict.BLOCKED:
                return SourceBlocked(tenant, label, call.kind, status)
            case Verdict.REDIRECT:
                host = urlsplit(credential.base_url).hostname or ""
                target = urlsplit(answer.headers.get("location", ""))
                name = target.hostname or "another path of the same host"
                return SourceRedirected(tenant, system, call.kind, host, name)
        reason = REFUSALS.get(status, "asking again would give the same")
        source_text = self._dialect.reason(answer)
        return SourceRefused(tenant, label, call.kind, status, reason, source_text=source_text)

    async def _wait_before(
        self, attempt: int, call: SourceCall, again: _Again, began: float
    ) -> None:
        """Wait until the next attempt is due; raise if there is to be none."""
        limits, clock = self._limits, self._clock
        backoff = limits.backoff_seconds * 2 ** (attempt - 2)
        wanted = again.wait_seconds
        wait = backoff * (0.5 + clock.jitter()) if wanted is None else wanted + 0.5 * clock.jitter()
        spent = clock.monotonic_seconds() - began
        is_over = attempt > limits.attempts or spent + wait > limits.patience_seconds
        is_over = is_over or not (call.is_repeatable or again.is_undone)
        if is_over or (wanted or 0) > limits.wait_seconds_max:
            tries = f"{attempt - 1} attempt" + ("s" if attempt > 2 else "")
            reason = f"{again.reason}; gave up after {tries} in {spent:.0f} s"
            error = again.error(self._message(call, reason))
            if isinstance(error, SourceUnavailable):
                error.is_undone = again.is_undone
            raise error from again.__cause__
        log.info("%s: %s: %s; again in %.1f s", self._access.tenant, call.kind, again.reason, wait)
        await clock.sleep(wait)

    def _burst_wait_seconds(self, answer: HttpAnswer) -> float:
        seconds = answer.wait_seconds(self._now())
        if seconds is None:
            seconds = self._dialect.rate_limits(answer).burst_reset_seconds
        return self._dialect.burst_window_seconds if seconds is None else seconds

    def _resets_at(self, answer: HttpAnswer) -> datetime:
        """When the day's budget returns, by our clock: as `Retry-After` says, else at midnight UTC.

        A day ends within 24 hours, in every time zone; a longer wait is ignored,
        since it would pause the tenant for as long.
        """
        now = self._now()
        seconds = answer.wait_seconds(now)
        if seconds is not None and seconds > DAY_SECONDS_MAX:
            log.warning(
                "%s: a wait of %.0f s for a new day is not believed", self._access.tenant, seconds
            )
            seconds = None
        if seconds is None:
            server_time = answer.server_time(now)
            today = server_time.replace(hour=0, minute=0, second=0, microsecond=0)
            seconds = (today + timedelta(days=1) - server_time).total_seconds()
        return now + timedelta(seconds=seconds)

    def _signature(self, credential: Credential) -> dict[str, str]:
        secret = credential.secret.get_secret_value()
        if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
            reason = "the stored token holds characters that no token has"
            raise ReauthNeeded(self._access.tenant, self._dialect.system, reason)
        return dict(self._dialect.signature(credential))

    def _unusable(self, call: SourceCall, origin: str, error: Exception) -> SourceBroke:
        size = self._limits.body_bytes // (1024 * 1024)
        what = f"is larger than {size} MB" if isinstance(error, BodyTooLarge) else "is compressed"
        host = urlsplit(origin).hostname
        return SourceBroke(self._message(call, f"an answer of {host} {what} and was not read"))

    def _message(self, call: SourceCall, reason: str) -> str:
        return f"{self._access.tenant}: {self._dialect.label}, {call.kind}: {reason}."

    def _report(
        self,
        call: SourceCall,
        status: int | None,
        *,
        tokens: int,
        rate_limits: RateLimits = UNKNOWN_LIMITS,
    ) -> None:
        self._access.on_call(
            ApiCall(call.kind, tokens, status, rate_limits.daily_limit, rate_limits.daily_left)
        )

    def _now(self) -> datetime:
        return self._clock.now()


class _Wallet:
    """The credential in use; lent in a thread, since lending may wait for a database lock."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access, self._clock = access, clock
        self._credential: Credential | None = None
        self._lent_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def lent(self) -> Credential:
        """A usable credential, at most a minute old in our hands."""
        async with self._one_at_a_time:
            age = self._clock.monotonic_seconds() - self._lent_at
            if self._credential is None or age > CREDENTIAL_KEPT_SECONDS:
                return await self._take(None)
            return self._credential

    async def renew(self, refused: Credential) -> None:
        """Replace a refused credential, unless a concurrent call has done so already."""
        async with self._one_at_a_time:
            if self._credential == refused:
                await self._take(refused)

    async def _take(self, refused: Credential | None) -> Credential:
        self._credential = await asyncio.to_thread(self._access.lend, refused)
        self._lent_at = self._clock.monotonic_seconds()
        return self._credential
