"""A run that a person ends, and what its progress says until then."""

from __future__ import annotations

import json

import pytest

from pipedrive_pipeline.errors import Cancelled
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.cancellation import cancel
from pipedrive_pipeline.sync.runs.listing import find_run
from pipedrive_pipeline.sync.runs.progress import RowsRead, RunProgress
from pipedrive_pipeline.sync.runs.run import TenantRun
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, mart
from pipedrive_pipeline_tests.scenarios.world import ACME, World


def asked_to_end(world: World, run: TenantRun) -> bool:
    with world.warehouse.as_app(ACME) as connection:
        return cancel(connection, Scope(ACME, "pipedrive"), run.row.id, who="key our app")


def status(world: World, run: TenantRun) -> str:
    with world.warehouse.as_app(ACME) as connection:
        row = find_run(connection, ACME, "pipedrive", run.row.id)
    assert row is not None
    return row.status


def shown_progress(world: World, run: TenantRun) -> RunProgress:
    with world.warehouse.as_app(ACME) as connection:
        row = find_run(connection, ACME, "pipedrive", run.row.id)
    assert row is not None
    return RunProgress.of_stored(json.loads(row.progress_json or "{}"))


@pytest.mark.slow
def test_a_cancelled_run_builds_nothing_and_the_next_one_goes_on(
    world: World, sandbox: Sandbox
) -> None:
    """Its rows in raw are right and stay; nobody is alerted about it."""
    with world.run(sync_type="full") as run:
        list(run.read())
        assert asked_to_end(world, run)
        with pytest.raises(Cancelled, match="ended by key our app"), run.recorded():
            run.build_marts()

    assert status(world, run) == "cancelled"
    assert mart(world, "customers") == []
    with world.warehouse.transaction() as connection:
        assert connection.execute("select code from integration.alerts").fetchall() == []

    world.sync(sync_type="full")

    assert_all_equals_source(world, sandbox)


def test_a_run_that_is_to_end_reads_nothing_more(world: World, sandbox: Sandbox) -> None:
    calls = len(sandbox.requests)

    with world.run(sync_type="full") as run:
        asked_to_end(world, run)
        with pytest.raises(Cancelled), run.recorded():
            list(run.read())

    assert len(sandbox.requests) == calls
    assert not asked_to_end(world, run)  # it has ended


@pytest.mark.slow
def test_a_full_read_says_how_much_there_is_to_read(world: World) -> None:
    """By the price, which is asked before it; the second time by what is here."""
    for expected in ("by the source", "by raw"):
        with world.run(sync_type="full") as run:
            run.price()
            list(run.read())
            progress = shown_progress(world, run)
            run.build_marts()

        assert progress.entities["persons"].expected, expected
        assert (progress.phase, progress.tokens >= 0) == ("reading", True)


def test_share_and_time_left_follow_from_rows() -> None:
    """A list may turn out shorter than its highest id says: when it ends, it is all read."""
    entities = {
        "deals": RowsRead(rows=30, expected=60, is_complete=True),
        "persons": RowsRead(rows=20, expected=40, is_complete=False),
        "users": RowsRead(rows=5, expected=None, is_complete=True),
    }
    progress = RunProgress("reading", "persons", 3, 20, 8.0, 10, entities)

    assert progress.share == pytest.approx(0.8)
    assert progress.seconds_left == pytest.approx(2.0)
    assert RunProgress("reading", "", 0, 0, 1.0, 0, {}).share is None
