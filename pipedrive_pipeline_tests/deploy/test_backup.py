"""A database restored as the guide says is whole, and the next sync brings it up to date."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql
from pydantic import SecretStr

from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel
from pipedrive_pipeline.warehouse.urls import facts_of, url_of
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.databases import at
from pipedrive_pipeline_tests.marts.sinks.app_schema import app_of
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of, world_at
from pipedrive_pipeline_tests.waiting import wait_until

GUIDE = PROJECT_ROOT / "docs" / "operating.md"


def commands() -> list[str]:
    """What the guide types: the backup, then the restore."""
    section = GUIDE.read_text().partition("## Backup and restore")[2]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
def test_a_restored_warehouse_goes_on_from_the_dump(database_url: str, tmp_path: Path) -> None:
    """Rows and cursors are of one moment: what happened since is read again, and nothing twice."""
    backup, restore = commands()
    databases.make_independent(database_url)
    new_url = at(database_url, "restored")
    settings = {
        "DATABASE_URL": database_url,
        "NEW_DATABASE_URL": new_url,
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PIPELINE_HOME": str(tmp_path),
    }
    programs = f"{of_the_wheel().folder}:{os.environ['PATH']}"

    def typed(block: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", block.replace("/var/backups", str(tmp_path))],
            cwd=PROJECT_ROOT,
            env={**os.environ, **settings, "PATH": programs},
            capture_output=True,
            text=True,
            check=False,
        )

    account = seeded(12, 35)
    world = world_at(database_url, tmp_path)
    with serve(account) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        saved = typed(backup)
        account.edit("persons", 1, name="Changed Since")
        world.sync()

        with psycopg.connect(at(database_url, "postgres"), autocommit=True) as server:
            server.execute("create database restored")
            filled, again = typed(restore), typed(restore)
            restored = replace(
                world,
                warehouse=Warehouse(new_url),
                settings=world.settings.model_copy(update={"database_url": SecretStr(new_url)}),
            )
            before = restored.rows("crm", "contacts")
            synced = restored.sync()
            assert_all_equals_source(restored, sandbox)
            server.execute("drop database restored with (force)")

    said = "\n".join(ended.stdout + ended.stderr for ended in (saved, filled, again))
    assert (saved.returncode, filled.returncode, again.returncode) == (0, 0, 2), said
    assert "keys are not in it" in saved.stdout
    assert "is not empty" in again.stderr
    assert len(before) == 35
    assert synced.built.counts["contacts"].created == 0


@pytest.mark.slow
def test_a_sync_goes_on_while_a_backup_is_made(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump locks every table of a dump until its end, and a load truncates those of staging."""
    monkeypatch.setattr(sessions, "LOAD_LOCK_SECONDS", 2)
    account = seeded(12, 35)
    world = world_at(database_url, tmp_path)
    with (
        serve(account) as sandbox,
        environment_of(world) as settings,
        psycopg.connect(database_url) as app,
        ThreadPoolExecutor(1) as pool,
    ):
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        account.edit_many("persons", range(1, 20), job_title="neu")
        world.sync()
        app.execute("create table public.locked ()")
        app.commit()
        app.execute("lock table public.locked in access exclusive mode")
        command = ("backup", str(tmp_path / "monday"))
        saved = pool.submit(Terminal(settings).run, *command)
        wait_until(lambda: saved.done() or is_waited_for(world, "public.locked"), 30)

        account.edit_many("persons", range(1, 20), job_title="neuer")
        world.sync()

        assert not saved.done()
        app.rollback()
        assert saved.result().code == 0, saved.result().err
        assert_all_equals_source(world, sandbox)


def is_waited_for(world: World, table: str) -> bool:
    """True if a session waits for a table."""
    with world.warehouse.transaction() as connection:
        query = "select from pg_locks where not granted and relation = to_regclass(%s)"
        return connection.execute(query, [table]).fetchone() is not None


@pytest.mark.slow
def test_a_backup_shows_nobody_the_password_and_is_in_utf8(
    database_url: str, tmp_path: Path
) -> None:
    """Every user of the machine could read it in the list of processes.

    pg_dump used the encoding that the role has for people, which may lack a character.
    """
    seen = tmp_path / "seen"
    program = tmp_path / "programs" / "pg_dump"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@ $PGCLIENTENCODING" >>{seen}\n'
        f'exec {of_the_wheel().folder}/pg_dump "$@"\n'
    )
    program.chmod(0o755)
    user, password = f"backup_{uuid4().hex[:8]}", "seen by nobody"
    world = world_at(
        url_of(facts_of(database_url) | {"user": user, "password": password}), tmp_path
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role {user} login superuser password '{password}'".encode())
        connection.execute(f"alter role {user} set client_encoding = 'latin1'".encode())

    with environment_of(world) as settings:
        path = f"{program.parent}:{os.environ['PATH']}"
        saved = Terminal({**settings, "PATH": path}).run("backup", str(tmp_path / "monday"))

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"drop role {user}".encode())
    assert saved.code == 0, saved.err
    assert seen.read_text().rstrip().endswith("utf8")
    assert password not in seen.read_text()


@pytest.mark.slow
def test_a_server_without_the_roles_is_given_them(database_url: str, tmp_path: Path) -> None:
    """Of sinks, of the app's own tables, of who reads a token, and of logins by way of a group."""
    databases.make_independent(database_url)
    world = world_at(database_url, tmp_path)
    account = seeded(2, 3)
    with serve(account) as sandbox, environment_of(world) as settings:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        app = app_of(world.warehouse)
        app.save()
        app.feed()
        with psycopg.connect(database_url) as connection:
            connection.execute(_ROLES_OF_OTHERS.encode())
        saved = Terminal(settings).run("backup", str(tmp_path / "monday"))
        with psycopg.connect(database_url) as connection:
            names = connection.execute(_ROLES_OF_A_DATABASE).fetchall()
        databases.drop(database_url)
        with psycopg.connect(at(database_url, "postgres"), autocommit=True) as server:
            drop_roles(server, names)
            server.execute(
                sql.SQL("create database {}").format(
                    sql.Identifier(urlsplit(database_url).path[1:])
                )
            )

        filled = Terminal(settings).run("restore", str(tmp_path / "monday"))
        account.edit("organizations", 1, name="Changed Since")
        world.sync()
    with psycopg.connect(database_url) as connection:
        connection.execute("set session authorization backup_ada")
        read = connection.execute("select count(*) from analytics_acme.customers").fetchone()
        connection.execute("reset session authorization")
        kept = connection.execute(_KEPT).fetchall()
        connection.execute("drop owned by backup_shop, backup_enrichment")
        connection.commit()
        drop_roles(connection, [(name,) for (name,) in names if name.startswith("backup_")])

    assert {name.partition("_")[0] for (name,) in names} == {
        "pipeline",
        "analyst",
        "sink",
        "backup",
    }
    assert (saved.code, filled.code) == (0, 0), filled
    assert "Changed Since" in {row["company"] for row in app.rows()}
    assert read == (2,)
    assert kept == [
        ("backup_ada", True, False, ['search_path=analytics_acme, "$user"']),
        ("backup_enrichment", True, False, None),
        ("backup_group", False, False, None),
        ("backup_shop", False, True, None),
    ]


def drop_roles(connection: psycopg.Connection, names: list[tuple[str]]) -> None:
    for (name,) in names:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


_ROLES_OF_OTHERS = """
create role backup_shop nologin createrole;
create schema shop authorization backup_shop;
create role backup_enrichment login;
create table public.tokens ();
grant select on public.tokens to backup_enrichment;
create role backup_group nologin;
create role backup_ada login;
grant backup_group to backup_ada;
alter role backup_ada set search_path to analytics_acme, "$user";
select integration.grant_role('analyst_acme', 'backup_group');
"""
_ROLES_OF_A_DATABASE = """
select pg_roles.rolname
from pg_catalog.pg_roles
cross join integration.installation
where pg_roles.rolname ~ (installation.id || '$')
    or starts_with(pg_roles.rolname, 'backup_')
"""
_KEPT = """
select pg_roles.rolname, pg_roles.rolcanlogin, pg_roles.rolcreaterole, pg_roles.rolconfig
from pg_catalog.pg_roles
where starts_with(pg_roles.rolname, 'backup_')
order by pg_roles.rolname
"""


@pytest.fixture
def terminal(database_url: str, tmp_path: Path) -> Iterator[Terminal]:
    with environment_of(world_at(database_url, tmp_path)) as settings:
        yield Terminal(settings)


def stub(folder: Path, name: str, version: int, ending: str) -> str:
    """A PATH on which a program says this version of itself, and then ends like this."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && echo "{name} (PostgreSQL) {version}.1" && exit\n'
        f"{ending}\n"
    )
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.slow
def test_a_client_older_than_the_server_is_not_used(terminal: Terminal, tmp_path: Path) -> None:
    """Debian 12 brings client 15, which refuses server 18; the package has programs of 18."""
    path = stub(tmp_path / "bin", "pg_dump", 15, "echo server version mismatch >&2; exit 1")

    saved = terminal.run("backup", str(tmp_path / "monday"), PATH=path)

    assert saved.code == 0, saved
    assert (tmp_path / "monday" / "warehouse.dump").stat().st_size > 10_000


@pytest.mark.slow
def test_a_backup_that_fails_leaves_nothing(terminal: Terminal, tmp_path: Path) -> None:
    """The second attempt said of the first one's rest that the folder is not empty.

    The reason is not in the last line, which has a query with the names of all tables.
    """
    said = "pg_dump: error: connection lost\\npg_dump: detail: Query was: LOCK TABLE"
    ending = f'for last; do :; done; : >"$last"; printf "{said}\\n" >&2; exit 1'
    path = stub(tmp_path / "bin", "pg_dump", 99, ending)
    made, new = tmp_path / "made", tmp_path / "new"
    made.mkdir()

    results = [terminal.run("backup", str(folder), PATH=path) for folder in (made, new, new)]

    assert [result.code for result in results] == [1, 1, 1]
    assert all("connection lost." in result.error for result in results)
    assert list(made.iterdir()) == []
    assert not new.exists()


@pytest.mark.slow
def test_a_dump_that_cannot_be_used_names_the_next_step(
    database_url: str, terminal: Terminal, tmp_path: Path
) -> None:
    """One is of a newer client, which no rerun helps; the other was cut off on its way."""
    saved = tmp_path / "monday"
    assert terminal.run("backup", str(saved)).code == 0
    dump = (saved / "warehouse.dump").read_bytes()
    newer = bytearray(dump)
    newer[6] = 99  # the minor version of the format, after "PGDMP" and the major one
    with psycopg.connect(at(database_url, "postgres"), autocommit=True) as server:
        server.execute("create database restored_late")
        new_url = at(database_url, "restored_late")

        (saved / "warehouse.dump").write_bytes(newer)
        refused = terminal.run("restore", str(saved), DATABASE_URL=new_url)
        (saved / "warehouse.dump").write_bytes(dump[: len(dump) * 9 // 10])
        broken_off = terminal.run("restore", str(saved), DATABASE_URL=new_url)

        server.execute("drop database restored_late with (force)")
    assert refused.code == 2, refused
    assert "unsupported version" in refused.error
    assert "install the client of that version" in refused.error
    assert broken_off.code == 1, broken_off
    assert "drop it and make it again" in broken_off.error
