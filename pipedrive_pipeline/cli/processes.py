"""Servers that one command starts together and ends together.

Belongs here: starting, watching and ending child processes. Does not belong here: which ones
(`up.py`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from pipedrive_pipeline.errors import SettingsError, Transient

STOP_SECONDS = 15.0  # Dagster ends its code servers within a few
START_SECONDS = 120.0


class ServerDied(Transient):
    """A server that was started ended by itself; its log says why."""

    code = "server_died"


@dataclass(frozen=True)
class Server:
    """One server to start: how, and where it answers."""

    name: str
    command: Sequence[str]
    url: str
    health_path: str | None  # None: it serves nothing
    log: Path


@dataclass
class Servers:
    """Running children. Each leads a process group of its own, so that nothing of it stays."""

    environment: Mapping[str, str]
    _running: list[tuple[Server, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(self, server: Server) -> None:
        """Starts one server; its output goes to its log."""
        server.log.parent.mkdir(parents=True, exist_ok=True)
        with server.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - our own commands
                server.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((server, child))

    def wait_until_ready(self, on_ready: Callable[[Server], None]) -> None:
        """Returns when every server that serves answers.

        Raises:
            ServerDied: one ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        waiting = [server for server, _ in self._running if server.health_path]
        while waiting:
            self.check()
            for server in [one for one in waiting if _answers(one)]:
                waiting.remove(server)
                on_ready(server)
            if waiting and time.monotonic() > deadline:
                raise ServerDied(
                    f"{waiting[0].name} did not answer within {START_SECONDS:.0f} s; "
                    f"its log is {waiting[0].log}."
                )
            time.sleep(0.2)

    def check(self) -> None:
        """Returns while all children live.

        Raises:
            ServerDied: one has ended.
        """
        for server, child in self._running:
            if child.poll() is not None:
                raise ServerDied(
                    f"{server.name} ended by itself (code {child.returncode}); "
                    f"its log is {server.log}."
                )

    def stop(self) -> None:
        """Ends every child and whatever it started, politely first."""
        for _, child in reversed(self._running):
            _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for _, child in self._running:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline - time.monotonic()))
            _signal_group(child, signal.SIGKILL)  # grandchildren too
            child.wait()
        self._running.clear()


def require_free(port: int, setting: str) -> None:
    """Nothing, if the port on 127.0.0.1 is free.

    Raises:
        SettingsError: something else listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SettingsError(
                f"{setting}: port {port} is taken by another program; "
                f"end it, or set {setting} to a free port."
            ) from None


def _answers(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}{server.health_path}", timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)
