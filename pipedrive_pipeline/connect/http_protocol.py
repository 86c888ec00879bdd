"""HTTP/1.1 connections with limits: size and time of a request's head, connections of an address.

Uvicorn waits for a head without end and answers its own errors as plain text. A reverse proxy
(docs/reverse-proxy.md) has such limits, too; these hold without one.
Source: https://www.uvicorn.org/settings/ and https://h11.readthedocs.io/ (read 2026-11).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipedrive_pipeline.connect.errors import error_body
from pipedrive_pipeline.connect.middleware import HEAD_MAX_BYTES

CONNECTIONS_MAX = 200  # of one process
CONNECTIONS_OF_ADDRESS_MAX = 100  # but as many as there are of a trusted proxy


class LimitedHttp(H11Protocol):
    """Uvicorn's protocol with limits, and with our envelope in the errors before a request.

    A new connection over a limit takes the place of the one that has waited longest for its next
    request, so that idle connections keep nobody out. If all are busy, it is refused with 503.
    """

    head_seconds = 10.0  # from its first byte, or from the connection's start, to its end

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._waits_since = self.loop.time()

    @property
    def is_waiting(self) -> bool:
        """True if no request is being answered: the next head has not arrived completely."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admits the connection, in the place of a waiting one if a limit is reached."""
        super().connection_made(transport)
        for rivals, most in (
            (self._of_same_address(), CONNECTIONS_OF_ADDRESS_MAX),
            (self._others(), CONNECTIONS_MAX),
        ):
            if len(rivals) < most:
                continue
            waiting = [rival for rival in rivals if rival.is_waiting]
            if not waiting:
                self._refuse(503, "too_busy", "Too many connections are open; try again.")
                return
            min(waiting, key=lambda rival: rival._waits_since).transport.close()  # noqa: SLF001
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection and its timer."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes in; a head must be complete in time, however slowly its bytes arrive."""
        if self.transport.is_closing():
            return
        if self.is_waiting and self._head_timer is None:
            self._begin_head()
        super().data_received(data)
        if not self.is_waiting:
            self._end_head()

    def on_response_complete(self) -> None:
        """Waits for the connection's next request."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses bytes that are no HTTP request, or a head that is too large."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()  # an answer has begun; a second one would look like its rest
            return
        if len(self.conn.trailing_data[0]) > HEAD_MAX_BYTES:
            self._refuse(431, "head_too_large", "The request line and headers are too large.")
        else:
            self._refuse(400, "bad_request", msg)

    def _of_same_address(self) -> list[LimitedHttp]:
        address = self.client[0] if self.client else None
        if address is None or self._is_proxy(address):
            return []
        return [rival for rival in self._others() if rival.client and rival.client[0] == address]

    def _others(self) -> list[LimitedHttp]:
        return [
            other
            for other in self.connections
            if isinstance(other, LimitedHttp)
            and other is not self
            and not other.transport.is_closing()
        ]

    def _is_proxy(self, address: str) -> bool:
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(proxy)
            for proxy in self.config.forwarded_allow_ips
        )

    def _begin_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._end_slow_head)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if self.is_waiting and not self.transport.is_closing():
            self._refuse(408, "too_slow", "The request's head took too long to arrive.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers before any request could be read, and closes the connection."""
        request_id = secrets.token_hex(8)
        body = json.dumps(error_body(request_id, code, message)).encode()
        phrase = HTTPStatus(status).phrase
        head = (
            f"HTTP/1.1 {status} {phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
