"""What goes wrong is one line: the culprit, the next step, a documented code, and no secret.

Each case is a real process: a traceback of an import or at exit would show nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg2
import pytest

from pipedrive_pipeline.errors import lost_database
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.cli.terminal import CommandResult, InProcessTerminal, Terminal, ended
from pipedrive_pipeline_tests.scenarios.world import ACME, World

CANARY = "canary0token0canary0token0canary0token00"
SCOPE = ("--tenant", "acme", "--system", "pipedrive")  # the suite has two systems registered
NOBODY = "http://127.0.0.1:9"  # the discard port; nothing listens
DATABASE_DOWN = f"postgresql://somebody:{CANARY}@127.0.0.1:9/warehouse"


@dataclass(frozen=True)
class ErrorCase:
    """A command that must fail: its words and settings, its exit code, the words in its message."""

    words: tuple[str, ...]
    settings: dict[str, str]
    code: int
    names: tuple[str, ...]


def connecting(url: str) -> tuple[str, ...]:
    return ("connect", *SCOPE, "--api-token", CANARY, "--api-url", url)


def error_cases(sandbox: Sandbox) -> dict[str, ErrorCase]:
    """Every error that is possible before a run begins."""
    return {
        "wrong token": ErrorCase(connecting(sandbox.url), {}, 4, ("acme", "refuses this token")),
        "unreachable host": ErrorCase(connecting(NOBODY), {}, 1, ("acme", NOBODY, "check that it")),
        "host not allowed": ErrorCase(
            connecting("https://elsewhere.example"),
            {},
            4,
            ("elsewhere.example", "PIPEDRIVE_ALLOWED_HOSTS"),
        ),
        "database down": ErrorCase(
            ("status",), {"DATABASE_URL": DATABASE_DOWN}, 1, ("127.0.0.1", "DATABASE_URL")
        ),
        "no tenant": ErrorCase(("sync", "--tenant", "nobody"), {}, 2, ("nobody", "tenants add")),
        "bad slug": ErrorCase(("tenants", "add", "Bad Slug"), {}, 2, ("'Bad Slug'", "acme_gmbh")),
        "empty": ErrorCase(("status",), {"PIPEDRIVE_CLIENT_ID": " "}, 2, ("PIPEDRIVE_CLIENT_ID",)),
        "malformed": ErrorCase(("status",), {"TOKEN_ENCRYPTION_KEYS": CANARY}, 2, ("Fernet",)),
        "no database": ErrorCase(("status",), {"DATABASE_URL": "mysql://x"}, 2, ("DATABASE_URL",)),
        "no keys": ErrorCase(
            ("connect", *SCOPE),
            {"PIPEDRIVE_CLIENT_ID": "x"},
            2,
            ("PIPEDRIVE_CLIENT_SECRET",),
        ),
        "never connected": ErrorCase(
            ("disconnect", "--tenant", "acme"), {}, 4, ("acme", "connect")
        ),
    }


def affected_rows(world: World) -> list[object]:
    """All that a refused command could have changed."""
    tables = ("tenants", "connections", "runs", "sync_requests", "audit_log", "pending_grants")
    return [world.rows("integration", table, "created_at") for table in tables[:2]] + [
        world.rows("integration", table) for table in tables[2:]
    ]


def assert_plain(result: CommandResult, wrong: ErrorCase) -> None:
    assert result.code == wrong.code, result
    assert result.error.startswith("error: ")
    assert all(name in result.error for name in wrong.names), result.error
    assert CANARY not in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_an_error_before_a_run_is_one_line_and_changes_nothing(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    terminal.run("tenants", "add", "acme")
    before = affected_rows(world)
    cases = error_cases(sandbox)
    begun = {name: terminal.start(*case.words, **case.settings) for name, case in cases.items()}

    results = {name: ended(process) for name, process in begun.items()}

    for name, wrong in cases.items():
        assert_plain(results[name], wrong)
    assert affected_rows(world) == before


@pytest.mark.slow
def test_the_cheap_errors_are_reported_at_once(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """The same in this process, which takes seconds instead of a minute."""
    in_process.run("tenants", "add", "acme")
    before = affected_rows(world)
    cases = error_cases(sandbox)
    for name in ("unreachable host", "no tenant"):  # seconds of patience; Dagster's import
        cases.pop(name)

    for wrong in cases.values():
        assert_plain(in_process.run(*wrong.words, **wrong.settings), wrong)
    assert affected_rows(world) == before


@pytest.mark.slow
def test_a_run_that_fails_leaves_a_failed_row_and_the_last_good_tables(
    terminal: Terminal, world: World
) -> None:
    """By a token that died, a host that is gone, and a list of hosts that shrank."""
    sandboxes = {slug: serve(seeded(12, 35)) for slug in ("refused", "gone", "unlisted")}
    running = {slug: server.__enter__() for slug, server in sandboxes.items()}
    for slug, sandbox in running.items():
        world.connect(Tenant(slug), sandbox)
        world.sync(Tenant(slug), "full")
    before = world.rows("crm", "contacts")
    running["refused"].revoke()
    sandboxes["gone"].__exit__(None, None, None)
    begun = {
        slug: terminal.fork("sync", "--tenant", slug, **more)
        for slug, more in (
            ("refused", {}),
            ("gone", {}),
            ("unlisted", {"PIPEDRIVE_ALLOWED_HOSTS": "*.pipedrive.com"}),
        )
    }

    results = {slug: ended(process) for slug, process in begun.items()}
    sandboxes["refused"].__exit__(None, None, None)
    sandboxes["unlisted"].__exit__(None, None, None)

    codes = {"refused": (4, "needs_reauth"), "gone": (1, "source_unavailable")}
    codes["unlisted"] = (4, "host_not_allowed")
    for slug, (code, error) in codes.items():
        assert results[slug].code == code, results[slug]
        lines = [line for line in results[slug].err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert "Traceback" not in results[slug].err
        assert not any(sandbox.api_token in results[slug].err for sandbox in running.values())
        row = world.history(Tenant(slug))[-1]
        assert row["status"] == "failed"
        assert row["errors"][-1]["code"] == error
        assert row["errors"][-1]["message"] in lines[0]
    assert world.rows("crm", "contacts") == before


def test_an_error_that_nobody_foresaw_is_one_line_and_its_trace_is_for_its_owner(
    in_process: InProcessTerminal, world: World
) -> None:
    """A trace on the screen may hold a value; it is kept where only the operator reads it."""
    in_process.run("tenants", "add", "acme")
    with world.warehouse.transaction() as connection:
        connection.execute("alter table integration.tenants rename column display_name to other")

    result = in_process.run("tenants", "list")

    file = world.settings.pipeline_home / "logs" / "unexpected-errors.log"
    assert result.code == 1
    assert str(file) in result.error
    assert "Traceback" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_storage_of_dagster_that_cannot_be_reached_is_named(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """At the limit of connections it asked to be reported; a later run works."""
    world.connect(ACME, sandbox)
    nowhere = "postgresql://dagster:secret@127.0.0.1:1/nowhere"

    result = terminal.run("sync", *SCOPE, DAGSTER_DATABASE_URL=nowhere)

    assert result.code == 1
    assert "Postgres refused or ended a connection" in result.err
    assert "secret" not in result.err
    assert "report it" not in result.err


@pytest.mark.parametrize(
    ("library", "is_lost"),
    [
        (psycopg.errors.TooManyConnections("too many"), True),
        (psycopg.errors.AdminShutdown("terminating"), True),
        (psycopg2.OperationalError("connection refused"), True),
        (psycopg.errors.QueryCanceled("a statement took too long"), False),
        (psycopg.errors.UndefinedColumn("no such column"), False),
    ],
)
def test_a_lost_connection_is_known_behind_other_libraries(
    library: Exception, *, is_lost: bool
) -> None:
    wrapped = RuntimeError("too many retries for DB connection")
    wrapped.__cause__ = library

    assert bool(lost_database(wrapped)) is is_lost


def test_a_path_that_cannot_be_used_is_named(in_process: InProcessTerminal, tmp_path: Path) -> None:
    """Each was an unexpected error that asked to be reported."""
    file, deep, full = tmp_path / "file", tmp_path / "deep.json", tmp_path / "full"
    file.write_text("x")
    deep.write_text("[" * 200_000)
    full.mkdir()
    (full / "mine").write_text("x")
    in_process.run("tenants", "add", "acme")
    cases = {
        "a folder that cannot be made": (("backup", "/proc/x"), "/proc/x"),
        "a file": (("backup", str(file)), str(file)),
        "a folder in a file": (("backup", str(file / "x")), str(file / "x")),
        "a folder with files": (("backup", str(full)), "is not empty"),
        "a name that is too long": (("restore", "a" * 3_000), "name a folder"),
        "a file in a file": (("restore", str(file / "x")), "name a folder"),
        "JSON too deep": (("mapping", "set", *SCOPE, "--file", str(deep)), "is no JSON"),
        "sinks too deep": (("sinks", "set", *SCOPE, "--file", str(deep)), "is no JSON"),
    }

    results = {case: in_process.run(*words) for case, (words, _) in cases.items()}

    assert {case: result.code for case, result in results.items()} == dict.fromkeys(cases, 2)
    for case, (_, named) in cases.items():
        assert named in results[case].error, case
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_a_running_tenant_is_busy_at_once(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    with world.run():
        result = in_process.run("tenants", "remove", "acme", "--erase")

    assert result.code == 3
    assert "acme" in result.error
    assert world.rows("integration", "tenants", "slug")
