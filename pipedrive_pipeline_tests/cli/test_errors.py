"""What goes wrong is one line: the culprit, the next step, a documented code, and no secret.

Each case is a real process: a traceback of an import or at exit would show nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.cli.terminal import Here, Said, Terminal, ended
from pipedrive_pipeline_tests.scenarios.world import ACME, World

CANARY = "canary0token0canary0token0canary0token00"
NOBODY = "http://127.0.0.1:9"  # the discard port; nothing listens
DATABASE_DOWN = f"postgresql://somebody:{CANARY}@127.0.0.1:9/warehouse"


@dataclass(frozen=True)
class Wrong:
    """A command that cannot work: its words and settings, its code, what its line names."""

    words: tuple[str, ...]
    settings: dict[str, str]
    code: int
    names: tuple[str, ...]


def connecting(url: str) -> tuple[str, ...]:
    return ("connect", "--tenant", "acme", "--api-token", CANARY, "--api-url", url)


def wrongs(sandbox: Sandbox) -> dict[str, Wrong]:
    """Everything that may be wrong before a run begins."""
    return {
        "wrong token": Wrong(connecting(sandbox.url), {}, 4, ("acme", "refuses this token")),
        "unreachable host": Wrong(connecting(NOBODY), {}, 1, ("acme", NOBODY, "check that it")),
        "host not allowed": Wrong(
            connecting("https://elsewhere.example"),
            {},
            4,
            ("elsewhere.example", "PIPEDRIVE_ALLOWED_HOSTS"),
        ),
        "database down": Wrong(
            ("status",), {"DATABASE_URL": DATABASE_DOWN}, 1, ("127.0.0.1", "DATABASE_URL")
        ),
        "no tenant": Wrong(("sync", "--tenant", "nobody"), {}, 2, ("nobody", "tenants add")),
        "bad slug": Wrong(("tenants", "add", "Bad Slug"), {}, 2, ("'Bad Slug'", "acme_gmbh")),
        "empty": Wrong(("status",), {"PIPEDRIVE_CLIENT_ID": " "}, 2, ("PIPEDRIVE_CLIENT_ID",)),
        "malformed": Wrong(("status",), {"TOKEN_ENCRYPTION_KEYS": CANARY}, 2, ("Fernet",)),
        "no database": Wrong(("status",), {"DATABASE_URL": "mysql://x"}, 2, ("DATABASE_URL",)),
        "no keys": Wrong(
            ("connect", "--tenant", "acme"),
            {"PIPEDRIVE_CLIENT_ID": "x"},
            2,
            ("PIPEDRIVE_CLIENT_SECRET",),
        ),
        "never connected": Wrong(("disconnect", "--tenant", "acme"), {}, 4, ("acme", "connect")),
    }


def held(world: World) -> list[object]:
    """All that a refused command could have changed."""
    tables = ("tenants", "connections", "sync_logs", "sync_requests", "audit_log", "pending_grants")
    return [world.rows("integration", table, "created_at") for table in tables[:2]] + [
        world.rows("integration", table) for table in tables[2:]
    ]


def assert_plain(said: Said, wrong: Wrong) -> None:
    assert said.code == wrong.code, said
    assert said.error.startswith("error: ")
    assert all(name in said.error for name in wrong.names), said.error
    assert CANARY not in said.err
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_whatever_is_wrong_before_a_run_is_one_line_and_changes_nothing(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    terminal.run("tenants", "add", "acme")
    before = held(world)
    cases = wrongs(sandbox)
    begun = {name: terminal.start(*case.words, **case.settings) for name, case in cases.items()}

    said = {name: ended(process) for name, process in begun.items()}

    for name, wrong in cases.items():
        assert_plain(said[name], wrong)
    assert held(world) == before


def test_the_cheap_ones_are_told_at_once(here: Here, world: World, sandbox: Sandbox) -> None:
    """The same in this process, for whoever has no minute."""
    here.run("tenants", "add", "acme")
    before = held(world)
    cases = wrongs(sandbox)
    for name in ("unreachable host", "no tenant"):  # seconds of patience; Dagster's import
        cases.pop(name)

    for wrong in cases.values():
        assert_plain(here.run(*wrong.words, **wrong.settings), wrong)
    assert held(world) == before


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
        slug: terminal.start("sync", "--tenant", slug, **more)
        for slug, more in (
            ("refused", {}),
            ("gone", {}),
            ("unlisted", {"PIPEDRIVE_ALLOWED_HOSTS": "*.pipedrive.com"}),
        )
    }

    said = {slug: ended(process) for slug, process in begun.items()}
    sandboxes["refused"].__exit__(None, None, None)
    sandboxes["unlisted"].__exit__(None, None, None)

    codes = {"refused": (4, "needs_reauth"), "gone": (1, "source_unavailable")}
    codes["unlisted"] = (4, "host_not_allowed")
    for slug, (code, error) in codes.items():
        assert said[slug].code == code, said[slug]
        lines = [line for line in said[slug].err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert "Traceback" not in said[slug].err
        assert not any(sandbox.api_token in said[slug].err for sandbox in running.values())
        row = world.history(Tenant(slug))[-1]
        assert row["status"] == "failed"
        assert row["errors"][-1]["code"] == error
        assert row["errors"][-1]["message"] in lines[0]
    assert world.rows("crm", "contacts") == before


def test_an_error_that_nobody_foresaw_is_one_line_and_its_trace_is_for_its_owner(
    here: Here, world: World
) -> None:
    """A trace on the screen may hold a value; it is kept where only the operator reads it."""
    here.run("tenants", "add", "acme")
    with world.warehouse.transaction() as connection:
        connection.execute("alter table integration.tenants rename column display_name to other")

    said = here.run("tenants", "list")

    file = world.settings.pipeline_home / "logs" / "unexpected-errors.log"
    assert said.code == 1
    assert str(file) in said.error
    assert "Traceback" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_running_tenant_is_busy_at_once(here: Here, world: World, sandbox: Sandbox) -> None:
    world.connect(ACME, sandbox)
    with world.run():
        said = here.run("tenants", "remove", "acme", "--erase")

    assert said.code == 3
    assert "acme" in said.error
    assert world.rows("integration", "tenants", "slug")
