"""Runs a sandbox server: in a thread for tests, in the foreground for people."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import uvicorn

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.running import Sandbox
from pipedrive_pipeline.sandbox.web.app import create_app
from pipedrive_pipeline.sandbox.web.line import Connections
from pipedrive_pipeline.sandbox.web.service import Service
from pipedrive_pipeline.sandbox.world.account import Account

HOST = "127.0.0.1"
START_SECONDS = 10.0


@contextmanager
def serve(
    account: Account, options: Options | None = None, *, port: int = 0, **switches: object
) -> Iterator[Sandbox]:
    """Run a sandbox in a thread for the length of a ``with`` block.

    Args:
        account: the company that it serves.
        options: its settings; ``switches`` override single ones.
        port: 0 takes any free one.
        **switches: fields of ``Options`` by name.
    """
    options = replace(options or Options(), **switches)  # type: ignore[arg-type]
    with _listener(port) as listener:
        sandbox = Sandbox(_url(listener), Service(account, options))
        server = _ThreadServer(_config(sandbox))
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        thread.start()
        _wait_until_started(server, thread)
        try:
            yield sandbox
        finally:
            server.stop()
            thread.join(START_SECONDS)


def run(service: Service, port: int, *, announce: Callable[[str], None]) -> None:
    """Serve in the foreground until SIGINT or SIGTERM.

    Args:
        service: what is served.
        port: 0 takes any free one.
        announce: called with the address as soon as the port is open.

    Raises:
        OSError: the port is taken; another one must be chosen.
    """
    with _listener(port) as listener:
        sandbox = Sandbox(_url(listener), service)
        announce(sandbox.url)
        # uvicorn raises the signal that ended it once more; both mean a normal end.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(_config(sandbox)).run(sockets=[listener])


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
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # one turn of the loop, in which the transports close

    def stop(self) -> None:
        """End the main loop, from any thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)


def _config(sandbox: Sandbox) -> uvicorn.Config:
    connections = Connections()
    return uvicorn.Config(
        create_app(sandbox, connections),
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
