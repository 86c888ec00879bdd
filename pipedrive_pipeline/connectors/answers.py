"""One HTTP answer, and what it can mean to us.

An implausible header is ignored and logged; it never stops a sync.

Source: RFC 9110 (https://www.rfc-editor.org/rfc/rfc9110), sections 6.6.1 and 10.2.3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum, auto
from typing import Literal, Protocol

import httpx

from pipedrive_pipeline.connectors.contract import Credential

SECONDS_MAX = 32 * 86_400  # a longer `Retry-After` is not believed
COUNT_MAX = 10**12  # tokens; the largest plan with 100,000 seats has 2.1 * 10^10 a day
DATE_DOUBTED = timedelta(days=1)  # a `Date` further from our clock than this is not believed
SHOWN_CHARACTERS = 40  # of a header in the log
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceCall:
    """One call, without host and token."""

    kind: str  # "list persons"; the only part that messages and logs name
    path: str
    tokens: int  # what it costs of the day's budget
    params: Mapping[str, str | int] = field(default_factory=dict)
    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"] = "GET"
    body: Mapping[str, object] | None = None  # sent as JSON

    @property
    def is_repeatable(self) -> bool:
        """False if a second call would do the work twice (RFC 9110, section 9.2.2)."""
        return self.method != "POST"


@dataclass(frozen=True)
class HttpAnswer:
    """A complete answer; the body is decompressed and within the size cap.

    ``sent`` and ``arrived`` order it among all requests, see `contract.Page`.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    sent: int
    arrived: int

    @property
    def is_html(self) -> bool:
        """True if this is a page for people, as an edge server sends it."""
        start = self.body[:64].lstrip()
        if start.startswith((b"{", b"[")):
            return False
        return start.startswith(b"<") or "html" in self.headers.get("content-type", "").lower()

    @property
    def sent_at(self) -> datetime | None:
        """The server's own time, whole seconds UTC; None where it does not say."""
        return http_date(self.headers.get("date"))

    def wait_seconds(self, now: datetime | None = None) -> float | None:
        """How long `Retry-After` asks to wait; None without one that can be believed.

        A date counts from `Date`, or from ``now`` where that is absent or cannot be believed.
        """
        text = self.headers.get("retry-after", "")
        until = http_date(text) if plain_number(text.strip()) is None else None
        if until is None:
            return number(self.headers, "retry-after", at_most=SECONDS_MAX)
        since = self.sent_at if now is None else self.server_time(now)
        seconds = (until - since).total_seconds() if since else SECONDS_MAX + 1
        if seconds > SECONDS_MAX:
            _doubt("retry-after", text)
            return None
        return max(seconds, 0.0)

    def server_time(self, now: datetime) -> datetime:
        """The time by the server's clock, or ``now``, ours, where `Date` cannot be believed."""
        sent_at = self.sent_at
        return sent_at if sent_at and abs(sent_at - now) <= DATE_DOUBTED else now


def http_date(text: str | None) -> datetime | None:
    """An HTTP date as an instant in UTC; None if it is none."""
    try:
        parsed = parsedate_to_datetime(text or "")
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def number(
    headers: httpx.Headers, name: str, *, at_least: float = 0, at_most: float
) -> float | None:
    """The number in a header; None without the header, or if it is none or out of range.

    A header that came twice counts if both say the same.
    """
    texts = {text.strip() for text in headers.get_list(name)}
    if not texts:
        return None
    text = texts.pop()
    value = None if texts else plain_number(text)
    if value is not None and at_least <= value <= at_most:
        return value
    _doubt(name, headers[name])
    return None


def count(headers: httpx.Headers, name: str, *, at_least: int = 0) -> int | None:
    """The whole number in a header, as `number` reads it."""
    value = number(headers, name, at_least=at_least, at_most=COUNT_MAX)
    return None if value is None else int(value)


def plain_number(text: str) -> float | None:
    """The number that digits and at most one point say; None of any other text."""
    return float(text) if NUMBER.fullmatch(text) else None


def _doubt(name: str, text: str) -> None:
    log.warning("the header %s: %.*r is not believed and ignored", name, SHOWN_CHARACTERS, text)


class Verdict(StrEnum):
    """What an answer means and so what the client does next."""

    READ = auto()  # read the body
    RENEW = auto()  # the token is refused: take a newer one, once
    SLOW_DOWN = auto()  # too many calls just now: wait as long as the answer says, then repeat
    BUDGET_SPENT = auto()  # too many calls today: stop until the reset
    TROUBLE = auto()  # the source is unwell: ask again, a few times
    SCOPE_MISSING = auto()
    BLOCKED = auto()  # the edge turned us away: stop at once
    REDIRECT = auto()
    REFUSED = auto()  # asking again gives the same


@dataclass(frozen=True)
class RateLimits:
    """The limits that an answer reports; None where it does not say."""

    daily_limit: int | None = None
    daily_left: int | None = None
    burst_limit: int | None = None
    burst_left: int | None = None
    burst_reset_seconds: float | None = None


class Dialect(Protocol):
    """How one system signs, refuses and counts. Data and pure functions, no I/O."""

    @property
    def system(self) -> str:
        """The system's key, as in errors."""
        ...

    @property
    def label(self) -> str:
        """The system's name for people."""
        ...

    @property
    def burst_window_seconds(self) -> float:
        """The length of the window in which calls are counted."""
        ...

    def signature(self, credential: Credential) -> Mapping[str, str]:
        """The headers that carry the token."""
        ...

    def verdict(self, answer: HttpAnswer) -> Verdict:
        """What this answer means."""
        ...

    def rate_limits(self, answer: HttpAnswer) -> RateLimits:
        """The limits that its headers report."""
        ...

    def is_charged(self, status: int) -> bool:
        """True if a call with this status counts against the day's budget."""
        ...

    def reason(self, answer: HttpAnswer) -> str:
        """Why a call was refused, in the source's own words; may hold values; empty if unknown."""
        ...
