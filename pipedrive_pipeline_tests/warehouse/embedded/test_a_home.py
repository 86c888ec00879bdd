"""The contents of a new home, for any path and any account."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import dlt
import psycopg
import pytest
import sqlalchemy
from dlt.destinations.impl.postgres.configuration import PostgresCredentials

from pipedrive_pipeline.warehouse.embedded import EmbeddedServer, ensure_running
from pipedrive_pipeline.warehouse.embedded.postmaster import LOG_BYTES, log_kept_in_check
from pipedrive_pipeline_tests.warehouse.embedded.conftest import Start, ask, tell

AWKWARD = {
    "words": 'Büro, it\'s "two" $HOME `words`/home',
    "deep": "/".join(["a_long_folder_name"] * 8),
}


@pytest.mark.slow
def test_a_new_home_gets_an_empty_database(server: EmbeddedServer) -> None:
    """UTF-8, UTC and checksums are set despite the machine's own defaults."""
    assert ask(server, "select current_database()") == "pipeline"
    assert ask(server, "select count(*) from pg_tables where schemaname = 'public'") == 0
    assert str(ask(server, "show server_version")).startswith("18.")
    settings = ["timezone", "server_encoding", "fsync", "data_checksums", "max_connections"]
    assert [ask(server, f"show {name}") for name in settings] == ["UTC", "UTF8", "on", "on", "200"]
    assert ask(server, "show listen_addresses") == ""


def test_a_running_server_is_found_within_50_milliseconds(server: EmbeddedServer) -> None:
    """Every command asks for the server; they should not wait for it. The best of a few counts."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        again = ensure_running(server.paths.home)
        seconds.append(time.perf_counter() - began)

    assert again == server
    assert min(seconds) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("path", AWKWARD.values(), ids=AWKWARD.keys())
def test_an_awkward_path_is_served(folder: Path, start: Start, path: str) -> None:
    """Dlt writes a blank as `+`, libpq reads a comma as two hosts, a socket's path is short."""
    server = start(folder / path)

    credentials = PostgresCredentials(server.url).to_native_representation()
    assert ask(server, "select 1") == 1
    with sqlalchemy.create_engine(server.url).connect() as connection:
        assert connection.execute(sqlalchemy.text("select 1")).scalar() == 1
    with psycopg.connect(credentials) as as_dlt:
        assert as_dlt.execute("select 1").fetchone() == (1,)


@pytest.mark.slow
def test_dlt_loads_through_the_url(folder: Path, start: Start) -> None:
    """Dlt makes a connection string of its own from ours."""
    server = start(folder / "two words")
    destination = dlt.destinations.postgres(server.url)

    dlt.pipeline(
        "embedded", pipelines_dir=str(folder), destination=destination, dataset_name="raw"
    ).run([{"id": 1}], table_name="rows")

    assert ask(server, "select id from raw.rows") == 1


@pytest.mark.slow
def test_a_broken_locale_does_not_matter(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minimal containers and foreign terminals set locales that the machine does not have."""
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "tlh_KX.UTF-8")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")

    server = start(folder / "home")

    monkeypatch.delenv("PGHOSTADDR")
    assert ask(server, "select lower('ÄÖÜ')") == "äöü"


@pytest.mark.slow
def test_a_private_parent_stays_private(folder: Path, start: Start) -> None:
    """A wheel's own server opened parent directories to everyone."""
    private = folder / "private"
    private.mkdir(mode=0o700)

    server = start(private / "home")

    assert ask(server, "select 1") == 1
    assert private.stat().st_mode & 0o777 == 0o700


def test_only_the_server_s_account_may_enter_data_and_socket(server: EmbeddedServer) -> None:
    """The socket asks for no password, so its folder is the door."""
    for private in (server.data_dir, server.paths.socket):
        assert private.stat().st_mode & 0o077 == 0
        assert private.stat().st_uid == server.data_dir.stat().st_uid != 0


def test_psql_comes_along(server: EmbeddedServer) -> None:
    """`./run psql` needs a terminal client where none is installed."""
    assert server.psql is not None

    output = subprocess.run(
        [server.psql, server.url, "-Atc", "select 40 + 2"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.defpath},
    )

    assert output.stdout == "42\n"


def test_the_log_holds_no_row(server: EmbeddedServer) -> None:
    """Postgres logs failing statements and keys by default: names and addresses of people."""
    tell(server, "create table people (email text primary key)")
    tell(server, "insert into people values ('ada@example.com')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        tell(server, "insert into people values ('ada@example.com')")

    assert "ready to accept connections" in server.paths.log.read_text()
    assert "ada" not in server.paths.log.read_text()


def test_a_long_log_is_set_aside(folder: Path) -> None:
    """A laptop's disk is not filled by a client that knocks every second."""
    log = folder / "postgres.log"
    log.write_bytes(b"x" * (LOG_BYTES + 1))

    assert log_kept_in_check(log) == 0

    assert not log.exists()
    assert (folder / "postgres.log.1").stat().st_size == LOG_BYTES + 1
