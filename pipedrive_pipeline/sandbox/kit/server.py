"""Runs a look-alike: in a thread for tests, in the foreground for people.

It sends answers complete, cut off, slowly or without end, as the answer says.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipedrive_pipeline.sandbox.kit import control
from pipedrive_pipeline.sandbox.kit.answers import IncomingRequest, SandboxAnswer
from pipedrive_pipeline.sandbox.kit.running import Interface, RunningSandbox
from pipedrive_pipeline.sandbox.kit.service import Service

HOST = "127.0.0.1"
START_SECONDS = 10.0
BODY_LIMIT_BYTES = 10_000_000
TURNS = 5  # of the loop at the end, in which transports open and close
FLOOD_CHUNK = b'{"id":0,"name":"' + b"x" * 65_500 + b'"},'
_NO_LINGER = struct.pack("ii", 1, 0)

Handle = TypeVar("Handle", bound=RunningSandbox)


@contextmanager
def serve_in_thread(
    make: Callable[[str], Handle], interface: Interface, *, port: int = 0
) -> Iterator[Handle]:
    """Run a look-alike in a thread for the length of a ``with`` block.

    Args:
        make: gives the handle for an address.
        interface: its page and control routes.
        port: 0 takes any free one.
    """
    with _listener(port) as listener:
        sandbox = make(_url(listener))
        server = _ThreadServer(_config(sandbox, interface))
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        thread.start()
        _wait_until_started(server, thread)
        try:
            yield sandbox
        finally:
            sandbox.service.close()
            server.stop()
            thread.join(START_SECONDS)


def serve_in_foreground(
    make: Callable[[str], RunningSandbox],
    interface: Interface,
    port: int,
    *,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        make: gives the handle for an address.
        interface: its page and control routes.
        port: 0 takes any free one.
        announce: called with the address as soon as the port is open.

    Raises:
        OSError: the port is taken; another one must be chosen.
    """
    with _listener(port) as listener:
        sandbox = make(_url(listener))
        announce(sandbox.url)
        # uvicorn raises the signal that ended it once more; both mean a normal end.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(_config(sandbox, interface)).run(sockets=[listener])
        sandbox.service.close()


def create_app(
    sandbox: RunningSandbox, interface: Interface, connections: Connections | None = None
) -> Starlette:
    """The ASGI application of one look-alike: the API, its own page and the control routes."""
    page = functools.partial(_page, sandbox, interface)
    routes = [Route("/", page), Route("/favicon.ico", _no_icon)]
    if sandbox.service.options.has_control:
        routes += control.routes(sandbox, interface)
    app = Starlette(routes=routes)
    # A mount would leave out paths with a line break in them.
    app.router.default = ApiApp(sandbox.service, connections or Connections())
    return app


async def _no_icon(_: Request) -> Response:
    return Response(status_code=204)


async def _page(sandbox: RunningSandbox, interface: Interface, request: Request) -> Response:
    return HTMLResponse(interface.page(sandbox, dict(request.query_params)))


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


class ApiApp:
    """The ASGI application of everything but the sandbox's own pages."""

    def __init__(self, service: Service, connections: Connections) -> None:
        self._service = service
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        incoming = IncomingRequest(
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

    async def _deliver(self, answer: SandboxAnswer, scope: Scope, send: Send) -> None:
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


def _start(answer: SandboxAnswer) -> Message:
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


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()  # from here on callers wait instead of being refused
        yield listener


def _url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


class _ThreadServer(uvicorn.Server):
    """A server that stops at once, answers in flight included.

    uvicorn's server polls for its end every 0.1 s and then waits again. With a server for each
    test that was most of the suite's time (0.20 s a test; now 0.01 s).
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; from here on ``stop`` may be called."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        """Serve until ``stop``."""
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything but the listener, which is the caller's."""
        del sockets
        for server in self.servers:
            server.close()
        for _ in range(TURNS):  # a connection that was just accepted opens in the next turn
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End the main loop, from any thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)


def _config(sandbox: RunningSandbox, interface: Interface) -> uvicorn.Config:
    connections = Connections()
    return uvicorn.Config(
        create_app(sandbox, interface, connections),
        http=connections.protocol(),
        lifespan="off",
        access_log=False,
        log_level="critical",  # cut and lost answers are on purpose, not errors to report
        date_header=False,  # the sandbox's own clock writes it
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox did not start")
        time.sleep(0.005)
