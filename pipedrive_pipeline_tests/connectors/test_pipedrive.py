"""Walks over Pipedrive's lists: complete or an error, and a watermark that nothing lies below."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from pipedrive_pipeline.connectors.contract import (
    Account,
    Children,
    ColumnType,
    CursorState,
    Page,
    Resume,
    Window,
)
from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE, opener
from pipedrive_pipeline.connectors.refusals import StateExpired
from pipedrive_pipeline.connectors.registry import system, systems
from pipedrive_pipeline.errors import (
    IncompleteRead,
    PipelineError,
    SourceBroke,
    SourceUnavailable,
    UsageError,
)
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import (
    SERVER_DATE,
    ReceivedRequest,
    Reply,
    Script,
    as_json,
    scripted,
)
from pipedrive_pipeline_tests.connectors.world import ME, PipedriveScript, Row, listed, organization
from pipedrive_pipeline_tests.databases import ENTITIES_READ

DATE_STAMP = "2026-02-03T08:00:00Z"
STATE = {"watermark": "2026-01-01T00:05:00Z", "start": "2026-01-01T00:05:00Z"}


@dataclass
class WalkResult:
    """The pages of one walk, its requests and its error."""

    pages: list[Page] = field(default_factory=list)
    requests: list[ReceivedRequest] = field(default_factory=list)
    error: PipelineError | None = None

    @property
    def ids(self) -> list[int]:
        """In the order of arrival."""
        return [int(bytes(record["id"])) for page in self.pages for record in page.records]

    @property
    def lists(self) -> list[ReceivedRequest]:
        """The calls of the walk itself, without the look for the newest record."""
        return [request for request in self.requests if "updated_until" not in request.query]

    @property
    def watermark(self) -> object:
        """The instant that is shown to people."""
        return (self.commit or {}).get("watermark")

    @property
    def commit(self) -> CursorState | None:
        """What the walk would commit; nothing unless it ended well."""
        assert all(page.commit is None and not page.is_last for page in self.pages[:-1])
        return self.pages[-1].commit if self.pages and self.pages[-1].is_last else None


def walked(
    script: Script,
    state: CursorState | None = None,
    entity: str = "organizations",
    resume: Resume | None = None,
) -> WalkResult:
    """One walk against a scripted account."""
    walk = WalkResult()

    async def act() -> None:
        async with scripted(script) as server:
            time = FakeClock()
            opened = opener(clock=time.clock)
            async with opened(FakeVault(server.url).access) as source:
                try:
                    async for page in source.pages(PIPEDRIVE.by_name[entity], state, resume):
                        walk.pages.append(page)
                except PipelineError as error:
                    walk.error = error
            walk.requests = server.requests

    run(act())
    return walk


def state_of(instant: str) -> CursorState:
    """As a walk commits it that read up to this instant and saw a record of it."""
    return {"watermark": instant, "start": instant}


def company(count: int, **more: object) -> PipedriveScript:
    """An account of so many organizations, edited a second apart, the oldest id last."""
    rows = [organization(number, second=count - number) for number in range(1, count + 1)]
    return PipedriveScript(rows={"organizations": rows}, **more)  # type: ignore[arg-type]


def test_entities_come_in_the_order_in_which_they_explain_each_other() -> None:
    """A field, a user or a deal must be known before the records that name it."""
    order = list(PIPEDRIVE.by_name)
    named = {"owner_id": "users", "org_id": "organizations", "deal_id": "deals"}
    later = [
        (entity.name, earlier)
        for entity in PIPEDRIVE.entities
        for earlier in (
            entity.defined_by,
            entity.read.of if isinstance(entity.read, Children) else None,
            *(named.get(column.name) for column in entity.columns),
        )
        if earlier is not None and order.index(earlier) > order.index(entity.name)
    ]

    assert later == []
    assert PIPEDRIVE.off_by_default == ("deal_changes", "deal_participants", "product_variations")


def test_every_column_says_what_it_holds() -> None:
    """Descriptions become comments in the database, which analysts read."""
    columns = [column for spec in ENTITIES.values() for column in (spec.key, *spec.columns)]

    assert all(column.description.endswith(".") for column in columns)
    assert {column.type for column in columns} == set(ColumnType)
    for spec in ENTITIES.values():
        names = [spec.key.name, *(column.name for column in spec.columns)]
        assert len(names) == len(set(names))
        assert spec.version_column in {None, *names}


def test_an_unknown_system_is_a_wrong_word() -> None:
    """It names those that there are."""
    assert PIPEDRIVE in systems()
    with pytest.raises(UsageError, match="pipedrive"):
        system("hubspot")


def test_a_first_walk_reads_everything_oldest_change_first() -> None:
    """Nothing is missed and nothing comes twice while nobody edits, and it may be resumed."""
    walk = walked(company(5))

    assert sorted(walk.ids) == [1, 2, 3, 4, 5]
    assert walk.commit == {"watermark": DATE_STAMP, "start": "2026-01-01T00:00:04Z"}
    first, *others = walk.lists
    assert first.query == {"sort_by": "update_time", "sort_direction": "asc", "limit": "500"}
    assert all(
        {k: v for k, v in request.query.items() if k != "cursor"} == first.query
        for request in others
    )


def test_a_later_walk_reads_what_changed_since_the_watermark_less_the_overlap() -> None:
    """Whole seconds: Pipedrive answers fractions with 400."""
    rows = [organization(1, 0), organization(2, 1), organization(3, 400), organization(4, 400)]
    walk = walked(PipedriveScript(rows={"organizations": rows}), state_of("2026-01-01T00:05:01Z"))

    assert walk.ids == [2, 3, 4]
    assert walk.requests[0].query["updated_since"] == "2026-01-01T00:00:01Z"
    assert walk.requests[1].query["updated_since"] == "2026-01-01T00:00:01Z"
    assert walk.requests[1].query["sort_by"] == "update_time"
    assert walk.requests[1].query["sort_direction"] == "asc"  # descending, an edit would be missed
    assert walk.commit == {"watermark": DATE_STAMP, "start": "2026-01-01T00:06:40Z"}


def test_an_empty_account_is_one_empty_page() -> None:
    """A walk always ends with a page that says so."""
    walk = walked(PipedriveScript())

    assert [page.is_last for page in walk.pages] == [True]
    assert walk.commit == state_of(DATE_STAMP)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"watermark": "yesterday"},
        {"watermark": None},
        {"other": "x"},
        {"watermark": "2031-01-01T00:00:00Z"},
        {"watermark": DATE_STAMP, "start": "2026-02-03T09:00:00Z"},
    ],
)
def test_a_state_that_cannot_be_read_or_lies_in_the_future_expires(state: CursorState) -> None:
    """Everything is read again: dear, but nothing is lost; a guess could lose rows."""
    walk = walked(company(2), state)

    assert isinstance(walk.error, StateExpired)
    assert walk.requests == []


@pytest.mark.parametrize(
    ("watermark", "since"),
    [
        ("2026-02-01T12:00:00Z", "2026-01-31T11:55:00Z"),
        ("2026-02-03T08:10:00Z", "2026-02-02T07:55:00Z"),  # later than our clock, by little
    ],
)
def test_of_the_state_of_a_former_release_a_day_more_is_read(watermark: str, since: str) -> None:
    """It believed a server whose clock was a day ahead, and edits of that day were missed."""
    walk = walked(company(2), {"watermark": watermark})

    assert walk.requests[0].query["updated_since"] == since


def test_a_record_edited_while_a_first_walk_runs_is_in_the_next_walk() -> None:
    """Record 1 is edited after its page; a newer stamp on a later page must not hide it."""
    world = company(6)

    def edit(page: int) -> None:
        if page == 3:
            world.rows["organizations"][0]["update_time"] = "2026-02-03T08:00:00Z"
            world.rows["organizations"][5]["update_time"] = "2026-02-03T08:30:00Z"

    world.before_page = edit
    first = walked(world)
    again = walked(world, first.commit)

    assert 1 in again.ids


@pytest.mark.parametrize("state", [None, STATE])
def test_a_long_walk_commits_the_time_at_which_it_began(state: CursorState | None) -> None:
    """Its end would do for a short one only: ten minutes a page, and an edit after the first."""
    world = company(6)

    def edit(page: int) -> None:
        world.date = f"Tue, 03 Feb 2026 07:{page}0:00 GMT"
        if page == 2:
            world.rows["organizations"][0 if state is None else 5].update(
                name="Edited", update_time="2026-02-03T07:15:00Z"
            )

    world.before_page = edit
    first = walked(world, state)
    world.before_page = lambda _: None
    again = walked(world, first.commit)

    assert first.watermark == "2026-02-03T07:10:00Z"
    assert (1 if state is None else 6) in again.ids


def test_without_a_server_date_a_first_walk_commits_the_newest_stamp_and_saw_all_edits() -> None:
    """What is edited meanwhile moves ahead of the walk, so the newest stamp jumps over nothing."""
    world = company(6, date=None)

    def edit(page: int) -> None:
        if page == 3:
            world.rows["organizations"][0]["update_time"] = "2026-01-02T00:00:00Z"
            world.rows["organizations"][5]["update_time"] = "2026-01-03T00:00:00Z"

    world.before_page = edit
    first = walked(world)

    assert first.commit == state_of("2026-01-03T00:00:00Z")
    assert first.ids[-2:] == [1, 6]


def test_without_a_server_date_a_later_walk_commits_the_newest_stamp_seen() -> None:
    """It goes by that very stamp, so that later edits are stamped later or equal."""
    walk = walked(company(6, date=None), state_of("2026-01-01T00:00:00Z"))

    assert walk.commit == state_of("2026-01-01T00:00:05Z")


@pytest.mark.parametrize("date", [None, "Thu, 01 Jan 1970 00:00:00 GMT", "no date"])
def test_a_watermark_never_moves_backwards(date: str | None) -> None:
    """An empty walk, or a server whose clock fell back, must not read the past again."""
    state = state_of("2026-01-20T00:00:00Z")

    assert walked(PipedriveScript(date=date), state).commit == state
    assert walked(PipedriveScript(date="Mon, 19 Jan 2026 00:00:00 GMT"), state).commit == state


@pytest.mark.parametrize(
    ("date", "shown"),
    [
        ("Thu, 01 Jan 2099 00:00:00 GMT", DATE_STAMP),
        ("Wed, 04 Feb 2026 08:00:00 GMT", DATE_STAMP),  # a day ahead
        ("Tue, 03 Feb 2026 08:10:00 GMT", DATE_STAMP),  # ten minutes ahead
        ("Tue, 03 Feb 2026 07:50:00 GMT", "2026-02-03T07:50:00Z"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "2026-02-03T07:00:00Z"),  # no clock: the newest stamp
        (None, "2026-02-03T07:00:00Z"),
    ],
)
@pytest.mark.parametrize("state", [None, STATE])
def test_no_clock_that_is_ahead_hides_a_later_edit(
    date: str | None, shown: str, state: CursorState | None
) -> None:
    """Ours is at eight o'clock; the watermark is never later, and the next walk goes by stamps."""
    world = PipedriveScript(rows={"organizations": [organization(1), organization(2)]}, date=date)
    world.rows["organizations"][1]["update_time"] = "2026-02-03T07:00:00Z"
    first = walked(world, state)
    world.rows["organizations"][0]["update_time"] = "2026-02-03T07:00:01Z"

    again = walked(world, first.commit)

    assert first.watermark == shown
    assert 1 in again.ids


@pytest.mark.parametrize("date", [None, SERVER_DATE, "Thu, 01 Jan 2099 00:00:00 GMT"])
@pytest.mark.parametrize("state", [None, STATE])
@pytest.mark.parametrize("ahead", ["2031-01-01T00:00:00Z", "2099-12-31T23:59:59Z"])
def test_a_record_stamped_in_the_future_hides_no_later_edit(
    ahead: str, date: str | None, state: CursorState | None
) -> None:
    """An import or a broken client may write any stamp."""
    world = PipedriveScript(
        rows={"organizations": [organization(1, 600), organization(2, update_time=ahead)]},
        date=date,
    )
    first = walked(world, state)
    world.rows["organizations"][0]["update_time"] = "2026-02-03T08:00:01Z"

    again = walked(world, first.commit)

    assert first.commit is not None
    assert all(str(instant) <= DATE_STAMP for instant in first.commit.values())
    assert 1 in again.ids


@pytest.mark.parametrize("is_last", [False, True], ids=["more", "last page"])
@pytest.mark.parametrize("keys", ["none", "empty", "null"])
def test_a_list_without_a_continuation_flag_is_requested_again(keys: str, *, is_last: bool) -> None:
    """Taken for the last page it hid everything behind it."""
    world, spoiled = company(2 if is_last else 6), [1]

    def script(request: ReceivedRequest) -> Reply:
        reply = world(request)
        if not spoiled:
            return reply
        spoiled.pop()
        body = json.loads(reply.body)
        body["additional_data"] = {"none": None, "empty": {}, "null": None}[keys]
        if keys == "none":
            del body["additional_data"]
        return as_json(body)

    walk = walked(script)

    assert sorted(walk.ids) == list(range(1, 3 if is_last else 7))
    assert walk.error is None


@pytest.mark.parametrize("entity", ["organizations", "persons", "person_fields"])
def test_a_list_that_never_says_whether_it_goes_on_is_broken(entity: str) -> None:
    walk = walked(lambda _: as_json({"success": True, "data": [{"id": 1}]}), entity=entity)

    assert isinstance(walk.error, SourceBroke)
    assert "next_cursor" in str(walk.error)
    assert len(walk.requests) == 4


@pytest.mark.parametrize(
    "more",
    [
        {"pagination": {"more_items_in_collection": True}},
        {"pagination": {"next_start": 100}},
        {"more_items_in_collection": True},
        {"next_cursor": "more"},
    ],
)
def test_a_whole_list_that_says_that_there_is_more_is_broken(more: object) -> None:
    """Users behind its end would be taken for deleted."""
    body = {"success": True, "data": [{"id": 1}], "additional_data": more}

    walk = walked(lambda _: as_json(body), entity="users")

    assert isinstance(walk.error, SourceBroke)
    assert walk.pages == []


def endless(cursors: Callable[[int], object], rows: Callable[[int], list[int]]) -> Script:
    """A list that always promises more."""
    count = 0

    def script(_: ReceivedRequest) -> Reply:
        nonlocal count
        count += 1
        return listed([organization(number) for number in rows(count)], cursors(count))

    return script


@pytest.mark.parametrize("state", [None, STATE])
@pytest.mark.parametrize(
    ("script", "pages_max"),
    [
        (lambda: endless(lambda _: "same", lambda n: [n]), 3),
        (lambda: endless(lambda n: f"c{n % 4}", lambda n: [n]), 6),
        (lambda: endless(lambda n: f"c{n}", lambda _: []), 19),
        (lambda: endless(lambda n: f"c{n}", lambda _: [1, 2]), 8),
        (lambda: endless(lambda _: "", lambda n: [n]), 4),
        (lambda: endless(lambda _: 7, lambda n: [n]), 4),
        (lambda: lambda _: as_json({"success": True, "data": "none"}), 4),
    ],
    ids=["repeats", "circle", "empty", "new cursors, old rows", "empty text", "number", "no list"],
)
def test_a_walk_that_leads_nowhere_is_an_error(
    script: Callable[[], Script], pages_max: int, state: CursorState | None
) -> None:
    """Never "the end": rows would be missing without a word, or the day's budget burnt."""
    walk = walked(script(), state)

    assert isinstance(walk.error, SourceBroke)
    assert walk.commit is None
    assert len(walk.requests) <= pages_max


def test_empty_pages_with_a_cursor_are_gone_through_and_commit_nothing() -> None:
    """Undocumented, and no sign of an end: the rows that they replaced were not read."""
    world = company(6)

    def script(request: ReceivedRequest) -> Reply:
        cursor = request.query.get("cursor", "")
        if cursor and not cursor.startswith("empty"):
            return listed([], "empty" + cursor)
        plain = {k: v.removeprefix("empty") for k, v in request.query.items()}
        return world(replace(request, query=plain))

    walk = walked(script)

    assert walk.ids == [6, 5, 4, 3, 2, 1]
    assert walk.commit is None
    assert isinstance(walk.error, SourceBroke)


def test_an_expired_cursor_restarts_the_walk() -> None:
    """From the walk's own beginning, not as its end."""
    world, refusals = company(6), [1]

    def script(request: ReceivedRequest) -> Reply:
        if "cursor" in request.query and json.loads(request.query["cursor"])[-1] == 2 and refusals:
            refusals.pop()
            return as_json({"success": False, "error": "bad cursor"}, 400)
        return world(request)

    walk = walked(script)

    assert walk.ids == [6, 5, 4, 3, 6, 5, 4, 3, 2, 1]
    assert walk.watermark == DATE_STAMP


def test_a_cursor_that_is_always_refused_is_an_error() -> None:
    """Three beginnings are enough to know."""
    world = company(6)

    def script(request: ReceivedRequest) -> Reply:
        return as_json({"success": False}, 400) if "cursor" in request.query else world(request)

    walk = walked(script)

    assert isinstance(walk.error, SourceBroke)
    assert len(walk.requests) == 6
    assert walk.commit is None


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_source_that_dies_in_the_middle_ends_nothing_well(status: int) -> None:
    """A 5xx taken for the end once emptied somebody's table."""
    world = company(6)

    def script(request: ReceivedRequest) -> Reply:
        return Reply(status) if world.pages_served >= 2 else world(request)

    walk = walked(script)

    assert isinstance(walk.error, SourceUnavailable)
    assert walk.ids == [6, 5, 4, 3]
    assert walk.commit is None


def test_ten_thousand_records_of_one_second_all_arrive() -> None:
    """An import stamps them all alike; a cursor by time alone would loop or skip."""
    rows = [organization(number) for number in range(1, 10_001)]
    walk = walked(PipedriveScript(rows={"organizations": rows}, page_rows=500), STATE)

    assert walk.ids == list(range(1, 10_001))


@pytest.mark.parametrize("ties", [1, -1], ids=["in order", "in falling order"])
@pytest.mark.parametrize("state", [None, STATE])
def test_pages_of_one_second_may_hold_their_ties_in_any_order(
    ties: int, state: CursorState | None
) -> None:
    """Cursors that do not repeat lead on; twenty such pages were once taken for a circle."""
    rows = [organization(number, second=400) for number in range(1, 41)]
    world = PipedriveScript(rows={"organizations": [*rows, organization(41, 401)]}, ties=ties)

    walk = walked(world, state)

    assert sorted(walk.ids) == list(range(1, 42))
    assert walk.error is None


def test_records_without_a_stamp_or_a_usable_id_pass_through() -> None:
    """Whether a row can be stored is decided where it is stored."""
    rows: list[Row] = [
        {"id": 1, "update_time": None},
        {"id": 2},
        {"id": 3, "update_time": 5},
        {"id": 4, "name": "x"},
    ]

    def script(request: ReceivedRequest) -> Reply:
        is_look = "updated_until" in request.query
        return listed([] if is_look else [{"id": None}, {"name": "x"}, {"id": "7a"}], None)

    walk = walked(PipedriveScript(rows={"organizations": rows}, date=None))
    odd = walked(script)

    assert sorted(walk.ids) == [1, 2, 3, 4]
    assert walk.commit is None
    assert len(odd.pages[0].records) == 3


@pytest.mark.parametrize("entity", ["organizations", "persons", "person_fields", "users"])
@pytest.mark.parametrize("misfit", [None, 7, "text", [], True])
def test_an_entry_that_is_no_record_is_set_aside_with_its_place(
    misfit: object, entity: str
) -> None:
    """One null in a list once kept the whole entity out."""
    further = None if entity == "users" else {"next_cursor": None}
    body = {"success": True, "data": [{"id": 1}, misfit, {"id": 2}], "additional_data": further}

    def script(request: ReceivedRequest) -> Reply:
        return listed([], None) if "updated_until" in request.query else as_json(body)

    walk = walked(script, entity=entity)

    assert walk.ids == [1, 2]
    (page,) = walk.pages
    assert [(entry.place, json.loads(entry.json_text)) for entry in page.misfits] == [(2, misfit)]
    assert page.is_last


@pytest.mark.parametrize("unstamped", ["", "~"], ids=["first", "last"])
def test_a_resumed_walk_reads_the_rest_and_all_that_has_no_stamp(unstamped: str) -> None:
    """Wherever records without a stamp sort, the source's own cursor passes none."""
    rows = [organization(number, number) for number in range(1, 7)]
    world = PipedriveScript(rows={"organizations": [*rows, {"id": 7, "update_time": None}]})
    world.unstamped = unstamped

    first = walked(world)
    resumed = walked(world, resume=first.pages[1].resume)

    read_before = {int(bytes(row["id"])) for page in first.pages[:2] for row in page.records}
    assert read_before | set(resumed.ids) == {1, 2, 3, 4, 5, 6, 7}
    assert read_before.isdisjoint(resumed.ids)
    assert resumed.commit == first.commit


@pytest.mark.parametrize("stamp", ["2026-01-31T00:00:00Z", "2031-01-01T00:00:00Z", None, "odd"])
def test_a_resumed_walk_trusts_no_stamp(stamp: str | None) -> None:
    """A record with a stamp newer than its place once made it skip 60 of 100 records."""
    world = company(10)
    world.rows["organizations"][6]["update_time"] = stamp  # number 7, on page 2
    world.places[7] = "2026-01-01T00:00:03Z"

    first = walked(world)
    resumed = walked(world, resume=first.pages[1].resume)

    assert first.ids[:4] + resumed.ids == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert resumed.error is None


def test_a_resumed_walk_whose_cursor_is_refused_begins_again() -> None:
    """How long a cursor lives is nowhere said."""
    world = company(6)
    resume = Resume((Window(cursor="expired"),), walked(world).pages[0].resume.state)  # type: ignore[union-attr]

    def script(request: ReceivedRequest) -> Reply:
        if request.query.get("cursor") == "expired":
            return as_json({"success": False, "error": "bad cursor"}, 400)
        return world(request)

    walk = walked(script, resume=resume)

    assert walk.ids == [6, 5, 4, 3, 2, 1]
    assert walk.watermark == DATE_STAMP


def test_a_resumed_walk_behind_whose_cursor_nothing_is_left_begins_again() -> None:
    """The records that it led to were deleted between two runs: that is no broken source."""
    world = company(6)
    first = walked(world)
    world.rows["organizations"] = world.rows["organizations"][4:]

    walk = walked(world, resume=first.pages[1].resume)

    assert walk.ids == [6, 5]
    assert walk.error is None


def test_a_walk_of_several_windows_reads_those_that_are_not_read() -> None:
    """Each may be gone on with; neighbours that are read become one."""
    world = company(9)
    second = "2026-01-01T00:00:0{}Z".format
    windows = (
        Window(until=second(3)),
        Window(since=second(3), until=second(6), is_read=True),
        Window(since=second(6)),
    )
    state = walked(world).pages[0].resume.state  # type: ignore[union-attr]

    walk = walked(world, resume=Resume(windows, state))

    assert sorted(walk.ids) == [1, 2, 3, 7, 8, 9]
    resumed = [page.resume.windows for page in walk.pages if page.resume]
    assert {len(windows) for windows in resumed} == {2, 3}
    assert all(windows[0].since is windows[-1].until is None for windows in resumed)
    assert walk.watermark == DATE_STAMP


def test_a_resumed_walk_commits_the_time_at_which_its_first_run_began() -> None:
    world = company(6)
    world.date = "Tue, 03 Feb 2026 07:00:00 GMT"
    first = walked(world)
    world.date = SERVER_DATE

    resumed = walked(world, resume=first.pages[0].resume)

    assert resumed.watermark == "2026-02-03T07:00:00Z"


def cut_at(world: PipedriveScript, page_number: int, *, rows: int | None = None) -> Script:
    """The account whose list ends at this page, with so many of its rows."""
    number = 0

    def script(request: ReceivedRequest) -> Reply:
        nonlocal number
        reply = world(request)
        if "updated_until" in request.query:
            return reply
        number += 1
        if number != page_number:
            return reply
        return listed(json.loads(reply.body)["data"][:rows], None)

    return script


@pytest.mark.parametrize(("page_number", "rows"), [(1, None), (2, None), (3, 1), (1, 0), (2, 1)])
def test_a_read_of_everything_whose_list_ends_too_early_is_incomplete(
    page_number: int, rows: int | None
) -> None:
    """Its end looks like any other; what lay behind it was missing for weeks."""
    walk = walked(cut_at(company(6), page_number, rows=rows))

    assert isinstance(walk.error, IncompleteRead)
    assert walk.commit is None
    assert len(walk.ids) == 2 * (page_number - 1) + (2 if rows is None else rows)


def test_one_of_two_lists_that_was_not_read_whole_is_read_again_and_not_the_other() -> None:
    """An earlier run called it read. All later runs went on behind it and failed alike."""
    old = [organization(id_, second=400 * id_) for id_ in [2, 3, 4, 5]]
    world = PipedriveScript(rows={"deals": [], "archived_deals": old})
    begun = walked(world, entity="deals").pages[1].resume
    world.rows["deals"] = [organization(1)]

    failed = walked(world, entity="deals", resume=begun)
    walk = walked(world, entity="deals", resume=failed.pages[-1].resume)

    assert isinstance(failed.error, IncompleteRead)
    assert (walk.ids, walk.error) == ([1, 5], None), "of the other, what changed at its end"


@pytest.mark.parametrize("live", [[], [1]])
def test_a_record_that_moved_into_a_list_that_an_earlier_run_read_is_not_missed(
    live: list[int],
) -> None:
    """An archived deal that somebody took up again was in neither list when that list was read."""
    old = [organization(id_) for id_ in [2, 3, 4, 5]]
    world = PipedriveScript(
        rows={"deals": [organization(id_) for id_ in live], "archived_deals": old}
    )
    begun = walked(world, entity="deals").pages[1].resume
    world.rows["deals"].append(old.pop() | {"update_time": DATE_STAMP})

    walk = walked(world, entity="deals", resume=begun)

    assert walk.error is None
    assert 5 in walk.ids


def test_an_incomplete_read_goes_on_at_its_last_page() -> None:
    world = company(8)
    broken_off = walked(cut_at(world, 3, rows=1))

    walk = walked(world, resume=broken_off.pages[1].resume)

    assert walk.ids == [4, 3, 2, 1]
    assert walk.watermark == DATE_STAMP


def test_records_edited_during_a_walk_do_not_make_it_incomplete() -> None:
    """Also behind its last page: they are the next walk's."""
    world = company(6)

    def edit(page: int) -> None:
        if page == 4:  # the look for the newest
            world.rows["organizations"][0]["update_time"] = "2026-02-03T08:00:01Z"

    world.before_page = edit
    walk = walked(world)

    assert walk.error is None
    assert walk.watermark == DATE_STAMP


def test_a_later_walk_of_several_pages_whose_list_ends_too_early_is_incomplete() -> None:
    world = PipedriveScript(rows={"organizations": [organization(n, 400 + n) for n in range(1, 9)]})

    walk = walked(cut_at(world, 3), STATE)

    assert isinstance(walk.error, IncompleteRead)
    assert walk.commit is None


def test_records_that_a_later_walk_s_only_page_withheld_come_with_the_next() -> None:
    """It makes no call more than the one; the next walk begins at the newest stamp it read."""
    world = PipedriveScript(rows={"organizations": [organization(n, 400 * n) for n in range(1, 9)]})
    first = walked(cut_at(world, 1), STATE)

    again = walked(world, first.commit)

    assert first.ids == [1, 2]
    assert len(first.requests) == 1
    assert set(again.ids) >= {3, 4, 5, 6, 7, 8}


def test_a_later_walk_without_changes_is_one_call_and_brings_nothing() -> None:
    world = company(600, page_rows=500)
    first = walked(world)

    again = walked(PipedriveScript(rows=world.rows), first.commit)
    third = walked(company(1), first.commit)

    assert first.commit == {"watermark": DATE_STAMP, "start": "2026-01-01T00:09:59Z"}
    assert len(again.ids) == 301  # of the five minutes before the newest
    assert third.ids == []
    assert len(third.requests) == 1


def test_a_bulk_edit_that_lies_behind_is_not_read_for_ever() -> None:
    """Of 40 records of one second nothing is newer; once they are read again they are passed."""
    rows = [organization(number, second=400) for number in range(1, 41)]
    world = PipedriveScript(rows={"organizations": rows}, page_rows=10)
    first = walked(world, STATE)

    again = walked(world, first.commit)
    third = walked(world, again.commit)

    assert sorted(again.ids) == list(range(1, 41))
    assert third.ids == []
    assert third.commit == again.commit


def test_a_page_with_values_that_are_no_json_arrives_counted() -> None:
    """One NaN must not keep the page out for ever."""
    body = (
        b'{"success":true,"data":[{"id":1,"annual_revenue":NaN}],'
        b'"additional_data":{"next_cursor":null}}'
    )

    walk = walked(lambda _: Reply(body=body))

    assert bytes(walk.pages[0].records[0]["annual_revenue"]) == b'"NaN"'
    assert walk.pages[0].mended_count == 1


@pytest.mark.parametrize("entity", ["organization_fields", "person_fields"])
def test_field_definitions_follow_their_cursor(entity: str) -> None:
    """An account may have more than 500 fields."""

    def script(request: ReceivedRequest) -> Reply:
        page = int(request.query.get("cursor", "0"))
        return listed([{"field_code": f"f{page}"}], str(page + 1) if page < 2 else None)

    walk = walked(script, entity=entity)

    assert [bytes(page.records[0]["field_code"]) for page in walk.pages] == [
        b'"f0"',
        b'"f1"',
        b'"f2"',
    ]
    assert walk.commit is None
    assert walk.pages[-1].is_last
    assert walk.requests[0].query == {"limit": "500"}


def test_users_come_as_one_whole_list() -> None:
    """v1 knows no pages for them, and no parameters."""
    rows = [{"id": 1, "name": "Ada", "modified": "2026-01-31 10:20:30"}]

    walk = walked(PipedriveScript(rows={"users": rows}), entity="users")

    assert walk.ids == [1]
    assert walk.requests[0].path == "/v1/users"
    assert walk.requests[0].query == {}


def picked(
    entity: str, ids: list[str], world: PipedriveScript
) -> tuple[list[int], list[ReceivedRequest]]:
    """Returns the ids that `records` brought, and the requests."""

    async def act() -> tuple[list[int], list[ReceivedRequest]]:
        async with scripted(world) as server:
            pipedrive = PIPEDRIVE
            async with pipedrive.open(FakeVault(server.url).access) as source:
                pages = await source.records(PIPEDRIVE.by_name[entity], ids)
            record_ids = [int(bytes(record["id"])) for page in pages for record in page.records]
            return record_ids, server.requests

    return run(act())


def test_single_records_are_read_a_hundred_a_call() -> None:
    """Pipedrive's maximum; ids that are gone are simply absent."""
    ids = [str(number) for number in range(1, 251)]

    record_ids, requests = picked("organizations", [*ids, "9999", "7"], company(250))

    assert record_ids == list(range(1, 251))
    assert [len(request.query["ids"].split(",")) for request in requests] == [100, 100, 51]


def test_an_answer_to_ids_is_read_to_its_last_page() -> None:
    """What is not on the first page would be taken for deleted."""
    world = replace(company(60), picked_rows=25)

    record_ids, requests = picked("organizations", [str(number) for number in range(1, 61)], world)

    assert record_ids == list(range(1, 61))
    assert [request.query.get("cursor") for request in requests] == [None, "25", "50"]
    assert {request.query["ids"] for request in requests} == {requests[0].query["ids"]}


def test_an_answer_to_ids_that_does_not_end_is_broken() -> None:
    with pytest.raises(SourceBroke, match="for 3 ids does not end"):
        picked("organizations", ["1", "2", "3"], replace(company(3), picked_rows=0))


def test_ids_that_no_record_can_have_are_not_requested() -> None:
    """One of them would turn the whole call into a 400."""
    record_ids, requests = picked("organizations", ["7a", "", "1,2", "²"], company(3))

    assert record_ids == []
    assert requests == []


def test_users_are_picked_from_their_whole_list() -> None:
    """They have no `ids=`."""
    world = PipedriveScript(rows={"users": [{"id": 1}, {"id": 2}, {"name": "without id"}]})

    assert picked("users", ["2", "3"], world)[0] == [2]
    assert picked("users", [], world) == ([], [])


@pytest.mark.parametrize(
    ("access", "is_admin"),
    [
        ([{"app": "sales", "admin": True}, {"app": "global", "admin": False}], True),
        ([{"app": "sales", "admin": False}, {"app": "global", "admin": True}], False),
        ([{"app": "global", "admin": True}], True),
        ([], False),
        (None, None),
    ],
)
def test_the_account_says_whose_data_it_is(access: object, is_admin: bool | None) -> None:
    """A user who is no administrator sees a part of the data; the operator should know."""

    async def act() -> tuple[Account, list[str]]:
        body = {"success": True, "data": {**ME, "access": access}}
        async with (
            scripted(lambda _: as_json(body)) as server,
            PIPEDRIVE.open(FakeVault(server.url).access) as source,
        ):
            return await source.account(), [request.path for request in server.requests]

    account, paths = run(act())

    assert (account.company_id, account.company_domain) == ("123", "nordlicht")
    assert (account.user_id, account.user_name) == ("900", "Ada")
    assert account.is_admin is is_admin
    assert paths == ["/v1/users/me"]


def test_an_account_without_a_number_is_no_account() -> None:
    """Two companies would pass for one; nothing is stored under an empty name."""

    async def act() -> None:
        time = FakeClock()
        async with scripted(lambda _: as_json({"success": True, "data": {"id": 1}})) as server:
            opened = opener(clock=time.clock)
            async with opened(FakeVault(server.url).access) as source:
                await source.account()

    with pytest.raises(SourceBroke):
        run(act())


def test_single_records_on_a_second_page_are_an_error() -> None:
    """Those left there would be taken for deleted."""

    async def act() -> None:
        async with scripted(lambda _: listed([organization(1)], "more")) as server:
            pipedrive = PIPEDRIVE
            async with pipedrive.open(FakeVault(server.url).access) as source:
                await source.records(PIPEDRIVE.by_name["organizations"], ["1", "2"])

    with pytest.raises(SourceBroke):
        run(act())


def test_every_call_reports_its_price() -> None:
    """10 for a page of v2 and for the look for the newest, 20 for v1's users, 2 for the account."""

    async def act() -> list[tuple[str, int]]:
        async with scripted(company(3)) as server:
            vault, pipedrive = FakeVault(server.url), PIPEDRIVE
            async with pipedrive.open(vault.access) as source:
                await source.account()
                for name in ENTITIES_READ:
                    async for _ in source.pages(PIPEDRIVE.by_name[name], None):
                        pass
            return [(call.kind, call.tokens) for call in vault.calls]

    assert run(act()) == [
        ("users/me", 2),
        ("list organization_fields", 10),
        ("list person_fields", 10),
        ("list users", 20),
        ("list organizations", 10),
        ("list organizations", 10),
        ("newest of organizations", 10),
        ("list persons", 10),
        ("newest of persons", 10),
    ]


def test_opening_a_source_asks_nothing() -> None:
    """Definitions are loaded where there is no network."""

    async def act() -> None:
        async with PIPEDRIVE.open(FakeVault("https://nowhere.invalid").access):
            pass

    run(act())
    assert timedelta(minutes=5) == ENTITIES["persons"].read.overlap  # type: ignore[union-attr]
