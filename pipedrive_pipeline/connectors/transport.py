"""The wire: one httpx client with its limits, bodies read under a cap, failures in plain words.

Belongs here: what every HTTP request of this project has in common, API and token endpoint alike.
Does not belong here: what an answer means, whether to ask again (`http.py`, `oauth.py`).

Rests on https://www.python-httpx.org/advanced/timeouts/ and /advanced/transports/.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import httpx

from pipedrive_pipeline.connectors.answers import Answer

# httpx logs each URL with its query at INFO, httpcore each header at DEBUG; ours names the kind.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Limits:
    """How long, how much and how often; tests pass smaller ones."""

    connect_seconds: float = 5.0
    read_seconds: float = 30.0  # between two bytes
    call_seconds: float = 60.0  # one call as a whole, whatever trickles in
    body_bytes: int = 64 * 1024 * 1024  # decompressed; 500 rows of 40 fields are about 1 MB
    attempts: int = 4
    patience_seconds: float = 180.0  # all attempts and waits of one call together
    wait_seconds_max: float = 60.0  # a source that asks for more is asked in a later run
    backoff_seconds: float = 1.0  # before the second attempt; doubles
    connections: int = 8


class BodyTooLarge(Exception):
    """The body passed the cap; the rest was not read."""


class UnknownCompression(Exception):
    """The body is compressed in a way that was not asked for."""


def open_client(limits: Limits) -> httpx.AsyncClient:
    """A client that keeps connections alive, follows no redirect and trusts no proxy with http."""
    ceiling = httpx.Limits(
        max_connections=limits.connections, max_keepalive_connections=limits.connections
    )
    trust = _trust()
    return httpx.AsyncClient(
        verify=trust,
        timeout=httpx.Timeout(
            limits.read_seconds, connect=limits.connect_seconds, pool=limits.call_seconds
        ),
        limits=ceiling,
        follow_redirects=False,
        headers={
            "accept": "application/json",
            "accept-encoding": "gzip",  # one step of at most 1:1032, so that the cap holds
            "user-agent": "pipedrive-pipeline",
        },
        # A proxy from the environment is used for https only, where it sees no token.
        mounts={"http://": httpx.AsyncHTTPTransport(verify=trust, limits=ceiling)},
    )


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes 30 ms, so once a process."""
    return httpx.create_ssl_context()


async def exchange(client: httpx.AsyncClient, request: httpx.Request, limits: Limits) -> Answer:
    """Send one request and read the whole answer, within the size cap.

    Raises:
        BodyTooLarge, UnknownCompression: reading stopped there.
        httpx.TransportError, httpx.DecodingError: no complete answer came.
    """
    response = await client.send(request, stream=True)
    try:
        if response.headers.get("content-encoding", "identity").lower() not in {"gzip", "identity"}:
            raise UnknownCompression
        parts, size = [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > limits.body_bytes:
                raise BodyTooLarge
            parts.append(part)
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers, b"".join(parts))


def in_plain_words(error: BaseException, origin: str, limits: Limits) -> str:
    """Why no answer came, with the host and what to look at; holds no path and no query."""
    host = httpx.URL(origin).host
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"the name {host} cannot be resolved; check the host and this machine's DNS"
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message or "it is not trusted"
            return f"the TLS certificate of {host} is refused ({why}); check host, clock and CA"
        if isinstance(cause, ssl.SSLError):
            return f"TLS with {host} failed; check that it speaks https"
        if isinstance(cause, ConnectionRefusedError):
            return f"{origin} refuses connections; check that it runs and the port is right"
    return _without_cause(error, host, limits)


def _without_cause(error: BaseException, host: str, limits: Limits) -> str:
    by_kind: tuple[tuple[type[BaseException], str], ...] = (
        (
            httpx.ConnectTimeout,
            f"{host} took no connection within {limits.connect_seconds:g} s; check the network",
        ),
        (TimeoutError, f"{host} gave no complete answer within {limits.call_seconds:g} s"),
        (httpx.TimeoutException, f"{host} sent nothing for {limits.read_seconds:g} s"),
        (httpx.ConnectError, f"{host} cannot be reached; check the network"),
        (BaseException, f"the connection to {host} broke before the answer was complete"),
    )
    return next(words for kind, words in by_kind if isinstance(error, kind))


def is_untrusted(error: BaseException) -> bool:
    """Whether the other side's certificate was refused; asking again gives the same."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def never_left(error: BaseException) -> bool:
    """Whether the request cannot have reached the source."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies behind it, depth first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = getattr(cause, "exceptions", ())
        waiting += [cause.__context__, cause.__cause__, *inner]
