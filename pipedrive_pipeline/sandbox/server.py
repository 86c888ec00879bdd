"""A sandbox that listens: in a thread for tests, in the foreground for people.

What belongs here: starting and stopping. What does not: what is served (``web``).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        server = _server(sandbox)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        thread.start()
        _wait_until_started(server, thread)
        try:
            yield sandbox
        finally:
            server.should_exit = server.force_exit = True
            thread.join(START_SECONDS)


def run(service: Service, port: int, *, announce: Callable[[str], None]) -> None:
    """Serve in the foreground until SIGINT or SIGTERM.

    Args:
        service: what is served.
        port: 0 takes any free one.
        announce: told the address as soon as the port is ours.

    Raises:
        OSError: the port is taken; another one must be chosen.
    """
    with _listener(port) as listener:
        sandbox = Sandbox(_url(listener), service)
        announce(sandbox.url)
        _server(sandbox).run(sockets=[listener])


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()  # from here on callers wait instead of being refused
        yield listener


def _url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def _server(sandbox: Sandbox) -> uvicorn.Server:
    connections = Connections()
    config = uvicorn.Config(
        create_app(sandbox, connections),
        http=connections.protocol(),
        lifespan="off",
        access_log=False,
        log_level="critical",  # cut and lost answers are on purpose, not errors to report
        date_header=False,  # the sandbox's own clock writes it
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox did not start")
        time.sleep(0.005)
