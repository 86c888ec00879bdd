"""One attempt to deliver: a signed POST, its time limits, and what the answer means.

Only an answer of the 200s is a delivery. A redirect is a failure: its target was not checked.
Nothing of an answer's body is kept, and no cookie.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from pydantic import SecretStr

from pipedrive_pipeline.connectors.transport import Limits, in_plain_words
from pipedrive_pipeline.errors import HostNotAllowed
from pipedrive_pipeline.sync.events.addresses import CALL_LIMITS
from pipedrive_pipeline.sync.events.queue import Attempt
from pipedrive_pipeline.sync.events.signatures import signed_headers

BODY_SECONDS = 1.0
GONE = 410
ASKED_TO_WAIT = frozenset({429, 503})


async def send(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    *,
    message_id: str,
    secrets: Sequence[SecretStr],
    limits: Limits = CALL_LIMITS,
) -> Attempt:
    """Posts an event once, and returns what became of it; it raises nothing.

    Args:
        client: of `addresses.open_event_client`.
        url: of the receiver.
        body: the event as JSON.
        message_id: the same in each attempt.
        secrets: that it is signed with, the newest first.
        limits: of time.
    """
    at, began = datetime.now(UTC), time.monotonic()
    headers = {
        "content-type": "application/json",
        **signed_headers(message_id, at, body, secrets),
    }

    def spent() -> int:
        return round((time.monotonic() - began) * 1000)

    try:
        async with asyncio.timeout(limits.call_seconds):
            request = client.build_request("POST", url, content=body, headers=headers)
            answer = await client.send(request, stream=True)
    except HostNotAllowed as error:
        return Attempt(at, spent(), error=f"the address may not be used: {error.reason}")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
        return Attempt(at, spent(), error=in_plain_words(error, _origin(url), limits))
    await _read_end(answer, limits)
    status = answer.status_code
    if 200 <= status < 300:
        return Attempt(at, spent(), status, is_delivered=True)
    return Attempt(
        at,
        spent(),
        status,
        error=f"it answered {status}" + (", a redirect" if 300 <= status < 400 else ""),
        is_gone=status == GONE,
        retry_after=_retry_after(answer.headers, at) if status in ASKED_TO_WAIT else None,
    )


async def _read_end(answer: httpx.Response, limits: Limits) -> None:
    """Reads a short body, which a receiver may want to be read; leaves any other.

    The status has been sent: a body that breaks off or never ends changes nothing of it.
    """
    length = answer.headers.get("content-length", "")
    with suppress(httpx.HTTPError, TimeoutError, OSError):
        async with asyncio.timeout(BODY_SECONDS):
            if length.isdecimal() and int(length) <= limits.body_bytes:
                async for _ in answer.aiter_raw():
                    pass
    with suppress(httpx.HTTPError, OSError):
        await answer.aclose()


def _retry_after(headers: httpx.Headers, now: datetime) -> timedelta | None:
    """Returns the wait that a `Retry-After` asks for, in seconds or as a time; None if unusable."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) <= 9:
        return timedelta(seconds=int(text))
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(until - now, timedelta())


def _origin(url: str) -> str:
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.host}"
