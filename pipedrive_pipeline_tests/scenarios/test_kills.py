"""SIGKILL anywhere, then one plain incremental sync: nothing lost, stale, doubled or wedged."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import is_locked
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.edits import SALES, WORK, add_line, edits_of
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.points import Kind, Point
from pipedrive_pipeline_tests.scenarios.postgres_proxy import Moment, PostgresProxy, postgres_proxy
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at

PATIENCE_SECONDS = 30
SEED = 20_261_120
SAMPLED_PIECES = 5  # of about 750
SAMPLED_OTHERS = 4  # of 77 renames and 5 calls, before and after each
SAMPLED_FIRST_LOADS = 2  # of about 900
SHARES = 16  # of all points, so that several workers do them

EDITS_OF_DEALS = edits_of({"deals": SALES["deals"]})
EDITS_OF_NOTES = edits_of({"notes": WORK["notes"]})
Spot = tuple[int, Moment] | Point  # what is sent to Postgres is counted on the wire


@pytest.fixture
def account() -> CrmAccount:
    return seeded(30, 60)


@pytest.fixture
def world(world: World) -> World:
    """Its tenant reads deals with their lines and notes, too: two lists, children, offsets."""
    entities = (*databases.ENTITIES_READ, "deals", "deal_products", "notes")
    databases.read_only(world.warehouse, ACME, entities)
    return world


def edit_something(account: CrmAccount, number: int) -> None:
    """Edits that each touch another part of the tables, different for every number."""
    account.edit("organizations", number % 30 + 1, name=f"Firma {number}")
    account.edit("persons", number % 60 + 1, name=f"Person {number}", org_id=number % 30 + 1)
    organization = account.create("organizations", name=f"Neu {number}")
    account.create("persons", name=f"Neu {number}", org_id=organization["id"])
    account.users[0]["name"] = f"Besitzer {number}"
    EDITS_OF_DEALS["edit_one"](account, number)
    EDITS_OF_DEALS["archive_one"](account, number // 2)
    add_line(account, number)
    EDITS_OF_NOTES["create_one"](account, number)
    EDITS_OF_NOTES["edit_one"](account, number)


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


def kill_at_each(spots: list[Spot], world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    with postgres_proxy(world.warehouse.url) as proxy:
        for number, spot in enumerate(spots):
            edit_something(account, number)
            if isinstance(spot, Point):
                exit_code = worker.ended(worker.start_sync(world, ACME, at=spot))
            else:
                exit_code = sync_killed_at(world, proxy, *spot)
            assert exit_code in {-signal.SIGKILL, 0}, (
                spot
            )  # 0: the last ones are not always reached
            assert_one_clean_sync_mends_everything(world, sandbox)


def spots_of(world: World, counts_file: Path) -> list[Spot]:
    """Before and after each statement, request and rename of one incremental sync.

    Before a piece is after the one before it: the database is the same, and the client is dead.
    """
    with postgres_proxy(world.warehouse.url) as proxy:
        proxy.arm(10**9, "before", lambda: None)
        process = worker.start_sync(world, ACME, url=proxy.url, counts_file=counts_file)
        assert worker.ended(process) == 0
        pieces = proxy.count
    passed = json.loads(counts_file.read_text())
    moments: tuple[Moment, ...] = ("before", "after")
    kinds: tuple[Kind, ...] = ("rename", "call")
    return [
        (1, "before"),
        *((number, "after") for number in range(1, pieces + 1)),
        *(
            Point(kind, number, moment)
            for kind in kinds
            for number in range(1, passed[kind] + 1)
            for moment in moments
        ),
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sync_killed_at_sampled_points_is_mended_by_the_next(
    world: World, sandbox: Sandbox, account: CrmAccount, tmp_path: Path
) -> None:
    """A kept working directory wedged a tenant at 20 of 106 such points."""
    world.first_sync()
    edit_something(account, 0)
    spots = spots_of(world, tmp_path / "counts.json")
    chance = random.Random(SEED)  # noqa: S311 - repeatable

    assert {kind.kind for kind in spots if isinstance(kind, Point)} == {"rename", "call"}
    kill_at_each(
        [
            *chance.sample([spot for spot in spots if isinstance(spot, tuple)], SAMPLED_PIECES),
            *chance.sample([spot for spot in spots if isinstance(spot, Point)], SAMPLED_OTHERS),
        ],
        world,
        sandbox,
        account,
    )


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_sync_killed_at_every_point_is_mended_by_the_next(
    share: int, world: World, sandbox: Sandbox, account: CrmAccount, tmp_path: Path
) -> None:
    world.first_sync()
    edit_something(account, 0)
    spots = spots_of(world, tmp_path / "counts.json")

    kill_at_each(spots[share::SHARES], world, sandbox, account)


def first_loads_killed(
    chosen: Callable[[list[int]], list[int]], template: str, home: Path, sandbox: Sandbox
) -> None:
    with databases.copy_of(template) as url, postgres_proxy(url) as proxy:
        undisturbed = world_at(url, home)
        undisturbed.connect(ACME, sandbox)
        pieces = pieces_of_an_undisturbed_sync(undisturbed, proxy, "full")
    for number in chosen(list(range(1, pieces + 1))):
        with databases.copy_of(template) as url, postgres_proxy(url) as proxy:
            world = world_at(url, home)
            world.connect(ACME, sandbox)
            sync_killed_at(world, proxy, number, "after", "full")
            assert_one_clean_sync_mends_everything(world, sandbox)


@pytest.mark.slow
def test_a_first_load_killed_at_sampled_points_is_mended_by_the_next_sync(
    database_template: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable

    first_loads_killed(
        lambda numbers: chance.sample(numbers, SAMPLED_FIRST_LOADS),
        database_template,
        tmp_path,
        sandbox,
    )


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_first_load_killed_at_every_point_is_mended_by_the_next_sync(
    share: int, database_template: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    first_loads_killed(lambda numbers: numbers[share::SHARES], database_template, tmp_path, sandbox)


@pytest.mark.slow
def test_a_killed_run_is_settled_as_failed_with_its_reason(world: World, sandbox: Sandbox) -> None:
    """A row that stays `running` for ever would hide that the tenant is no longer synced."""
    sync_killed_before_answer(5, world, sandbox)
    world.wait_for_the_dead()
    assert [row["status"] for row in world.history()] == ["running"]

    world.sync()

    killed, clean = world.history()
    assert (killed["status"], clean["status"]) == ("failed", "success")
    assert killed["errors"][0]["code"] == "killed"
    assert killed["completed_at"] is not None
