"""The wire: one httpx client with its limits, bodies read under a cap, failures in plain words.

Time and randomness are passed in (`Clock`) to all code that waits, measures time or adds jitter.

A name is resolved here, its addresses are checked by the rule of `hosts.py`, and the connection
is made to the address that was checked: a second answer of the DNS cannot lead elsewhere.

Source: https://www.python-httpx.org/advanced/timeouts/, /advanced/transports/ and
/advanced/extensions/ (`sni_hostname`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from urllib.request import getproxies, proxy_bypass

import httpx

from pipedrive_pipeline.connectors.answers import HttpAnswer
from pipedrive_pipeline.connectors.contract import next_number
from pipedrive_pipeline.connectors.hosts import AllowedHosts, checked_address

# httpx logs each URL with its query at INFO, httpcore each header at DEBUG; ours names the kind.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Limits:
    """How long, how much and how often; tests pass smaller ones."""

    connect_seconds: float = 5.0
    read_seconds: float = 30.0  # between two bytes
    call_seconds: float = 60.0  # one call as a whole, even if bytes keep coming
    body_bytes: int = 64 * 1024 * 1024  # decompressed; 500 rows of 40 fields are about 1 MB
    attempts: int = 4
    patience_seconds: float = 180.0  # all attempts and waits of one call together
    wait_seconds_max: float = 60.0  # a source that wants more is called in a later run
    backoff_seconds: float = 1.0  # before the second attempt; doubles
    connections: int = 8


class BodyTooLarge(Exception):
    """The body passed the cap; the rest was not read."""


class UnknownCompression(Exception):
    """The body is compressed in a way that was not requested."""


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, in the order in which they shall be tried."""


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host as this machine's resolver gives them, without doubles."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Sends a request to an address of its host that a token may go to."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        resolve: Resolve,
        trust: ssl.SSLContext,
        ceiling: httpx.Limits,
    ) -> None:
        super().__init__(verify=trust, limits=ceiling)
        self._allowed_hosts, self._resolve = allowed_hosts, resolve
        self._taken: dict[str, str] = {}  # by host; else round-robin DNS would end keep-alive
        # A proxy is used for https only, where it sees no token. It resolves names by itself:
        # its operator decides where it may connect to.
        proxy = getproxies().get("https") or getproxies().get("all")
        url = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
        self._by_proxy = url and httpx.AsyncHTTPTransport(verify=trust, limits=ceiling, proxy=url)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer of the first address that takes the connection.

        Raises:
            HostNotAllowed: an address is not public; nothing was sent.
        """
        host = request.url.host
        if self._by_proxy and request.url.scheme == "https" and not proxy_bypass(host):
            return await self._by_proxy.handle_async_request(request)
        refused: httpx.ConnectError | httpx.ConnectTimeout | None = None
        taken = self._taken.pop(host, None)
        for address in [taken] if taken else await self._addresses(request):
            to_address = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # `Host` is the name, as the request was built
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                answer = await super().handle_async_request(to_address)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refused = error
            else:
                self._taken[host] = address
                return answer
        raise refused or httpx.ConnectError(f"{host} has no address")

    async def aclose(self) -> None:
        """Closes every connection, the proxy's too."""
        await super().aclose()
        if self._by_proxy:
            await self._by_proxy.aclose()

    async def _addresses(self, request: httpx.Request) -> list[str]:
        host, port = request.url.host, request.url.port or 443
        try:
            seconds = request.extensions.get("timeout", {}).get("connect")
            async with asyncio.timeout(seconds):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"{host} cannot be resolved") from error
        return [checked_address(host, address, self._allowed_hosts) for address in addresses]


def open_client(
    limits: Limits, allowed_hosts: AllowedHosts, *, resolve: Resolve = resolved
) -> httpx.AsyncClient:
    """A client that keeps connections alive, follows no redirect and trusts no proxy with http."""
    ceiling = httpx.Limits(
        max_connections=limits.connections, max_keepalive_connections=limits.connections
    )
    return httpx.AsyncClient(
        transport=CheckedTransport(allowed_hosts, resolve, _trust(), ceiling),
        timeout=httpx.Timeout(
            limits.read_seconds, connect=limits.connect_seconds, pool=limits.call_seconds
        ),
        follow_redirects=False,
        headers={
            "accept": "application/json",
            "accept-encoding": "gzip",  # one step of at most 1:1032, so that the cap holds
            "user-agent": "pipedrive-pipeline",
        },
    )


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes 30 ms, so once a process."""
    return httpx.create_ssl_context()


async def exchange(client: httpx.AsyncClient, request: httpx.Request, limits: Limits) -> HttpAnswer:
    """Send one request and read the whole answer, within the size cap.

    Raises:
        BodyTooLarge, UnknownCompression: reading stopped there.
        httpx.TransportError, httpx.DecodingError: no complete answer came.
    """
    sent = next_number()
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
    body = b"".join(parts)
    return HttpAnswer(response.status_code, response.headers, body, sent, next_number())


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
    """True if the server's certificate was refused; another attempt gives the same result."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def never_left(error: BaseException) -> bool:
    """True if the request cannot have reached the source."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies behind it, depth first."""
    visited: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in visited:
            continue
        visited.add(id(cause))
        yield cause
        inner = getattr(cause, "exceptions", ())
        waiting += [cause.__context__, cause.__cause__, *inner]


@dataclass(frozen=True)
class Clock:
    """This machine's time. Tests pass one that needs no waiting."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic_seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = secrets.SystemRandom().random  # 0 to 1


SYSTEM_CLOCK = Clock()
