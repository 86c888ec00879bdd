"""The door for other programs: opened on demand, on loopback, behind a password."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psycopg
import pytest

from pipedrive_pipeline.warehouse.embedded import PortNeedsRestart, PortTaken
from pipedrive_pipeline_tests.warehouse.embedded.conftest import Start, ask


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_port_is_open_on_loopback_behind_a_password(
    folder: Path, start: Start, port: int
) -> None:
    """An open port would be an open superuser to every program of the machine."""
    server = start(folder / "home", tcp_port=port)

    assert server.tcp_url is not None
    with psycopg.connect(server.tcp_url) as connection:
        assert connection.execute("select inet_server_addr()::text").fetchone() == ("127.0.0.1/32",)
    password = server.paths.password
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text() not in repr(server)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.tcp_url.replace(password.read_text(), "wrong"))


@pytest.mark.slow
def test_an_idle_server_is_restarted_for_a_port_and_keeps_its_url(
    folder: Path, start: Start, port: int
) -> None:
    """Addresses that were handed out before, by `env` for example, stay good."""
    without = start(folder / "home")

    opened = start(folder / "home", tcp_port=port)

    assert opened.url == without.url
    assert ask(without, "show port") == str(port)
    assert start(folder / "home").tcp_url is None
    assert start(folder / "home", tcp_port=port).pid == opened.pid


@pytest.mark.slow
def test_a_server_in_use_is_not_restarted_for_a_port(folder: Path, start: Start, port: int) -> None:
    """A running sync must not be cut off by a second command."""
    server = start(folder / "home")
    with psycopg.connect(server.url) as worker:
        worker.execute("create table unfinished as select 7 as number")

        with pytest.raises(PortNeedsRestart, match="1 open connection"):
            start(folder / "home", tcp_port=port)

        assert worker.execute("select number from unfinished").fetchone() == (7,)


@pytest.mark.slow
def test_a_taken_port_is_named_with_its_holder(folder: Path, start: Start, port: int) -> None:
    """Another port, guessed, would be found by nobody; the server that works goes on."""
    pid = start(folder / "home").pid

    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken) as refusal:
        start(folder / "home", tcp_port=port)

    for fact in (f"port {port}", f"(process {os.getpid()})", "POSTGRES_PORT"):
        assert fact in str(refusal.value)
    assert start(folder / "home").pid == pid


@pytest.mark.parametrize("number", [0, 70_000, -1])
def test_a_number_that_is_no_port_is_refused(folder: Path, start: Start, number: int) -> None:
    """0 would be any port, which nobody could find."""
    with pytest.raises(PortTaken, match="from 1 to 65535"):
        start(folder / "home", tcp_port=number)
