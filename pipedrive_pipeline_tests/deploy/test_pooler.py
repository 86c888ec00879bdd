"""A warehouse behind PgBouncer: in session mode all works, in the other modes nothing begins."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.requirements import TransactionPooler, require_fit
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.folders import open_folder
from pipedrive_pipeline_tests.scenarios.world import ACME, environment_of, world_at
from pipedrive_pipeline_tests.waiting import free_port, wait_until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian: pgbouncer)"),
]

CONFIGURATION = """
[databases]
* = host={socket} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 10
server_round_robin = {is_round_robin}
"""


@contextmanager
def pooled(url: str, mode: str, *, is_round_robin: int = 0) -> Iterator[str]:
    """The URL of the same database through a PgBouncer of this test's own."""
    parts, port = urlsplit(url), free_port()
    socket = Path(parse_qs(parts.query)["host"][0])
    folder = open_folder()  # pgbouncer does not run as root, but as the server's account
    (folder / "users").write_text(f'"{parts.username}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(
            socket=socket,
            server_port=parts.port or 5432,
            port=port,
            folder=folder,
            mode=mode,
            is_round_robin=is_round_robin,
        )
    )
    assert PGBOUNCER is not None
    process = subprocess.Popen(
        [PGBOUNCER, "-q", "-u", socket.owner(), str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    through = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    try:
        wait_until(lambda: answers(through), 20)
        yield through
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(12, 35)) as running:
        yield running


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("command", ["doctor", "migrate", "status"])
def test_a_pooler_that_shares_sessions_is_refused_and_the_right_url_is_named(
    command: str, mode: str, database_url: str, tmp_path: Path
) -> None:
    """`doctor` said that all is well, and every sync failed: no lock of a session holds there."""
    with (
        pooled(database_url, mode) as url,
        environment_of(world_at(url, tmp_path)) as settings,
    ):
        result = Terminal(settings).run(command)

    assert result.code == 4, result.err
    text = " ".join((result.out + result.err).split())
    assert "pooler in transaction or statement mode" in text
    assert "`pool_mode = session`" in text


@pytest.mark.parametrize("is_round_robin", [0, 1])
@pytest.mark.parametrize("others", [0, 5])
def test_it_is_recognized_by_any_of_its_connections_and_with_any_number_open(
    is_round_robin: int, others: int, database_url: str
) -> None:
    """An idle pooler gives one session the same connection each time, as if it were its own."""
    with pooled(database_url, "transaction", is_round_robin=is_round_robin) as url:
        busy = [psycopg.connect(url) for _ in range(others)]
        for connection in busy:
            connection.execute("select 1")  # in a transaction: its server connection is taken
        for connection in busy:
            connection.rollback()

        for _ in range(20):
            with pytest.raises(TransactionPooler):
                require_fit(Warehouse(url))

        for connection in busy:
            connection.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["session mode", "direct"])
def test_a_pooler_in_session_mode_serves_as_postgres_itself(
    way: str, database_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    """Dagster and dlt sent the startup parameter `options`, which PgBouncer refuses."""
    with pooled(database_url, "session") as through:
        world = world_at(through if way == "session mode" else database_url, tmp_path)
        with environment_of(world) as settings:
            terminal = Terminal(settings)
            assert terminal.run("migrate").code == 0
            world.connect(ACME, sandbox)
            results = {
                words: terminal.run(*words, "--tenant", "acme", "--json")
                for words in [("sync", "--full"), ("sync",), ("sweep",), ("status",), ("doctor",)]
            }

        assert not [f"{words}: {result.err}" for words, result in results.items() if result.code]
        assert len(world.rows("crm", "contacts")) == 35


def test_psql_of_a_tenant_behind_a_pooler_says_what_to_type(
    database_url: str, tmp_path: Path
) -> None:
    """PgBouncer refused the parameter `options`, in words that lead nowhere."""
    with (
        pooled(database_url, "session") as url,
        environment_of(world_at(url, tmp_path)) as settings,
    ):
        terminal = Terminal(settings)
        assert terminal.run("tenants", "add", "acme").code == 0

        refused = terminal.run("psql", "--tenant", "acme", "-c", "select 1")
        typed = refused.err.partition("and in it: ")[2].strip()
        result = terminal.run("psql", "-qAtc", f"{typed} show pipeline.tenant_id")

    assert refused.code == 2
    assert (result.code, result.out) == (0, "acme\n")
