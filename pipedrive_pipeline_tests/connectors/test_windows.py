"""A long list is read in windows by several workers, and nothing falls between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.connectors.contract import CursorState, Page, Resume, Window
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE, opener
from pipedrive_pipeline.connectors.pipedrive.windows import WORKERS_MAX, chain
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import ReceivedRequest, Reply, scripted
from pipedrive_pipeline_tests.connectors.world import PipedriveScript, Row, listed, organization

ENTITY = PIPEDRIVE.by_name["organizations"]
ANSWERED_AFTER_SECONDS = 0.002  # so that calls of several workers meet
PAGES = 30
ROWS = 2 * PAGES


@dataclass
class Reading:
    """The rows that a walk brought, and where it may go on."""

    rows: list[Row] = field(default_factory=list)
    resume: Resume | None = None
    commit: CursorState | None = None
    requests: list[ReceivedRequest] = field(default_factory=list)
    at_once_max: int = 0

    @property
    def ids(self) -> list[int]:
        """In the order of arrival."""
        return [row["id"] for row in self.rows]

    def note(self, page: Page) -> None:
        """Takes in a page."""
        self.rows += [{key: _value(raw) for key, raw in each.items()} for each in page.records]
        self.resume = page.resume or self.resume
        self.commit = page.commit or self.commit


def _value(raw: Any) -> Any:
    return json.loads(bytes(raw))


def read(
    world: Callable[[ReceivedRequest], Reply],
    state: CursorState | None = None,
    resume: Resume | None = None,
    *,
    pages: int | None = None,
    before: Callable[[ReceivedRequest], Awaitable[object]] | None = None,
) -> Reading:
    """One walk, or so many pages of it; `before` may hold a request back."""
    reading, at_once = Reading(), 0

    async def script(request: ReceivedRequest) -> Reply:
        nonlocal at_once
        at_once += 1
        reading.at_once_max = max(reading.at_once_max, at_once)
        await asyncio.sleep(ANSWERED_AFTER_SECONDS)
        if before is not None:
            await before(request)
        at_once -= 1
        return world(request)

    async def act() -> None:
        async with (
            scripted(script) as server,
            opener(clock=FakeClock().clock)(FakeVault(server.url).access) as source,
            aclosing(source.pages(ENTITY, state, resume)) as walk,
        ):
            count = 0
            while count != pages and (page := await anext(walk, None)):
                reading.note(page)
                count += 1
            reading.requests = server.requests

    run(act())
    return reading


def stamped(seconds: list[int]) -> list[Row]:
    """Rows that were last edited at these seconds."""
    return [organization(number, second) for number, second in enumerate(seconds, 1)]


def evenly() -> list[Row]:
    return stamped([7 * number for number in range(ROWS)])


def test_a_long_list_is_read_by_several_workers_and_each_record_once() -> None:
    """A second worker pays off with some pages; each split may cost one call."""
    world = PipedriveScript(rows={"organizations": evenly()})

    reading = read(world)

    assert sorted(reading.ids) == list(range(1, ROWS + 1))
    assert 2 <= reading.at_once_max <= WORKERS_MAX + 1, "and one that looks for the end"
    assert len(reading.requests) <= PAGES * 1.25
    assert reading.commit is not None


def test_a_short_list_is_read_by_one_worker() -> None:
    world = PipedriveScript(rows={"organizations": evenly()[:6]})

    reading = read(world)

    assert reading.at_once_max == 1
    assert len(reading.requests) == 3 + 1, "with the look for the newest record"


@pytest.mark.parametrize(
    "seconds",
    [
        [5] * ROWS,
        [1] + [900] * (ROWS - 1),
        [*range(ROWS - 2), 3_000, 3_500],
        [*range(4), *range(3_000, 3_000 + ROWS - 4)],
    ],
    ids=["one second", "one second at the end", "an import, then little", "little, then an import"],
)
def test_bulk_imports_cost_few_calls_in_vain(seconds: list[int]) -> None:
    world = PipedriveScript(rows={"organizations": stamped(seconds)})

    reading = read(world)

    assert sorted(reading.ids) == list(range(1, ROWS + 1))
    assert len(reading.requests) <= PAGES * 1.3


def test_records_without_a_stamp_at_the_end_are_read_by_one_worker() -> None:
    """No window of time holds them."""
    rows = [*evenly(), {"id": 900, "update_time": None}]
    world = PipedriveScript(rows={"organizations": rows}, unstamped="~")

    reading = read(world)

    assert sorted(reading.ids) == [*range(1, ROWS + 1), 900]
    assert reading.at_once_max <= 2, "the worker, and the look at the end"


def test_a_window_whose_list_ends_too_early_is_read_again() -> None:
    """It looks like the end of the list; but it must meet the window behind it."""
    world, is_split, cut = PipedriveScript(rows={"organizations": evenly()}), False, 0

    def script(request: ReceivedRequest) -> Reply:
        nonlocal is_split, cut
        is_split |= "updated_since" in request.query
        is_first = "updated_since" not in request.query and "cursor" in request.query
        reply = world(request)
        if is_split and is_first and not cut:
            cut += 1
            return listed(_value(reply.body)["data"][:1], None)
        return reply

    reading = read(script)

    assert cut == 1
    assert {*reading.ids} == {*range(1, ROWS + 1)}
    assert reading.commit is not None


def test_what_moves_to_the_end_while_windows_are_read_is_not_missed() -> None:
    """The end of the list is read last, whichever worker comes there first."""
    world = PipedriveScript(rows={"organizations": evenly()})
    moved: list[int] = []

    def edit(page: int) -> None:
        unread = {row["id"]: row for row in world.rows["organizations"]}.keys() - {*moved}
        if page % 3 == 0 and unread and page < PAGES:
            number = sorted(unread)[PAGES // 2]
            row = next(each for each in world.rows["organizations"] if each["id"] == number)
            row["update_time"] = f"2026-02-03T08:00:{len(moved):02}Z"
            moved.append(number)

    world.before_page = edit
    reading = read(world)

    assert len(moved) > 5
    assert {*reading.ids} == {*range(1, ROWS + 1)}


def test_what_moves_to_the_end_after_its_worker_was_there_is_not_missed() -> None:
    """The first window waits until the end was read; then a record moves from it to the end."""
    world = PipedriveScript(rows={"organizations": evenly()})
    end_was_read, is_split, answered = asyncio.Event(), False, set[int]()

    async def hold_first_window(request: ReceivedRequest) -> None:
        if is_split and "updated_since" not in request.query and "cursor" in request.query:
            await end_was_read.wait()

    def script(request: ReceivedRequest) -> Reply:
        nonlocal is_split
        is_split |= "updated_since" in request.query
        reply = world(request)
        page = _value(reply.body)
        answered.update(row["id"] for row in page["data"])
        is_end = is_split and page["additional_data"]["next_cursor"] is None
        if is_end and not end_was_read.is_set():
            unread = [row for row in world.rows["organizations"] if row["id"] not in answered]
            unread[0]["update_time"] = "2026-02-03T08:00:00Z"
            end_was_read.set()
        return reply

    reading = read(script, before=hold_first_window)

    assert end_was_read.is_set()
    assert {*reading.ids} == {*range(1, ROWS + 1)}


LIES = [None, "odd", "2031-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]  # stamps that are shown
SECONDS = st.one_of(st.integers(0, 40), st.integers(0, 3_500))
ACTS = st.tuples(st.integers(1, 2 * PAGES), st.integers(1, ROWS), st.sampled_from("ed"))


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    seconds=st.lists(SECONDS, min_size=10, max_size=ROWS),
    shown=st.dictionaries(st.integers(1, ROWS), st.sampled_from(LIES), max_size=4),
    unstamped=st.sampled_from(["", "~"]),
    acts=st.lists(ACTS, max_size=25),
    stops=st.lists(st.integers(1, 12), max_size=3),
)
def test_nothing_is_lost_whatever_happens_meanwhile(
    seconds: list[int],
    shown: dict[int, str | None],
    unstamped: str,
    acts: list[tuple[int, int, str]],
    stops: list[int],
) -> None:
    """Ties, stamps that lie, edits and deletions while it reads, and walks that are broken off.

    What was there all the time has been read; what changed comes with the next walk at the latest.
    """
    world = PipedriveScript(rows={"organizations": stamped(seconds)}, unstamped=unstamped)
    rows = world.rows["organizations"]
    for row in (each for each in rows if each["id"] in shown):
        world.places[row["id"]] = row["update_time"]
        row["update_time"] = shown[row["id"]]
    world.before_page = partial(act_on, world, acts, count())

    reading, known = Reading(), dict[int, Row]()
    for pages in (*stops, None):
        if reading.commit is None:
            resume = reading.resume
            reading = read(world, resume=resume, pages=pages)
            reading.resume = reading.resume or resume
            known |= {row["id"]: row for row in reading.rows}
    world.before_page = lambda _: None
    for row in read(world, reading.commit).rows:
        if row.get("edit", -1) >= known.get(row["id"], row).get("edit", -1):
            known[row["id"]] = row

    assert reading.commit is not None
    assert {row["id"]: row.get("edit") for row in rows}.items() <= {
        number: row.get("edit") for number, row in known.items()
    }.items()


def act_on(
    world: PipedriveScript, acts: list[tuple[int, int, str]], edits: Iterator[int], page: int
) -> None:
    """What happens at the source before a page: edits and deletions."""
    rows = world.rows["organizations"]
    for at, number, what in acts:
        for row in [each for each in rows if at == page and each["id"] == number]:
            if what == "d":
                rows.remove(row)
            else:
                edit = next(edits)
                world.places.pop(number, None)
                row |= {"update_time": f"2026-02-03T08:00:{edit:02}Z", "edit": edit}


def test_a_later_window_whose_first_records_were_all_edited_is_no_end_of_the_list() -> None:
    """Its worker read them before; they lie at the end of the list now."""
    world = PipedriveScript(rows={"organizations": stamped([*range(ROWS), 3_500])})

    def edit(page: int) -> None:
        if page == PAGES // 2:
            world.rows["organizations"][-1]["update_time"] = "2026-02-03T08:00:00Z"

    world.before_page = edit
    reading = read(world)

    assert {*reading.ids} == {*range(1, ROWS + 2)}
    assert reading.commit is not None


def test_windows_with_a_gap_are_no_chain() -> None:
    first, second, last = Window(until="b"), Window(since="b", until="d"), Window(since="d")

    assert chain([last, first, second]) == [first, second, last]
    assert chain([first, last]) == []
    assert chain([second, last]) == []
    assert chain([first, second]) == []
    assert chain([replace(last, since=None)]) == [Window()]
