"""Reads requests, and sends answers complete, cut off, slowly or without end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipedrive_pipeline.sandbox.web.answers import Answer
from pipedrive_pipeline.sandbox.web.service import Incoming, Service

BODY_LIMIT_BYTES = 10_000_000
FLOOD_CHUNK = b'{"id":0,"name":"' + b"x" * 65_500 + b'"},'
_NO_LINGER = struct.pack("ii", 1, 0)


class Connections:
    """The open connections by the caller's address, so that one can be reset."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """A uvicorn protocol that registers its connections here."""
        register = self._open

        class RegisteredProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                register[transport.get_extra_info("peername")[:2]] = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                register.pop(self.transport.get_extra_info("peername")[:2], None)
                super().connection_lost(exc)

        return RegisteredProtocol

    def reset(self, client: tuple[str, int]) -> None:
        """Reset a connection: the caller gets ECONNRESET instead of an end of file."""
        transport = self._open.get(client)
        if transport is None:
            return
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()


class Line:
    """The ASGI application of everything but the sandbox's own pages."""

    def __init__(self, service: Service, connections: Connections) -> None:
        self._service = service
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        incoming = Incoming(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
            base_url=f"{scope['scheme']}://{headers.get('host', 'localhost')}",
        )
        answer = self._service.answer(incoming)
        if answer.delay_seconds:
            await asyncio.sleep(answer.delay_seconds)
        await self._deliver(answer, scope, send)

    async def _deliver(self, answer: Answer, scope: Scope, send: Send) -> None:
        if answer.delivery == "lost":
            self._connections.reset(scope["client"])
            return
        await send(_start(answer))
        if answer.delivery == "cut":
            await _send(send, answer.body[: len(answer.body) // 2], more=True)
            # Send the half before the reset, which discards buffered bytes.
            await asyncio.sleep(0.05)
            self._connections.reset(scope["client"])
        elif answer.delivery == "drip":
            for place in range(len(answer.body)):
                await _send(send, answer.body[place : place + 1], more=True)
                await asyncio.sleep(1)
            await _send(send, b"", more=False)
        elif answer.delivery == "flood":
            for chunk in _flood(answer.flood_bytes):
                await _send(send, chunk, more=True)
            await _send(send, b"", more=False)
        else:
            await _send(send, answer.body, more=False)


def _start(answer: Answer) -> Message:
    headers = {"content-type": answer.content_type, **answer.headers}
    if answer.delivery != "flood":
        headers["content-length"] = str(len(answer.body))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": raw}


def _flood(size: int) -> Iterator[bytes]:
    opening, closing = b'{"success":true,"data":[', b'{"id":0}]}'
    yield opening
    for _ in range(max(0, size - len(opening) - len(closing)) // len(FLOOD_CHUNK)):
        yield FLOOD_CHUNK
    yield closing


async def _send(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message: dict[str, Any] = dict(await receive())
        part = message.get("body", b"")
        size += len(part)
        if size <= BODY_LIMIT_BYTES:
            parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
