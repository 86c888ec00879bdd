"""Edits while a walk is under way, seconds that are shared, and clocks that lie."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline_tests.scenarios.oracle import (
    assert_all_equals_source,
    assert_raw_equals_source,
)
from pipedrive_pipeline_tests.scenarios.world import ACME, World

pytestmark = pytest.mark.slow
PERSONS = "/api/v2/persons"


@pytest.fixture
def account() -> CrmAccount:
    return seeded(20, 1_200)


@pytest.mark.parametrize("sync_type", ["full", "incremental"])
def test_rows_edited_between_pages_are_right_after_the_next_run(
    sync_type: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Wherever an edited row moves in the order, it is read again or was not yet passed."""
    world.first_sync()
    account.edit_many("persons", range(1, 1_101), job_title="neu")
    sandbox.clock.advance(2)

    def edit_on_both_sides() -> None:
        account.edit("persons", 3, name="schon vorbei")
        account.edit("persons", 1_050, name="kommt noch")
        account.create("persons", name="ganz neu", org_id=4)
        sandbox.clock.advance(2)

    sandbox.faults.before(2, edit_on_both_sides, path=PERSONS)
    sandbox.faults.before(3, edit_on_both_sides, path=PERSONS)
    world.sync(sync_type=sync_type)  # type: ignore[arg-type]

    world.sync()

    assert_all_equals_source(world, sandbox)


def test_a_row_read_twice_in_one_walk_is_stored_once_in_its_newest_version(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    account.edit_many("persons", range(1, 701), job_title="erst")
    sandbox.clock.advance(1)

    def edit_again() -> None:
        account.edit_many("persons", range(1, 200), job_title="dann")

    sandbox.faults.before(2, edit_again, path=PERSONS)

    synced = world.sync()

    # The walk begins with the newest record of the one before.
    assert synced.reads["persons"].fetched == 700 + 199 + 1
    assert_raw_equals_source(world, sandbox)


def test_five_thousand_rows_of_one_second_arrive_and_are_not_read_for_ever(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A bulk edit gives them all one update_time; a watermark by data alone loops or skips."""
    world.first_sync()
    for number in range(3_800):
        account.create("persons", name=f"Import {number}")
    account.edit_many("persons", range(1, 5_001), owner_id=account.users[2]["id"])

    world.sync()

    assert_raw_equals_source(world, sandbox)
    sandbox.clock.advance(600)
    account.edit("persons", 9, name="danach")
    world.sync(now=sandbox.clock.now)
    unchanged = world.sync(now=sandbox.clock.now)
    assert unchanged.reads["persons"].fetched == 1  # the newest record, with the same call


def test_a_row_changed_again_within_the_second_in_which_it_was_read_is_not_lost(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """The loader's own deduplication at the boundary lost it for ever."""
    sandbox.clock.freeze()
    world.sync(sync_type="full")
    account.edit("persons", 9, name="erst")
    world.sync()
    account.edit("persons", 9, name="dann")

    world.sync()

    assert world.raw(ACME, "persons")[8]["name"] == "dann"


def test_a_row_that_becomes_visible_late_arrives_within_the_overlap(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    sandbox.clock.advance(-600)  # no stamp of this test is later than our own clock
    world.sync(sync_type="full")
    late = account.create("persons", name="spät", visible_after_seconds=120)
    sandbox.clock.advance(60)
    account.edit("persons", 9, name="neu")  # a later stamp than that of the row to come
    world.sync()
    sandbox.clock.advance(90)

    world.sync()

    assert world.raw(ACME, "persons")[-1]["id"] == late["id"]


def test_a_later_answer_replaces_a_row_under_whatever_stamp_it_comes(
    world: World, account: CrmAccount
) -> None:
    """A source that was restored from a backup shows yesterday's row, and that is what it holds."""
    account.edit("persons", 9, name="neu")
    world.sync(sync_type="full")
    account.plant("persons", 9, name="alt", update_time="2020-01-01T00:00:00Z")
    world.sync(sync_type="full")
    restored = world.raw(ACME, "persons")[8]["name"]
    account.edit("persons", 9, name="wieder neu", update_time=account.clock.stamp())

    world.sync(sync_type="full")

    assert restored == "alt"
    assert world.raw(ACME, "persons")[8]["name"] == "wieder neu"


def test_a_month_of_downtime_is_caught_up_in_one_run(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    for day in range(40):
        sandbox.clock.advance(86_400)
        account.edit("persons", day + 1, name=f"Tag {day}")

    world.sync()

    assert_all_equals_source(world, sandbox)


def test_a_server_clock_set_back_moves_no_watermark_back_and_loses_nothing(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    before = world.history()[-1]["watermarks"]["persons"]["after"]
    sandbox.clock.advance(-120)
    account.edit("persons", 9, name="gestern von morgen")

    world.sync()

    assert world.history()[-1]["watermarks"]["persons"]["after"] >= before
    assert world.raw(ACME, "persons")[8]["name"] == "gestern von morgen"
