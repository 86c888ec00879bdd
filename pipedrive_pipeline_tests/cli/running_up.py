"""Starts `up` on free ports and a new home, with clients for its pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from psycopg.rows import dict_row

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, HIDDEN, ROUTES
from pipedrive_pipeline_tests.waiting import free_port, wait_until

READY_SECONDS, SYNC_SECONDS, STOP_SECONDS = 120, 240, 40


@dataclass(frozen=True)
class RunningUp:
    """A running `up`."""

    home: Path
    terminal: Terminal
    process: subprocess.Popen[str]
    urls: dict[str, Any]  # `up.json`

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds in the embedded database."""
        server = running_server(self.home)
        assert server is not None
        with psycopg.connect(server.url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def operator(self) -> httpx.Client:
        """A script with the operator's key, acting for the tenant of the sandbox."""
        key = (self.home / "operator-key").read_text().strip()
        headers = {"authorization": f"Bearer {key}", "x-tenant": "sandbox"}
        return httpx.Client(base_url=self.urls["connect"], headers=headers, timeout=30)

    def consented(self, browser: httpx.Client) -> dict[str, str]:
        """Link and consent, by HTTP alone; the hidden fields of the page that names the company."""
        with self.operator() as operator:
            link = operator.post(f"{ROUTES}/connect-link").json()["data"]["url"]
        consent_page = browser.get(link).headers["location"]
        back = browser.post(consent_page, data={"decision": "allow"})
        assert browser.get(back.headers["location"]).headers["location"] == CONFIRM_PAGE
        return dict(HIDDEN.findall(browser.get(CONFIRM_PAGE).text))

    def browser(self) -> httpx.Client:
        """A browser with a cookie jar."""
        return httpx.Client(
            base_url=self.urls["connect"], headers={"accept": "text/html"}, timeout=30
        )

    def synced(self, count: int, seconds: float = SYNC_SECONDS) -> None:
        """Returns once so many runs have succeeded."""
        query = "select status, errors from integration.sync_logs where status <> 'running'"

        def is_done() -> bool:
            ended = self.rows(query)
            assert all(row["status"] == "success" for row in ended), ended
            return len(ended) >= count

        log = self.home / "logs" / "dagster-daemon.log"
        wait_until(is_done, seconds, log.read_text)

    def processes(self) -> list[psutil.Process]:
        """Returns every process with this home in its environment, except Postgres's own."""
        return [process for process in psutil.process_iter() if _home_of(process) == str(self.home)]

    def kill(self) -> None:
        """As a power cut: everything at once, Postgres with it."""
        server = running_server(self.home)
        assert server is not None
        postgres = psutil.Process(server.pid)
        victims = [self.process.pid, *(process.pid for process in self.processes())]
        victims += [postgres.pid, *(child.pid for child in postgres.children(recursive=True))]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        psutil.wait_procs([postgres], timeout=STOP_SECONDS)

    def wait(self, query: str, seconds: float = SYNC_SECONDS) -> None:
        """Returns once the query finds a row."""
        wait_until(lambda: bool(self.rows(query)), seconds)

    def stop(self) -> int:
        """The exit code after a SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def free_ports() -> dict[str, str]:
    """Settings for ports that nothing listens on."""
    return {name: str(free_port()) for name in ("CONNECT_PORT", "DAGSTER_PORT", "SANDBOX_PORT")}


@contextmanager
def running_up(
    home: Path, ports: dict[str, str] | None = None, *words: str, **more: str
) -> Iterator[RunningUp]:
    """`./run up` on free ports, or on given ones, until the end of the block.

    Args:
        home: its `PIPELINE_HOME`.
        ports: settings of ports.
        *words: further words of the command.
        **more: further settings.
    """
    ports = ports or free_ports()
    terminal = Terminal({"PIPELINE_HOME": str(home), **ports, **more})
    began_at = time.time()
    with (home / "up.log").open("w") as log:
        process = subprocess.Popen(
            [str(PROJECT_ROOT / "run"), "up", *words],
            env=terminal.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        up_file = home / "up.json"

        def is_up() -> bool:
            return up_file.exists() and up_file.stat().st_mtime > began_at

        wait_until(lambda: is_up() or process.poll() is not None, READY_SECONDS)
        assert process.poll() is None, (home / "up.log").read_text()
        yield RunningUp(home, terminal, process, json.loads(up_file.read_text()))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
        server = running_server(home)
        if server:
            server.stop()


def _home_of(process: psutil.Process) -> str | None:
    try:
        home: str | None = process.environ().get("PIPELINE_HOME")
    except (psutil.Error, OSError):
        return None  # ended meanwhile, or another account's
    return home
