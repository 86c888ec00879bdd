"""How Pipedrive's calls are signed, and what its statuses, headers and error bodies mean.

Source: https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting and
https://pipedrive.readme.io/docs/core-api-concepts-http-status-codes (both read 2026-09).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, RateLimits, Verdict, count, number
from pipedrive_pipeline.connectors.contract import Credential

BURST_WINDOW_SECONDS = 2.0  # rolling, per token
LONGEST_BURST_SECONDS = 60.0  # a 429 that asks for more than this is no burst
SHOWN_CHARACTERS = 500  # of the text of an error
SEARCHED_BYTES = 4096  # of an error body; the texts looked for are at its beginning
BY_STATUS = {401: Verdict.RENEW, 408: Verdict.TROUBLE, 425: Verdict.TROUBLE}
BY_HUNDRED = {2: Verdict.READ, 3: Verdict.REDIRECT, 5: Verdict.TROUBLE}


@dataclass(frozen=True)
class PipedriveDialect:
    """Pipedrive's side of the one HTTP client."""

    system: str = "pipedrive"
    label: str = "Pipedrive"
    burst_window_seconds: float = BURST_WINDOW_SECONDS

    def signature(self, credential: Credential) -> Mapping[str, str]:
        """The token in the header that its kind wants; never in the address."""
        secret = credential.secret.get_secret_value()
        if credential.kind == "oauth":
            return {"authorization": f"Bearer {secret}"}
        return {"x-api-token": secret}

    def verdict(self, answer: HttpAnswer) -> Verdict:
        """What this answer means."""
        status = answer.status
        if status == 403:
            return _forbidden(answer)
        if status == 429:
            return Verdict.BUDGET_SPENT if _is_daily(answer) else Verdict.SLOW_DOWN
        return BY_STATUS.get(status) or BY_HUNDRED.get(status // 100) or Verdict.REFUSED

    def rate_limits(self, answer: HttpAnswer) -> RateLimits:
        """What the headers say; the daily ones are undocumented and sometimes missing."""
        headers = answer.headers
        daily_limit, daily_left = _daily(answer)
        return RateLimits(
            daily_limit=daily_limit,
            daily_left=daily_left,
            burst_limit=count(headers, "x-ratelimit-limit", at_least=1),
            burst_left=count(headers, "x-ratelimit-remaining"),
            burst_reset_seconds=number(headers, "x-ratelimit-reset", at_most=LONGEST_BURST_SECONDS),
        )

    def is_charged(self, status: int) -> bool:
        """Good answers and 404 cost tokens; what other failures cost is nowhere said."""
        return 200 <= status < 300 or status == 404

    def reason(self, answer: HttpAnswer) -> str:
        """The text of an error body, such as ``Validation failed: name: ...``."""
        try:
            body = msgspec.json.decode(answer.body, type=_ErrorBody)
        except msgspec.DecodeError:
            return ""
        return "".join(filter(str.isprintable, body.error))[:SHOWN_CHARACTERS]


class _ErrorBody(msgspec.Struct):
    error: str


def _forbidden(answer: HttpAnswer) -> Verdict:
    if answer.is_html:
        return Verdict.BLOCKED  # Cloudflare, after too many 429: asking on prolongs it
    return Verdict.SCOPE_MISSING if b"scope" in _text(answer) else Verdict.REFUSED


def _is_daily(answer: HttpAnswer) -> bool:
    """True if a 429 means that the day is spent, by body, then headers, then the requested wait."""
    text, (_, left) = _text(answer), _daily(answer)
    wait_seconds = answer.wait_seconds()
    if b"daily" in text or left == 0:
        return True
    if wait_seconds is not None:
        return wait_seconds > LONGEST_BURST_SECONDS
    if b"over limit" in text or answer.is_html:
        return False
    return (count(answer.headers, "x-ratelimit-remaining") or 0) >= 1


def _text(answer: HttpAnswer) -> bytes:
    return answer.body[:SEARCHED_BYTES].lower()


def _daily(answer: HttpAnswer) -> tuple[int | None, int | None]:
    """The day's limit and what is left of it; more left than the limit is not believed."""
    limit = count(answer.headers, "x-daily-ratelimit-token-limit", at_least=1)
    left = count(answer.headers, "x-daily-ratelimit-token-remaining")
    return (
        (None, None) if limit is not None and left is not None and left > limit else (limit, left)
    )
