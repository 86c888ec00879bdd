"""`tenants add`, `list` and `remove`."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal, ended
from pipedrive_pipeline_tests.databases import make_independent
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World


def test_a_tenant_is_added_listed_and_removed(in_process: InProcessTerminal) -> None:
    empty = in_process.run("tenants", "list")
    added = in_process.run("tenants", "add", "acme", "--external-id", "7", "--display-name", "ACME")
    again = in_process.run("tenants", "add", "acme")
    taken = in_process.run("tenants", "add", "bravo", "--external-id", "7")
    listed = in_process.run("tenants", "list", "--json").facts
    removed = in_process.run("tenants", "remove", "acme")

    assert "tenants add" in empty.out
    assert "connect --tenant acme" in added.out
    assert (again.code, again.out) == (0, "acme: is there.\n")
    assert taken.code == 2
    assert "acme" in taken.error
    assert [(row["slug"], row["external_id"], row["display_name"]) for row in listed] == [
        ("acme", "7", "ACME")
    ]
    assert removed.code == 0
    assert in_process.run("tenants", "list", "--json").facts == []


@pytest.mark.slow
def test_a_tenant_with_data_is_kept_connected_unless_it_shall_be_erased(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """The refusal must come before the grant is revoked: it would leave half a removal."""
    world.connect(ACME, sandbox)
    world.first_sync()
    before = world.rows("integration", "connections")

    refused = in_process.run("tenants", "remove", "acme")

    assert refused.code == 2
    assert "--erase" in refused.error
    assert world.rows("integration", "connections") == before


@pytest.mark.slow
def test_a_narrow_terminal_gets_a_block_per_tenant_and_a_wide_one_a_table(
    in_process: InProcessTerminal, terminal: Terminal
) -> None:
    """At 80 columns the table cut every name, and broke the bars into lines."""
    for slug in ("acme", "bravo"):
        in_process.run("tenants", "add", slug, "--display-name", slug.upper())

    narrow = terminal.run("status", COLUMNS="80").out.splitlines()
    wide = terminal.run("status", COLUMNS="140").out.splitlines()

    assert [line.split() for line in narrow if line.startswith("tenant")] == [
        ["tenant", "acme"],
        ["tenant", "bravo"],
    ]
    assert max(map(len, narrow)) <= 80
    (heads,) = [line for line in wide if line.startswith("tenant")]
    assert heads.split()[:5] == ["tenant", "system", "company", "state", "last"]


@pytest.mark.slow
def test_the_status_of_many_tenants_takes_as_many_connections_as_that_of_one(
    in_process: InProcessTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each tenant made the status of 500 take 16 seconds."""
    opened: list[object] = []

    def connect(*args: Any, **options: Any) -> psycopg.Connection:
        opened.append(args)
        return psycopg.Connection.connect(*args, **options)

    monkeypatch.setattr(psycopg, "connect", connect)
    counts = []
    for slugs in (["t1"], [f"t{number}" for number in range(2, 23)]):
        for slug in slugs:
            assert in_process.run("tenants", "add", slug).code == 0
        opened.clear()
        shown = in_process.run("status")
        counts.append(len(opened))
        assert all(slug in shown.out for slug in slugs)
    heads, *lines = shown.out.splitlines()

    assert heads.split()[:3] == ["tenant", "system", "company"]
    assert len(lines) == 22, "many tenants are one line each"
    assert counts[0] == counts[1] <= 3  # two of them look at the server and at its schema


@pytest.mark.slow
def test_a_tenants_runs_are_shown_over_time_with_rows_seconds_and_tokens(
    in_process: InProcessTerminal, terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    world.first_sync()
    world.sync()

    shown = terminal.run("status", "--tenant", "acme", "--history", COLUMNS="80").out.splitlines()
    facts = in_process.run("status", "--tenant", "acme", "--history", "--json").facts
    alone = in_process.run("status", "--history")

    assert "acme: the last 2 runs of Pipedrive" in shown[0]
    assert [line.split()[2] for line in shown if " success " in line] == ["full", "incremental"]
    assert [line.split()[0] for line in shown[-3:]] == ["rows", "seconds", "tokens"]
    assert max(map(len, shown)) <= 80
    assert [run["tokens_spent"] > 0 for run in facts["runs"]] == [True, True]
    assert alone.code == 2


@pytest.mark.slow
def test_erasing_takes_a_tenant_from_everywhere_but_the_audit_log(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """Dagster's runs and the scratch folder hold facts of the tenant as well."""
    make_independent(world.warehouse.url)  # another test's database may need the role of analysts
    with world.warehouse.transaction() as connection:
        connection.execute("drop schema dagster cascade")  # both commands begin by making it
    world.connect(ACME, sandbox)
    world.connect(Tenant("bravo"), sandbox)
    words = ("sync", "--full", "--json", "--tenant")
    begun = [terminal.fork(*words, slug) for slug in ("acme", "bravo")]
    assert [ended(process).facts["success"] for process in begun] == [True, True]
    home = world.settings.pipeline_home
    scratch = Scope(ACME, SYSTEM).scratch_directory(home, world.warehouse.identity())
    scratch.joinpath("of a dead run").mkdir(parents=True)

    removed = terminal.run("tenants", "remove", "acme", "--erase")

    assert (removed.code, removed.err) == (0, "")
    assert not scratch.exists()
    assert world.history() == []
    assert len(world.history(Tenant("bravo"))) == 1
    assert {row["tenant_id"] for row in world.rows("crm", "customers")} == {"bravo"}
    tags = world.rows("dagster", "run_tags")
    assert {tag["value"] for tag in tags if tag["key"] == "dagster/partition"} == {"bravo"}
    partitions = world.rows("dagster", "dynamic_partitions")
    assert [row["partition"] for row in partitions] == ["bravo"]
    actions = [(row["tenant_id"], row["action"]) for row in world.rows("integration", "audit_log")]
    assert ("acme", "connection.state") in actions
    assert ("acme", "tenant.erase") in actions
