"""Child processes that one command starts together, restarts when they die, and ends together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from pipedrive_pipeline.cli import orphan_guard
from pipedrive_pipeline.errors import SettingsError, Transient

STOP_SECONDS = 15.0  # Dagster ends its code servers within a few
START_SECONDS = 120.0
RESTARTS_MAX = 5  # of one server within RESTARTS_WINDOW_SECONDS; more is a fault to look at
RESTARTS_WINDOW_SECONDS = 600.0


class ServerDied(Transient):
    """A server that was started ended by itself, again and again; its log says why."""

    code = "server_died"


@dataclass(frozen=True)
class Server:
    """One server to start: its command and the URL at which it answers."""

    name: str
    command: Sequence[str]
    url: str
    health_path: str | None  # None: it serves no HTTP
    log: Path
    needs: Path | None = None  # a file of another server; this one is started when it is there


@dataclass
class _Child:
    """A running server in its own process group, so that all of its processes can be ended."""

    server: Server
    process: subprocess.Popen[bytes]
    restarted_at: list[float] = field(default_factory=list)  # monotonic seconds


class Servers:
    """The running children, and a guard that ends them if this process is killed."""

    def __init__(
        self, environment: Mapping[str, str], on_change: Callable[[list[int]], None]
    ) -> None:
        self._environment, self._on_change = environment, on_change
        self._children: list[_Child] = []
        self._later: list[Server] = []  # what they need is not there yet
        self._guard = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", str(orphan_guard.__file__)],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, server: Server) -> None:
        """Starts one server, at once or when what it needs is there; its output goes to its log."""
        if server.needs and not server.needs.exists():
            self._later.append(server)
            return
        self._children.append(_Child(server, self._started(server)))
        self._note_children()

    def wait_until_ready(self, on_ready: Callable[[Server], None]) -> None:
        """Returns when every server is started, and answers if it serves HTTP.

        Raises:
            ServerDied: one ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        servers = [*(child.server for child in self._children), *self._later]
        waiting = [server for server in servers if server.health_path]
        while waiting or self._later:
            for child in self._children:
                if child.process.poll() is not None:
                    raise _died(child)
            later, self._later = self._later, []
            for server in later:
                self.start(server)
            for server in [server for server in waiting if _answers(server)]:
                waiting.remove(server)
                on_ready(server)
            if time.monotonic() > deadline and (silent := [*waiting, *self._later]):
                raise ServerDied(
                    f"{silent[0].name} did not answer within {START_SECONDS:.0f} s; "
                    f"its log is {silent[0].log}."
                )
            time.sleep(0.2)

    def revive(self, on_restart: Callable[[Server, int], None]) -> None:
        """Starts each server again that has ended by itself.

        Args:
            on_restart: receives the server and the exit code that it ended with.

        Raises:
            ServerDied: one ended more than five times within ten minutes.
        """
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            now = time.monotonic()
            child.restarted_at = [
                at for at in child.restarted_at if now - at < RESTARTS_WINDOW_SECONDS
            ]
            if len(child.restarted_at) >= RESTARTS_MAX:
                raise _died(child)
            on_restart(child.server, code)
            self._end_group(child)  # processes that it started itself
            child.process = self._started(child.server)
            child.restarted_at.append(now)
            self._note_children()

    def stop(self) -> None:
        """Ends every child with its process group: SIGTERM first, then SIGKILL."""
        for child in reversed(self._children):
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, deadline - time.monotonic()))
            self._end_group(child)
        self._children.clear()
        self._guard.communicate()  # the end of its input is its end

    def _started(self, server: Server) -> subprocess.Popen[bytes]:
        server.log.parent.mkdir(parents=True, exist_ok=True)
        with server.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                server.command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._write_to_guard(f"+{process.pid}")
        return process

    def _end_group(self, child: _Child) -> None:
        _signal_group(child.process, signal.SIGKILL)  # grandchildren too
        child.process.wait()
        self._write_to_guard(f"-{child.process.pid}")

    def _write_to_guard(self, line: str) -> None:
        if self._guard.stdin is not None and self._guard.poll() is None:
            self._guard.stdin.write(f"{line}\n")
            self._guard.stdin.flush()

    def _note_children(self) -> None:
        self._on_change([child.process.pid for child in self._children])


def require_free(port: int, setting: str) -> None:
    """Returns if the port on 127.0.0.1 is free.

    Raises:
        SettingsError: another process listens there; one of ours is named with its home.
    """
    if not is_free(port):
        raise SettingsError(
            f"{setting}: port {port} is taken by {_listener(port)}; "
            f"end it, or set {setting} to a free port."
        )


def is_free(port: int) -> bool:
    """True if nothing listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listener(port: int) -> str:
    """A description of the process that listens on a port, with its home if it is an `up`."""
    try:
        pids = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
        process = psutil.Process(next(pid for pid in pids if pid))
        home = process.environ().get("PIPELINE_HOME")
    except (psutil.Error, StopIteration, OSError):
        return "another program"
    if home is None:
        return f"another program (pid {process.pid}, {process.name()})"
    return f"the installation in {home} (pid {process.pid}; PIPELINE_HOME={home} ./run down)"


def _died(child: _Child) -> ServerDied:
    return ServerDied(
        f"{child.server.name} ended by itself (code {child.process.returncode}) "
        f"{len(child.restarted_at) + 1} times; its log is {child.server.log}."
    )


def _answers(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}{server.health_path}", timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
