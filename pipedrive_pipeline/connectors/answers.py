"""One HTTP answer, and what it can mean to us.

Belongs here: the answer as a value, reading of headers that all systems share (`Date`,
`Retry-After`), the verdicts, and the face that a system shows to the one HTTP client.
Does not belong here: which status means what in a system (`pipedrive/answers.py`).

Rests on RFC 9110 (https://www.rfc-editor.org/rfc/rfc9110), sections 6.6.1 and 10.2.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum, auto
from typing import Protocol

import httpx

from pipedrive_pipeline.connectors.base import Credential

SECONDS_MAX = 32 * 86_400  # beyond this a "wait so long" is no such thing


@dataclass(frozen=True)
class Ask:
    """One read call, without host and token."""

    kind: str  # "list persons"; the only part that messages and logs name
    path: str
    tokens: int  # what it costs of the day's budget
    params: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A complete answer; the body is decompressed and within the size cap."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_html(self) -> bool:
        """Whether this is a page for people, as an edge server sends it."""
        start = self.body[:64].lstrip()
        if start.startswith((b"{", b"[")):
            return False
        return start.startswith(b"<") or "html" in self.headers.get("content-type", "").lower()

    @property
    def sent_at(self) -> datetime | None:
        """The server's own time, whole seconds UTC; None where it does not say."""
        return http_date(self.headers.get("date"))

    def wait_seconds(self, now: datetime | None = None) -> float | None:
        """How long `Retry-After` asks to wait, a date by the server's clock or else by ``now``."""
        text = self.headers.get("retry-after", "").strip()
        seconds, since, until = number(text), self.sent_at or now, http_date(text)
        if seconds is None and until and since:
            seconds = (until - since).total_seconds()
        return None if seconds is None else min(max(seconds, 0.0), SECONDS_MAX)

    def returns_at(self, now: datetime) -> datetime | None:
        """The instant that `Retry-After` names, by the server's clock; None without the header."""
        seconds = self.wait_seconds(now)
        return None if seconds is None else (self.sent_at or now) + timedelta(seconds=seconds)


def http_date(text: str | None) -> datetime | None:
    """An HTTP date as an instant in UTC; None if it is none."""
    try:
        parsed = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def number(text: str | None) -> float | None:
    """A finite number; None if the text is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Verdict(StrEnum):
    """What an answer means and so what the client does next."""

    READ = auto()  # read the body
    RENEW = auto()  # the token is refused: take a newer one, once
    SLOW_DOWN = auto()  # too many calls just now: wait as told, ask again
    BUDGET_SPENT = auto()  # too many calls today: stop until the reset
    TROUBLE = auto()  # the source is unwell: ask again, a few times
    SCOPE_MISSING = auto()
    BLOCKED = auto()  # the edge turned us away: stop at once
    REDIRECT = auto()
    REFUSED = auto()  # asking again gives the same


@dataclass(frozen=True)
class Budget:
    """What an answer tells about limits; None where it does not say."""

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

    def verdict(self, answer: Answer) -> Verdict:
        """What this answer means."""
        ...

    def budget(self, answer: Answer) -> Budget:
        """What its headers tell about limits."""
        ...

    def is_charged(self, status: int) -> bool:
        """Whether a call with this status counts against the day's budget."""
        ...
