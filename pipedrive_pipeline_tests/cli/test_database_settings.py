"""Every command on databases that somebody else has set up: other defaults, other encodings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.databases import at, close_kept
from pipedrive_pipeline_tests.scenarios.world import ACME, environment_of, world_at

OF_THE_ROLE = {
    "datestyle": "German, DMY",
    "client_encoding": "latin1",
    "row_security": "off",
    "idle_session_timeout": "1s",
    "statement_timeout": "100ms",
    "lock_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "search_path": "",
    "bytea_output": "escape",
    "transaction_timeout": "1s",  # of PostgreSQL 17
}
OF_THE_DATABASE = {
    "standard_conforming_strings": "off",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "timezone": "Asia/Kolkata",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "gin_fuzzy_search_limit": "3",
}


@contextmanager
def database(template: str, creation: str, role: str | None = None) -> Iterator[str]:
    """The URL of a database made by ``creation``, as this role or the server's superuser."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(at(template, "postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template template0 {creation}".encode())
        url = urlsplit(at(template, name))
        if role:
            url = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}")
        yield url.geturl()
        close_kept(url.geturl())
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def hostile_url(database_template: str) -> Iterator[str]:
    """A database and its owner with defaults that suit nothing of ours."""
    role = f"hostile_{uuid4().hex[:8]}"
    with psycopg.connect(at(database_template, "postgres"), autocommit=True) as connection:
        connection.execute(f"create role {role} login createrole".encode())
        with database(database_template, f"encoding 'UTF8' owner {role}", role) as url:
            place = urlsplit(url).path.removeprefix("/")
            defaults = [("role", role, OF_THE_ROLE), ("database", place, OF_THE_DATABASE)]
            for kind, name, settings in defaults:
                for setting, value in settings.items():
                    if setting == "transaction_timeout" and connection.info.server_version < 170000:
                        continue
                    connection.execute(
                        sql.SQL("alter {} {} set {} = {}").format(
                            sql.SQL(kind), *map(sql.Identifier, (name, setting)), sql.Literal(value)
                        )
                    )
            yield url
        connection.execute(f"drop owned by {role}".encode())
        connection.execute(f"drop role {role}".encode())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_default_of_role_or_database_disturbs_a_command(
    hostile_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    """A DBA sets such defaults for people; `migrate` then ended in a TypeError, or syncs did."""
    sandbox.account.edit("persons", 3, name="Жанна Łukasik", custom_fields={})
    world = world_at(hostile_url, tmp_path)
    with environment_of(world) as settings:
        terminal = Terminal(settings)
        assert terminal.run("migrate").code == 0
        world.connect(ACME, sandbox)
        full = terminal.run("sync", "--tenant", "acme", "--full", "--json")
        assert full.code == 0, full.out + full.err
        sandbox.account.edit("organizations", 2, name="Größer & Söhne €")
        results = {
            words: terminal.run(*words, "--tenant", "acme", "--json")
            for words in [("sync",), ("sweep",), ("remap",), ("status",), ("doctor",)]
        }

    assert {words[0]: result.code for words, result in results.items()} == dict.fromkeys(
        ("sync", "sweep", "remap", "status", "doctor"), 0
    ), {words: result.err for words, result in results.items()}
    assert full.facts["marts"]["contacts"]["created"] == 35
    assert results[("sync",)].facts["marts"]["customers"]["updated"] == 1
    names = {row["pipedrive_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert names[3] == "Жанна Łukasik"
    (raw,) = [row for row in world.raw(ACME, "organizations") if row["id"] == 2]
    assert raw["name"] == "Größer & Söhne €"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_another_encoding_is_refused_by_name_with_the_next_step(
    command: str, encoding: str, database_template: str, in_process: InProcessTerminal
) -> None:
    """`migrate` ended in a TypeError, or syncs failed at the first name that did not fit."""
    creation = f"encoding '{encoding}' locale_provider libc locale 'C'"
    with database(database_template, creation) as url:
        result = in_process.run(command, DATABASE_URL=url)

    assert result.code == 4
    text = " ".join((result.out + result.err).split())
    assert f"has the encoding {encoding}" in text
    assert "encoding 'UTF8'" in text


def test_a_locale_whose_letters_are_not_ours_is_named_with_a_statement_that_helps(
    database_template: str, in_process: InProcessTerminal
) -> None:
    """A search for Жанна found nothing in a database of the locale C, and INFO was not info."""
    with database(database_template, "encoding 'UTF8' locale_provider libc locale 'C'") as url:
        made, examined = (
            in_process.run(command, DATABASE_URL=url) for command in ("migrate", "doctor")
        )

    assert (made.code, examined.code) == (0, 0)
    for result in (made, examined):
        text = " ".join((result.out + result.err).split())
        assert "searches and matches miss records" in text
    named = re.search("create database NAME (.*?) template template0", text)
    assert named
    with database(database_template, named[1]) as url:
        again = in_process.run("migrate", DATABASE_URL=url)
    assert again.code == 0
    assert "searches and matches" not in again.out + again.err
