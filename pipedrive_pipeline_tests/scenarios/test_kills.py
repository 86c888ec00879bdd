"""SIGKILL anywhere, then one plain incremental sync: nothing lost, stale, doubled or wedged."""

from __future__ import annotations

import random
import signal
from concurrent.futures import Future
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import Account, Sandbox, seeded
from pipedrive_pipeline.sync.history import SyncType
from pipedrive_pipeline.sync.lock import is_locked
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.postgres_proxy import Moment, PostgresProxy, postgres_proxy
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at

PATIENCE_SECONDS = 30
SEED = 20_261_120
SAMPLED_POINTS = 10
SAMPLED_FIRST_LOADS = 3
RENAMES = (1, 6, 12)  # of about 20 in an incremental sync


@pytest.fixture
def account() -> Account:
    return seeded(30, 60)


def edit_something(account: Account, number: int) -> None:
    """Edits that each touch another part of the tables, different for every number."""
    account.edit("organizations", number % 30 + 1, name=f"Firma {number}")
    account.edit("persons", number % 60 + 1, name=f"Person {number}", org_id=number % 30 + 1)
    organization = account.create("organizations", name=f"Neu {number}")
    account.create("persons", name=f"Neu {number}", org_id=organization["id"])
    account.users[0]["name"] = f"Besitzer {number}"


def pieces_of_an_undisturbed_sync(
    world: World, proxy: PostgresProxy, sync_type: SyncType = "incremental"
) -> int:
    proxy.arm(10**9, "before", lambda: None)
    assert worker.ended(worker.start_sync(world, ACME, sync_type=sync_type, url=proxy.url)) == 0
    return proxy.count


def sync_killed_at(
    world: World,
    proxy: PostgresProxy,
    number: int,
    moment: Moment,
    sync_type: SyncType = "incremental",
) -> int:
    """The exit code of a sync that dies around one piece of what it sends to Postgres."""
    victim: Future[ForkServerProcess] = Future()
    proxy.arm(number, moment, lambda: worker.kill(victim.result(PATIENCE_SECONDS)))
    victim.set_result(worker.start_sync(world, ACME, sync_type=sync_type, url=proxy.url))
    return worker.ended(victim.result())


def sync_killed_before_answer(number: int, world: World, sandbox: Sandbox) -> int:
    """The exit code of a sync that dies while the source prepares one of its answers."""
    victim: Future[ForkServerProcess] = Future()
    sandbox.faults.before(number, lambda: worker.kill(victim.result(PATIENCE_SECONDS)))
    victim.set_result(worker.start_sync(world, ACME))
    return worker.ended(victim.result())


def assert_one_clean_sync_mends_everything(world: World, sandbox: Sandbox) -> None:
    world.wait_for_the_dead()

    world.sync()

    assert_all_equals_source(world, sandbox)
    statuses = {row["status"] for row in world.history()}
    assert statuses <= {"success", "failed"}
    assert world.history()[-1]["status"] == "success"
    assert not is_locked(world.warehouse, ACME)


def kill_at_each(
    points: list[tuple[int, Moment]], world: World, sandbox: Sandbox, account: Account
) -> None:
    with postgres_proxy(world.warehouse.url) as proxy:
        for number, moment in points:
            edit_something(account, number)
            sync_killed_at(world, proxy, number, moment)
            assert_one_clean_sync_mends_everything(world, sandbox)


def points_of(world: World) -> list[tuple[int, Moment]]:
    """Before and after every piece of one incremental sync."""
    with postgres_proxy(world.warehouse.url) as proxy:
        count = pieces_of_an_undisturbed_sync(world, proxy)
    moments: tuple[Moment, ...] = ("before", "after")
    return [(number, moment) for number in range(1, count + 1) for moment in moments]


@pytest.mark.slow
def test_a_sync_killed_at_sampled_points_is_mended_by_the_next(
    world: World, sandbox: Sandbox, account: Account
) -> None:
    """A kept working directory wedged a tenant at 20 of 106 such points."""
    world.sync(sync_type="full")
    edit_something(account, 0)
    points = points_of(world)

    sample = random.Random(SEED).sample(points, SAMPLED_POINTS)  # noqa: S311 - repeatable

    kill_at_each(sample, world, sandbox, account)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_sync_killed_at_every_point_is_mended_by_the_next(
    world: World, sandbox: Sandbox, account: Account
) -> None:
    world.sync(sync_type="full")
    edit_something(account, 0)

    kill_at_each(points_of(world), world, sandbox, account)


def first_loads_killed(count: int | None, template: str, home: Path, sandbox: Sandbox) -> None:
    with databases.copy_of(template) as url, postgres_proxy(url) as proxy:
        undisturbed = world_at(url, home)
        undisturbed.connect(ACME, sandbox)
        pieces = pieces_of_an_undisturbed_sync(undisturbed, proxy, "full")
    numbers = list(range(1, pieces + 1))
    if count is not None:
        numbers = random.Random(SEED).sample(numbers, count)  # noqa: S311 - repeatable
    for number in numbers:
        with databases.copy_of(template) as url, postgres_proxy(url) as proxy:
            world = world_at(url, home)
            world.connect(ACME, sandbox)
            sync_killed_at(world, proxy, number, "after", "full")
            assert_one_clean_sync_mends_everything(world, sandbox)


@pytest.mark.slow
def test_a_first_load_killed_at_sampled_points_is_mended_by_the_next_sync(
    database_template: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    first_loads_killed(SAMPLED_FIRST_LOADS, database_template, tmp_path, sandbox)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_first_load_killed_at_every_point_is_mended_by_the_next_sync(
    database_template: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    first_loads_killed(None, database_template, tmp_path, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("number", RENAMES)
def test_a_sync_killed_between_two_files_of_dlt_is_mended_by_the_next(
    number: int, world: World, sandbox: Sandbox, account: Account
) -> None:
    world.sync(sync_type="full")
    edit_something(account, number)

    exit_code = worker.ended(worker.start_sync(world, ACME, at=Point("rename", number)))

    assert exit_code == -signal.SIGKILL
    assert_one_clean_sync_mends_everything(world, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_sync_killed_while_it_waits_for_an_answer_is_mended_by_the_next(
    number: int, world: World, sandbox: Sandbox, account: Account
) -> None:
    world.sync(sync_type="full")
    edit_something(account, number)

    assert sync_killed_before_answer(number, world, sandbox) == -signal.SIGKILL
    assert_one_clean_sync_mends_everything(world, sandbox)


@pytest.mark.slow
def test_a_killed_run_is_settled_as_failed_with_its_reason(world: World, sandbox: Sandbox) -> None:
    """A row that stays `running` for ever would hide that the tenant stands still."""
    sync_killed_before_answer(5, world, sandbox)
    world.wait_for_the_dead()
    assert [row["status"] for row in world.history()] == ["running"]

    world.sync()

    killed, clean = world.history()
    assert (killed["status"], clean["status"]) == ("failed", "success")
    assert killed["errors"][0]["code"] == "killed"
    assert killed["completed_at"] is not None
