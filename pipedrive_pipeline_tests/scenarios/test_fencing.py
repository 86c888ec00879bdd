"""A run that was stopped, lost its lock and wakes up after the next one writes nothing more."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from typing import Any

import psutil
import pytest

from pipedrive_pipeline.errors import Superseded
from pipedrive_pipeline.sandbox import Account, Sandbox, seeded
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow
RENAMES = 77  # in one incremental sync, from the 25th on of jobs that are loaded
RAW, STAGING = ACME.raw_schema(SYSTEM), ACME.staging_schema(SYSTEM)
WRITTEN = (
    *((RAW, name, "id") for name in ("organizations", "persons", "users", "deletions")),
    (RAW, "_dlt_loads", "load_id"),
    (RAW, "_dlt_pipeline_state", "_dlt_load_id"),
    (STAGING, "seen_keys", "id"),
    ("crm", "customers", "pipedrive_id"),
    ("crm", "contacts", "pipedrive_id"),
    ("integration", "mart_state", "tenant_id"),
    ("integration", "connections", "tenant_id"),
)


@pytest.fixture
def account() -> Account:
    return seeded(30, 60)


def everything_written(world: World) -> list[Any]:
    """Every row that a run may write, with its `xmin`."""
    return [world.rows(*table) for table in WRITTEN]


def cut_off(world: World) -> None:
    """The session with the tenant's lock and every transaction are gone, as after a failover."""
    with world.warehouse.connect(autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
            " and ((classid::bigint << 32) | objid::bigint) = %s",
            [ACME.lock_key],
        )
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and xact_start < now()"
        )
    world.wait_for_the_dead()


def wake(process: ForkServerProcess) -> int:
    """The exit code of a stopped process that goes on."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    return worker.ended(process)


def wait_until_stopped(process: ForkServerProcess) -> None:
    assert process.pid is not None
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        process.join(0.01)
        assert process.exitcode is None, "it ended instead"


def assert_the_late_one_writes_nothing(
    world: World, sandbox: Sandbox, account: Account, stopped: ForkServerProcess
) -> None:
    wait_until_stopped(stopped)
    cut_off(world)
    account.edit("persons", 7, name="der neuere Lauf sah das")
    account.delete("persons", 8)
    world.sync(sync_type="sweep")
    before = everything_written(world)

    assert wake(stopped) == 1

    assert everything_written(world) == before
    assert_all_equals_source(world, sandbox)
    assert [row["status"] for row in world.history()] == ["success", "failed", "success"]
    assert world.history()[1]["errors"][-1]["code"] == "superseded"


def test_a_run_that_is_stopped_while_it_reads_cannot_load_what_it_read(
    world: World, sandbox: Sandbox, account: Account
) -> None:
    """It holds answers of before the newer run, whose edits and marks it would undo."""
    world.sync(sync_type="full")
    account.edit_many("persons", range(1, 20), job_title="alt")

    stopped = worker.start_sync(
        world, ACME, sync_type="sweep", at=Point("call", 5, "after", signal.SIGSTOP)
    )

    assert_the_late_one_writes_nothing(world, sandbox, account, stopped)


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_run_that_is_stopped_amid_a_load_cannot_go_on_with_it(
    number: int, world: World, sandbox: Sandbox, account: Account
) -> None:
    """It would truncate the newer run's staging tables, merge from them, and complete its load.

    It runs on another machine: on the same one the newer run has wiped its working directory.
    """
    home = world.settings.pipeline_home / "another machine"
    elsewhere = replace(world, settings=world.settings.model_copy(update={"pipeline_home": home}))
    world.sync(sync_type="full")
    account.edit_many("persons", range(1, 20), job_title="alt")

    stopped = worker.start_sync(
        elsewhere, ACME, at=Point("rename", number, "after", signal.SIGSTOP)
    )

    assert_the_late_one_writes_nothing(world, sandbox, account, stopped)


def test_marts_and_views_of_a_run_that_another_one_followed_are_not_built(
    world: World, account: Account
) -> None:
    """It read everything, and would build from raw as the newer run is changing it."""
    world.sync(sync_type="full")
    account.edit("persons", 7, name="neu")
    with world.run() as run:
        list(run.read())
        with world.warehouse.connect() as connection:
            connection.execute("update integration.generations set generation = generation + 1")
        before = everything_written(world)

        with pytest.raises(Superseded, match="another one has begun since"):
            run.build_marts()
        with pytest.raises(Superseded):
            run.publish_views()

        assert everything_written(world) == before
