"""A real HTTP server on a loopback port that answers as a test scripts it, faults included.

It knows nothing of Pipedrive and imports nothing of the package.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

TLS_HELLO = b"\x16"
SERVER_DATE = "Tue, 03 Feb 2026 08:00:00 GMT"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    method: str = "GET"


@dataclass(frozen=True)
class Reply:
    """One answer; each fault is a field."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    date: str | None = SERVER_DATE
    claimed_bytes: int | None = None  # a Content-Length that is not the body's
    cut_after: int | None = None  # bytes of the whole answer, then the connection is reset
    second_per_byte: float = 0.0  # slow-loris
    is_silent: bool = False  # never a byte


Script = Callable[[ReceivedRequest], Reply | Awaitable[Reply]]


def as_json(value: object, status: int = 200, **more: object) -> Reply:
    """A JSON answer."""
    return Reply(status=status, body=json.dumps(value).encode(), **more)  # type: ignore[arg-type]


@dataclass
class ScriptedServer:
    """Answers each request by its script and records the requests."""

    script: Script
    requests: list[ReceivedRequest] = field(default_factory=list)
    url: str = ""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of our own, so that the end of the block ends it."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self.tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                length = int(head.headers.get("content-length", "0"))
                body = await reader.readexactly(length)
                request = replace(head, body=body)
                self.requests.append(request)
                answered = self.script(request)
                reply = answered if isinstance(answered, Reply) else await answered
                if not await _send(writer, reply):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"HTTP/1.1 400 Scripted\r\n\r\n")
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    try:
        beginning = await reader.readexactly(1)
        if beginning == TLS_HELLO:
            raise ConnectionError
        text = (beginning + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = text.strip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return ReceivedRequest(parts.path, query, {k.lower(): v for k, v in pairs}, b"", method)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Send one reply; False if the connection is over."""
    if reply.is_silent:
        await asyncio.sleep(60)
    length = len(reply.body) if reply.claimed_bytes is None else reply.claimed_bytes
    headers = {"content-type": reply.content_type, "content-length": str(length), **reply.headers}
    if reply.date:
        headers["date"] = reply.date
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    answer = "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body
    if reply.cut_after is not None:
        writer.write(answer[: reply.cut_after])
        await writer.drain()
        return False
    if reply.second_per_byte:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(reply.second_per_byte)
        return True
    writer.write(answer)
    await writer.drain()
    return length == len(reply.body)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[ScriptedServer]:
    """A server for the length of the block."""
    world = ScriptedServer(script)
    server = await asyncio.start_server(world.accept, "127.0.0.1", 0)
    world.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield world
    finally:
        server.close()
        for task in world.tasks:
            task.cancel()
        await asyncio.gather(*world.tasks, return_exceptions=True)
