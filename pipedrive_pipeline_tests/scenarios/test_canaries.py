"""No secret in a log, a table in clear, a Dagster event, a process list or an address.

A whole life by consent: connect, a full sync, a refresh that rotates, one that the app's own id is
refused for, one after which consent is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault import connection_rows
from pipedrive_pipeline_tests.cli.terminal import CommandResult, Terminal, ended
from pipedrive_pipeline_tests.scenarios.consenting import consent, expire, vault_of, with_app
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, environment_of, world_at

CLIENT_SECRET = "canary-client-secret-0123456789"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    account = seeded(12, 35)
    with serve(account, client_secret=CLIENT_SECRET, rotates_refresh_token=True) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    world = with_app(world_at(database_url, tmp_path), sandbox)
    consent(world, ACME)
    return world


def tokens(world: World) -> set[str]:
    """The pair that is stored now."""
    vault = vault_of(world)
    connection_row = connection_rows.read(vault, Scope(ACME, SYSTEM))
    pair = [
        connection_rows.token(vault.cipher, connection_row, name)
        for name in ("access_token", "refresh_token")
    ]
    return {token.get_secret_value() for token in pair}


def synced(terminal: Terminal, *words: str) -> tuple[CommandResult, str]:
    """A sync in a process of its own, and every command line that was seen meanwhile."""
    process = terminal.start("sync", "--tenant", "acme", *words)
    lines: set[str] = set()
    while process.poll() is None:
        for running in psutil.process_iter(["cmdline"]):
            lines.add(" ".join(running.info["cmdline"] or ()))
        time.sleep(0.2)
    return ended(process), "\n".join(lines)


def dump(world: World) -> str:
    """Every row of every table, as text: ours, the app's, raw, Dagster's."""
    with world.warehouse.connect() as connection:
        names = connection.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables"
            " where table_schema not in ('pg_catalog', 'information_schema')"
            " and table_type = 'BASE TABLE'"
        ).fetchall()
        rows = [
            str(row[0])
            for (name,) in names
            for row in connection.execute(f"select t::text from {name} as t".encode())
        ]
    assert any("PIPELINE_SUCCESS" in row for row in rows), "Dagster's events are not among them"
    return "\n".join(rows)


@pytest.mark.slow
def test_a_connections_life_leaves_no_secret_anywhere(world: World, sandbox: Sandbox) -> None:
    with environment_of(world) as settings:
        app = {
            "PIPEDRIVE_CLIENT_ID": sandbox.client_id,
            "PIPEDRIVE_CLIENT_SECRET": CLIENT_SECRET,
            "PIPEDRIVE_OAUTH_URL": sandbox.url,
        }
        terminal = Terminal({**settings, **app})
    assert world.settings.operator_key is not None
    secrets = {
        CLIENT_SECRET,
        settings["TOKEN_ENCRYPTION_KEYS"],
        world.settings.operator_key.get_secret_value(),
        *tokens(world),
    }

    expire(world)
    good, lines = synced(terminal, "--full")
    secrets |= tokens(world)
    expire(world)
    sandbox.faults.add("invalid_client", times=9, path="/oauth/token")
    refused, more_lines = synced(terminal)
    sandbox.faults.clear()
    sandbox.revoke()
    gone, yet_more_lines = synced(terminal)

    assert [good.code, refused.code, gone.code] == [0, 4, 4], [good.err, refused.err, gone.err]
    files = [path for path in world.settings.pipeline_home.rglob("*") if path.is_file()]
    addresses = "\n".join(f"{request.path}?{request.query}" for request in sandbox.requests)
    output = "\n".join(
        part for result in (good, refused, gone) for part in (result.out, result.err)
    )
    places = {
        "the terminal": output,
        "a file": "\n".join(path.read_text("latin-1") for path in files),
        "a table": dump(world),
        "the process list": lines + more_lines + yet_more_lines,
        "an address": addresses,
    }
    assert len(secrets) == 7
    assert [place for place, text in places.items() for secret in secrets if secret in text] == []
