"""A real HTTP receiver of webhooks that answers as a test tells it, and remembers what came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

Record = dict[str, Any]
TURNS = 5  # of the loop, in which transports open and close


@dataclass(frozen=True)
class Delivery:
    """One event as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """The whole event."""
        return msgspec.json.decode(self.body)

    @property
    def meta(self) -> Record:
        """What happened to which record."""
        meta: Record = self.event["meta"]
        return meta

    @property
    def name(self) -> str:
        """Such as ``deal.change``."""
        return f"{self.meta['entity']}.{self.meta['action']}"


@dataclass
class Receiver:
    """The events that arrived, oldest first, and the status that the next ones get."""

    url: str = ""
    status: int | None = 200  # None: no answer at all
    arrived: list[Delivery] = field(default_factory=list)
    on_arrival: Callable[[Delivery], int | None] | None = None  # another status, for each event

    @property
    def names(self) -> list[str]:
        """Such as ``deal.change``, in the order of arrival."""
        return [delivery.name for delivery in self.arrived]

    def taken(self) -> list[Delivery]:
        """What has arrived since the last call."""
        arrived, self.arrived = self.arrived, []
        return arrived

    def answer(self, delivery: Delivery) -> bytes:
        """The answer to one event; empty if there is none."""
        self.arrived.append(delivery)
        status = self.on_arrival(delivery) if self.on_arrival else self.status
        return b"" if status is None else b"HTTP/1.1 %d Told\r\ncontent-length: 0\r\n\r\n" % status


class _Connection(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each at once."""

    def __init__(self, receiver: Receiver, opened: set[asyncio.Transport]) -> None:
        self._receiver, self._opened, self._buffer = receiver, opened, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._opened.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, value in (x.split(": ", 1) for x in lines)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            delivery = Delivery(first.split(" ")[1], headers, rest[:length])
            self._transport.write(self._receiver.answer(delivery))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for the length of the block, in a thread of its own."""
    receiver = Receiver()
    with served(receiver):
        yield receiver


@contextmanager
def served(receiver: Receiver) -> Iterator[None]:
    """Serves a receiver for the length of the block, in a thread of its own."""
    loop, opened = asyncio.new_event_loop(), set[asyncio.Transport]()
    server = loop.run_until_complete(
        loop.create_server(lambda: _Connection(receiver, opened), "127.0.0.1", 0)
    )
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, opened), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server, opened: set[asyncio.Transport]) -> None:
    server.close()
    for _ in range(TURNS):  # a connection that was just accepted opens in the next turn
        for transport in list(opened):
            transport.abort()
        await asyncio.sleep(0)
