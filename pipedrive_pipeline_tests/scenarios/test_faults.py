"""Every fault of the source, in the middle of a full and of an incremental read.

After each the watermark is unchanged, no row is lost, and one clean run mends the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from pipedrive_pipeline.errors import (
    BudgetSpent,
    GuardTripped,
    IncompleteRead,
    PipelineError,
    ReauthNeeded,
    ScopeMissing,
    SourceBroke,
    SourceUnavailable,
)
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.oracle import (
    assert_all_equals_source,
    assert_raw_equals_source,
    marked,
)
from pipedrive_pipeline_tests.scenarios.world import ACME, World

pytestmark = pytest.mark.slow
PERSONS = "/api/v2/persons"
EDITED = range(1, 561)  # more than a page, so that an incremental walk has a middle

ABSORBED = (
    "burst_429_retry_after",
    "bad_cursor",
    "expired_cursor",
    "http_500",
    "html_200",
    "success_false",
    "empty_page",
    "truncated_json",
    "reset_mid_body",
    "lost_answer",
)
ABSORBED_MORE = ("burst_429", "http_502", "http_503", "html_503", "empty_200")
ENDS: dict[str, type[PipelineError]] = {
    "daily_429": BudgetSpent,
    "cloudflare_403": PipelineError,
    "scope_403": ScopeMissing,
    "payment_402": PipelineError,
    "gone_410": PipelineError,
    "moved_301": PipelineError,
    "repeated_cursor": SourceBroke,
    "empty_page": SourceBroke,
    "huge_page": PipelineError,
}


@pytest.fixture
def account() -> CrmAccount:
    return seeded(20, 700)


def watermarks(world: World) -> dict[str, Any]:
    """What the newest successful run committed."""
    done = [row for row in world.history() if row["status"] == "success"]
    return {name: marks["after"] for name, marks in done[-1]["watermarks"].items()}


def edit_more_than_a_page(account: CrmAccount) -> None:
    account.edit_many("persons", EDITED, job_title="neu")
    account.edit("organizations", 3, name="geändert")


def absorb(kind: str, world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    sandbox.faults.add(kind, after=1, path=PERSONS)
    world.sync(sync_type="full")
    assert_raw_equals_source(world, sandbox)
    edit_more_than_a_page(account)
    sandbox.faults.add(kind, after=1, path=PERSONS)

    world.sync()

    assert sandbox.faults.waiting() == []
    assert [row["status"] for row in world.history()] == ["success", "success"]
    assert_all_equals_source(world, sandbox)


@pytest.mark.parametrize("kind", ABSORBED)
def test_a_passing_fault_between_two_pages_is_absorbed(
    kind: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    absorb(kind, world, sandbox, account)


@pytest.mark.long
@pytest.mark.parametrize("kind", ABSORBED_MORE)
def test_a_passing_fault_of_a_rarer_kind_is_absorbed(
    kind: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    absorb(kind, world, sandbox, account)


@pytest.mark.parametrize("kind", ENDS)
def test_a_lasting_fault_ends_the_walk_by_name_and_moves_no_watermark(
    kind: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A fault that passed for the end of a list would hide every row behind it."""
    world.first_sync()
    before = watermarks(world)
    rows_before = {row["id"] for row in world.raw(ACME, "persons")}
    edit_more_than_a_page(account)
    sandbox.faults.add(kind, after=1, times=99, path=PERSONS)

    with pytest.raises(ENDS[kind]):
        world.sync()

    failed = world.history()[-1]
    assert failed["status"] == ("paused" if kind == "daily_429" else "partial")
    assert failed["watermarks"]["persons"] == {"before": before["persons"], "after": None}
    assert {row["id"] for row in world.raw(ACME, "persons")} == rows_before
    sandbox.faults.clear()
    resumes_at = failed["resume_at"] or datetime.now(UTC)
    with time_machine.travel(resumes_at + timedelta(minutes=1), tick=True):
        world.sync()
    assert world.history()[-1]["watermarks"]["persons"]["before"] == before["persons"]
    assert_all_equals_source(world, sandbox)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["http_503", "truncated_json", "lost_answer", "byte_a_second"])
def test_a_source_that_stays_down_is_unavailable_and_the_next_run_goes_on(
    kind: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    edit_more_than_a_page(account)
    sandbox.faults.add(kind, after=1, times=99, path=PERSONS)

    with pytest.raises((SourceUnavailable, SourceBroke)):
        world.sync()

    sandbox.faults.clear()
    world.sync()
    assert_all_equals_source(world, sandbox)


@pytest.mark.parametrize(
    ("lost", "intact"), [("organizations", "persons"), ("persons", "organizations")]
)
def test_a_lost_scope_leaves_the_other_entity_complete_up_to_its_mart(
    lost: str, intact: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """One right that is taken away for good must not stop what is still allowed."""
    world.first_sync()
    sandbox.faults.add("scope_403", times=99, path=f"/api/v2/{lost}")
    for number in (1, 2):
        account.edit(intact, 9, name=f"geht durch {number}")

        with pytest.raises(ScopeMissing):
            world.sync()

        row = world.history()[-1]
        assert row["status"] == "partial"
        assert [error["code"] for error in row["errors"]] == ["scope_missing"]
        assert row["watermarks"][lost]["after"] is None
        assert row["watermarks"][intact]["after"] is not None
        assert row[f"{intact}_updated"] == 1
        mart = {"organizations": "customers", "persons": "contacts"}[intact]
        shown = next(row for row in world.rows("crm", mart) if row["pipedrive_id"] == 9)
        assert shown["name"] == f"geht durch {number}"


def test_definitions_that_may_not_be_read_leave_the_run_partial(
    world: World, sandbox: Sandbox
) -> None:
    """Records are complete and committed; only what explains them is old."""
    sandbox.faults.add("scope_403", times=9, path="/api/v2/personFields")

    with pytest.raises(ScopeMissing):
        world.sync(sync_type="full")

    assert world.history()[-1]["status"] == "partial"


def test_a_wrong_token_asks_for_a_new_one_and_touches_nothing(
    world: World, sandbox: Sandbox
) -> None:
    world.first_sync()
    before = [world.raw(ACME, "persons"), world.rows("crm", "contacts")]
    sandbox.revoke()

    with pytest.raises(ReauthNeeded):
        world.sync()

    row = world.history()[-1]
    assert (row["status"], row["errors"][0]["code"]) == ("failed", "needs_reauth")
    assert [world.raw(ACME, "persons"), world.rows("crm", "contacts")] == before
    with world.warehouse.connect() as connection:
        state = connection.execute("select state, last_sync_status from integration.connections")
        assert state.fetchone() == ("needs_reauth", "failed")


def test_a_spent_day_pauses_the_run_until_it_returns(world: World, sandbox: Sandbox) -> None:
    sandbox.faults.add("daily_429", after=1, times=9, path=PERSONS)

    with pytest.raises(BudgetSpent) as caught:
        world.sync(sync_type="full")

    row = world.history()[-1]
    assert row["status"] == "paused"
    assert row["resume_at"] == caught.value.resets_at
    assert row["resume_at"] > row["started_at"]
    sandbox.faults.clear()
    with time_machine.travel(caught.value.resets_at + timedelta(minutes=1), tick=True):
        world.sync()
    assert_all_equals_source(world, sandbox)


def test_a_list_of_users_that_is_suddenly_empty_marks_nobody_as_deleted(
    world: World, sandbox: Sandbox
) -> None:
    world.first_sync()
    sandbox.faults.add("empty_account", path="/v1/users")

    with pytest.raises(GuardTripped, match="5 of 5 users"):
        world.sync()

    assert world.rows(Scope(ACME, "pipedrive").raw_schema, "deletions", "id") == []
    world.sync()
    assert_all_equals_source(world, sandbox)


def test_a_user_whose_id_cannot_be_read_is_not_taken_for_gone(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """An entry without a usable key may be any of those that are not in the list."""
    world.first_sync()
    user = account.users[3]
    user_id, user["id"] = user["id"], None

    read = world.sync().reads["users"]

    assert (read.rejected, read.deleted, read.extra) == (1, 0, 1)
    assert marked(world, "users") == {}
    user["id"] = user_id
    world.sync()
    account.users.remove(user)
    world.sync()
    assert marked(world, "users") == {str(user_id): "deleted"}
    assert_raw_equals_source(world, sandbox)


@pytest.mark.parametrize("path", [PERSONS, "/api/v2/organizations"])
def test_a_full_read_that_finds_nothing_of_a_known_account_moves_no_watermark(
    path: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """What was edited since the former watermark would else never be read again."""
    world.first_sync()
    before = watermarks(world)
    sandbox.clock.advance(3_600)
    account.edit("persons", 9, name="darf nicht fehlen")
    account.edit("organizations", 9, name="darf nicht fehlen")
    sandbox.clock.advance(3_600)
    sandbox.faults.add("empty_account", path=path, times=2)  # also to the look for the newest

    with pytest.raises(IncompleteRead, match="left out"):
        world.sync(sync_type="full")

    entity = path.rsplit("/", 1)[-1]
    assert world.history()[-1]["watermarks"][entity]["after"] is None
    world.sync()
    assert world.history()[-1]["watermarks"][entity]["before"] == before[entity]
    assert_all_equals_source(world, sandbox)


def test_a_first_read_of_an_empty_account_is_a_success_and_hides_nothing_from_the_next_one(
    world: World, sandbox: Sandbox
) -> None:
    """An account is empty on its first day; that is no fault. Nothing shows whether it is true.

    Behind the watermark of such a read every record stayed out until it was edited or swept.
    """
    for path in (PERSONS, "/api/v2/organizations"):
        sandbox.faults.add("empty_account", path=path, times=2)  # also to the look for the newest

    synced = world.sync(sync_type="full")

    assert synced.reads["persons"].is_complete
    assert world.history()[-1]["status"] == "success"
    world.sync()
    assert_all_equals_source(world, sandbox)
    last = world.sync()
    assert last.reads["persons"].missing is None  # only changes were read
    assert last.reads["persons"].cursor_after


def test_a_first_read_of_two_lists_that_were_both_empty_leaves_no_plan(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """It called the first list read; every later run went on behind that list and failed."""
    databases.read_only(world.warehouse, ACME, {"users", "deals"})
    account.set_rights(account.admin_id, sees="none", hidden=[])
    world.sync(sync_type="full")
    account.set_rights(account.admin_id, sees="all", hidden=[])
    sandbox.clock.advance(60)

    synced = world.sync()

    assert synced.reads["deals"].is_complete
    assert synced.reads["deals"].created


def test_an_error_that_a_second_attempt_overcame_leaves_a_success(
    world: World, sandbox: Sandbox
) -> None:
    """Dagster repeats an op within its run; the history tells how the run ended."""
    before = [sandbox.requests.count, sandbox.requests.tokens_spent]
    sandbox.faults.add("scope_403", path=PERSONS)

    with world.run(sync_type="full") as run:
        with pytest.raises(ScopeMissing), run.recorded():
            list(run.read())
        list(run.read())
        run.build_marts()

    row = world.history()[-1]
    assert (row["status"], row["errors"]) == ("success", [])
    after = [sandbox.requests.count, sandbox.requests.tokens_spent]
    assert [row["api_calls"], row["tokens_spent"]] == [
        now - then for now, then in zip(after, before, strict=True)
    ]


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_of_ours_that_is_wrong_loses_nothing(
    minutes: int, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Watermarks come from the server's clock, never from ours."""
    sandbox.clock.freeze()
    with time_machine.travel(sandbox.clock.now().timestamp() + minutes * 60, tick=True):
        world.sync(sync_type="full")
        sandbox.clock.advance(1)
        account.edit("persons", 5, name="gleich danach")
        world.sync()
        sandbox.clock.advance(1)
        account.edit("persons", 6, name="und noch einer")
    world.sync()

    assert_all_equals_source(world, sandbox)
