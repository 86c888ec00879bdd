"""A spent day on the command line, and in Dagster's eyes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import ExitCode
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.cli.terminal import CommandResult, Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of, world_at

pytestmark = pytest.mark.slow


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(1_200, 3_500), plan="lite", seats=1) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    return world


def command(world: World, *words: str) -> CommandResult:
    """The command line, as a person types it."""
    with environment_of(world) as environment:
        return Terminal(environment).run(*words, "--tenant", "acme", SCHEDULES="off")


def test_a_paused_run_is_green_answers_5_and_says_when_it_goes_on(
    world: World, sandbox: Sandbox
) -> None:
    """Red would call a person who has nothing to do; a mart of half the rows would mislead one."""
    sandbox.budget.spend(sandbox.budget.remaining - 240)

    paused = command(world, "sync", "--full")
    calls_when_paused = sandbox.requests.count
    refused = command(world, "sync")

    assert (paused.code, refused.code) == (ExitCode.PAUSED, ExitCode.PAUSED)
    assert "full read: 80 to 160 tokens, less than 1 % of 30,000" in paused.out
    assert "it goes on at" in paused.err
    assert sandbox.requests.count == calls_when_paused
    [line] = refused.err.splitlines()
    assert line.startswith("paused: acme: paused until ")
    with world.warehouse.connect() as connection:
        runs = connection.execute("select status from dagster.runs").fetchall()
        tags = dict(connection.execute("select key, value from dagster.run_tags").fetchall())
        observed = connection.execute(
            "select asset_key from dagster.event_logs"
            " where dagster_event_type = 'ASSET_OBSERVATION'"
        ).fetchall()
        built = connection.execute(
            "select asset_key from dagster.event_logs"
            " where dagster_event_type = 'ASSET_MATERIALIZATION'"
            " and asset_key not like '%pipedrive%'"
        ).fetchall()
    assert runs == [("SUCCESS",)]
    assert tags["pipeline/status"] == "paused"
    assert tags["pipeline/resumes_at"] in f"{world.history()[0]['resume_at']:%Y-%m-%dT%H:%M}+00:00"
    assert ('["pipedrive", "persons"]',) in observed
    assert {*observed} <= {(f'["pipedrive", "{name}"]',) for name in ("organizations", "persons")}
    assert built == []


def test_a_dry_run_says_the_price_and_reads_nothing(world: World, sandbox: Sandbox) -> None:
    calls_before = sandbox.requests.count

    priced = command(world, "sync", "--full", "--dry-run")

    assert priced.code == ExitCode.OK
    first, *by_entity = priced.out.splitlines()
    assert first == "acme: full read: 80 to 160 tokens, less than 1 % of 30,000"
    assert "persons: 20 to 80" in {line.strip() for line in by_entity}
    assert sandbox.requests.count - calls_before == 2
    assert world.history() == []
