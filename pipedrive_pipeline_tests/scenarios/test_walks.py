"""Reads that were broken off, lists with odd entries, clocks that lie: raw is right after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipedrive_pipeline.connectors.refusals import CursorRefused
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, marked
from pipedrive_pipeline_tests.scenarios.world import ACME, World

PAGE_ROWS = 20
PERSON_ROWS = 100
PERSONS_PATH = "/api/v2/persons"
CURSOR_OF_PERSONS = "/api/v2/persons?sort_by=update_time&sort_direction=asc&limit=500&cursor="


class WalkInterrupted(Exception):
    """The run ends here."""


def stop_at(pages: int) -> Any:
    """Ends a run once so many pages of persons were read."""

    def stop(read: EntityRead) -> None:
        if read.entity.name == "persons" and read.pages >= pages:
            raise WalkInterrupted

    return stop


def swept_at(world: World, entity: str) -> datetime | None:
    """Up to when the history says that deletions are marked."""
    notes = [row["completeness"].get(entity, {}).get("swept_at") for row in world.history()]
    return max((datetime.fromisoformat(note) for note in notes if note), default=None)


@pytest.mark.slow
def test_a_read_that_was_broken_off_goes_on_by_the_source_s_cursor_and_says_since_when_it_looks(
    world: World,
) -> None:
    """A record with a stamp newer than its place made the next run skip all between.

    And a record that went after its page was read is not looked for: the stamp is the first run's.
    """
    account = seeded(5, PERSON_ROWS)
    with serve(account, page_rows=PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        sandbox.faults.add("out_of_place", path=PERSONS_PATH, after=1)
        with pytest.raises(WalkInterrupted):
            world.sync(sync_type="full", chunk_rows=PAGE_ROWS, on_page=stop_at(3))
        between = datetime.now(UTC)
        read_before = world.raw(ACME, "persons")[0]["id"]
        account.delete("persons", read_before)

        resumed = world.sync(sync_type="full").reads["persons"]

        assert resumed.resumed_rows > 0
        assert len(world.raw(ACME, "persons")) == PERSON_ROWS
        assert marked(world, "persons") == {}
        persons_at = swept_at(world, "persons")
        assert persons_at is not None
        assert persons_at < between
        world.sync(sync_type="sweep")
        assert marked(world, "persons") == {str(read_before): "deleted"}
        swept = swept_at(world, "persons")
        assert swept is not None
        assert swept > between


def end(_read: EntityRead) -> None:
    """Ends a run at its first page."""
    raise WalkInterrupted


@pytest.mark.slow
@pytest.mark.parametrize("are_keys_lost", [True, False])
def test_a_read_of_everything_goes_on_only_if_the_keys_that_it_saw_are_there(
    world: World, *, are_keys_lost: bool
) -> None:
    """Without them all that it had read seemed to be left out of the list.

    A sweep that dies before its first load has forgotten none.
    """
    account = seeded(5, PERSON_ROWS)
    with serve(account, page_rows=PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        with pytest.raises(WalkInterrupted):
            world.sync(chunk_rows=PAGE_ROWS, on_page=stop_at(3))
        assert world.store().plans["persons"].rows >= PAGE_ROWS
        if are_keys_lost:
            with world.warehouse.transaction() as connection:
                connection.execute("drop table staging_pipedrive_acme.seen_keys")
        else:
            with pytest.raises(WalkInterrupted):
                world.sync(sync_type="sweep", on_page=end)

        read = world.sync().reads["persons"]

        assert (read.resumed_rows == 0) is are_keys_lost
        assert read.resumed_rows + read.fetched >= PERSON_ROWS
        assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_after_a_cursor_was_refused_for_good_the_next_run_reads_the_rest(world: World) -> None:
    """The error said that nothing was committed; the rows and where to go on were."""
    account = seeded(5, PERSON_ROWS)
    with serve(account, page_rows=PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        sandbox.faults.add("expired_cursor", path=CURSOR_OF_PERSONS, after=1, times=3)

        with pytest.raises(CursorRefused, match="is kept; the next run reads the rest"):
            world.sync()

        assert 0 < len(world.raw(ACME, "persons")) < PERSON_ROWS
        assert world.store().plans["persons"].rows >= PAGE_ROWS
        read = world.sync().reads["persons"]
        assert read.resumed_rows > 0
        assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_a_null_in_a_list_is_listed_and_its_neighbours_are_read(
    world: World, sandbox: Sandbox
) -> None:
    """One in a thousand persons once kept the other 999 out."""
    for path in ("/api/v2/organizations", PERSONS_PATH, "personFields", "/v1/users"):
        sandbox.faults.add("null_record", path=path)

    reads = world.sync(sync_type="full").reads

    assert_all_equals_source(world, sandbox)
    names = ["organizations", "person_fields", "persons", "users"]
    assert sorted(name for name, read in reads.items() if read.rejected == 1) == names
    listed = world.rows("integration", "rejected_values", "entity", tenant=ACME)
    assert [(row["entity"], row["record_id"], row["value"]) for row in listed] == [
        (name, None, "null") for name in names
    ]
    assert {row["reason"] for row in listed} == {"entry 2 of its page is no record"}


@pytest.mark.slow
@pytest.mark.parametrize("state", ["2031-01-01T00:00:00Z", "soon"])
def test_a_stored_watermark_that_cannot_be_true_is_read_over(
    state: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A former release believed a record stamped 2031, and no later edit came in for years."""
    world.first_sync()
    world.store().move({"persons": {"watermark": state}}, {})
    account.edit_many("persons", range(1, 4), job_title="neu")
    account.delete("persons", 9)

    reads = world.sync().reads

    assert reads["persons"].missing == 0  # everything was read, and compared
    assert reads["organizations"].missing is None
    assert_all_equals_source(world, sandbox)
    now = datetime.now(UTC) + timedelta(minutes=5)
    watermark = datetime.fromisoformat(str(world.store().cursors["persons"]["watermark"]))
    assert watermark < now


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["date_ahead", "date_far_ahead", "no_date"])
def test_an_answer_s_date_hides_no_later_edit(
    fault: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    account.edit_many("persons", range(1, 4), job_title="neu")
    sandbox.faults.add(fault, times=40)
    world.sync()
    sandbox.faults.clear()
    account.edit_many("persons", range(4, 7), job_title="neuer")
    account.edit_many("organizations", range(4, 7), website="neuer")

    world.sync()

    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["no_cursor_key", "no_additional_data", "early_null_cursor"])
def test_the_last_run_s_cut_list_hides_nothing_from_the_next_one(
    fault: str, world: World, account: CrmAccount
) -> None:
    """What a page of changes withheld comes with the next changes, at no extra call."""
    with serve(account, page_rows=PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        for step in range(4):
            sandbox.clock.advance(1)
            account.edit_many("persons", range(10 * step + 1, 10 * step + 11), job_title="neu")
        sandbox.faults.add(fault, path=PERSONS_PATH)
        world.sync(now=sandbox.clock.now)
        sandbox.clock.advance(3_600)

        world.sync(now=sandbox.clock.now)

        assert_all_equals_source(world, sandbox)
