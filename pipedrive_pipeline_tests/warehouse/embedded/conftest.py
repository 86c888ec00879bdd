"""Folders and servers for these tests; every server that a test starts is ended with it.

pytest's own `tmp_path` lies behind a private folder of root's: a case of its own here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pipedrive_pipeline.warehouse.embedded import EmbeddedServer, ensure_running
from pipedrive_pipeline_tests import folders

Start = Callable[..., EmbeddedServer]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A short folder that any account may enter, removed at the end."""
    path = folders.open_folder()
    yield path
    shutil.rmtree(path)


@contextmanager
def starting_in(folder: Path) -> Iterator[Start]:
    """`ensure_running` with the system folder next to the homes; stops its servers."""
    servers: list[EmbeddedServer] = []

    def started(home: Path, *, tcp_port: int | None = None) -> EmbeddedServer:
        server = ensure_running(home, tcp_port=tcp_port, system_folder=folder / "system")
        servers.append(server)
        return server

    yield started
    for server in servers:
        if server.paths.home.exists():
            server.stop()
        if server.paths.socket.parent != server.paths.base:
            shutil.rmtree(server.paths.socket, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An open folder for one test."""
    with open_folder() as path:
        yield path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts servers for one test."""
    with starting_in(folder) as started:
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """One server for the tests of a module that only look at it."""
    with open_folder() as path, starting_in(path) as started:
        yield started(path / "home")


def ask(server: EmbeddedServer, question: str) -> object:
    """The first value of a query's answer."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    return row[0] if row else None


def tell(server: EmbeddedServer, statement: str) -> None:
    """Run one statement and commit it."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement.encode())
