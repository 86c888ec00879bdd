"""Lists that are paged by offset, and entities with two lists: nothing is lost while records move.

A scripted account of notes, deals and leads; the sandbox, read by other tests, has the whole API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from pipedrive_pipeline.connectors.contract import CursorState, Page, Resume
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE, opener
from pipedrive_pipeline.errors import IncompleteRead, PipelineError, SourceBroke
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import (
    SERVER_DATE,
    ReceivedRequest,
    Reply,
    as_json,
    scripted,
)

Row = dict[str, Any]
SECOND = "2026-01-01 00:{:02}:{:02}".format


def stamp(second: int) -> str:
    """A stamp as v1 writes it."""
    return SECOND(second // 60, second % 60)


@dataclass
class OffsetScript:
    """A server that keeps the contract of v1's lists, and may forget the end of one."""

    rows: dict[str, list[Row]]  # by path
    before_page: Callable[[int, OffsetScript], None] = lambda _number, _script: None
    is_nested: bool = True
    is_null_empty: bool = False
    withheld_rows: int = 0  # of the walk's last page
    requests: list[ReceivedRequest] = field(default_factory=list)

    def __call__(self, request: ReceivedRequest) -> Reply:
        """The answer to one request."""
        self.requests.append(request)
        self.before_page(len(self.requests), self)
        if request.path not in self.rows:
            return as_json({"success": False, "error": "not found"}, 404)
        query = request.query
        order, direction = query.get("sort", "id ASC").split(", ")[0].split(" ")
        found = [row for row in self.rows[request.path] if _is_since(row, query)]
        found.sort(key=lambda row: (row[order] or "", row["id"]), reverse=direction == "DESC")
        start, limit = int(query.get("start", 0)), int(query["limit"])
        page, rest = found[start : start + limit], found[start + limit :]
        if direction == "ASC" and not rest and self.withheld_rows:
            page = page[: -self.withheld_rows]
        stated = {"start": start, "limit": limit, "more_items_in_collection": bool(rest)}
        data = None if self.is_null_empty and not page else page
        further = {"pagination": stated} if self.is_nested else stated
        return as_json(
            {"success": True, "data": data, "additional_data": further}, date=SERVER_DATE
        )


def _is_since(row: Row, query: dict[str, str]) -> bool:
    since = query.get("updated_since", "").replace("T", " ").rstrip("Z")
    return str(row["update_time"] or "") >= since


@dataclass
class WalkResult:
    """What one walk gave."""

    pages: list[Page] = field(default_factory=list)
    error: PipelineError | None = None

    @property
    def ids(self) -> list[Any]:
        """Of all records, in the order of reading; some twice."""
        return [msgspec.json.decode(row["id"]) for page in self.pages for row in page.records]

    @property
    def commit(self) -> CursorState | None:
        """The state of the next walk."""
        return self.pages[-1].commit if self.pages and self.pages[-1].is_last else None


def walked(
    script: Callable[[ReceivedRequest], Reply],
    entity: str,
    state: CursorState | None = None,
    resume: Resume | None = None,
) -> WalkResult:
    """One walk against a script."""
    walk = WalkResult()

    async def act() -> None:
        opened = opener(clock=FakeClock().clock)
        async with (
            scripted(script) as server,
            opened(FakeVault(server.url).access) as source,
        ):
            try:
                async for page in source.pages(PIPEDRIVE.by_name[entity], state, resume):
                    walk.pages.append(page)
            except PipelineError as error:
                walk.error = error

    run(act())
    return walk


def notes(count: int, seconds: Callable[[int], int] = lambda number: number) -> OffsetScript:
    """An account of so many notes, by default edited a second apart."""
    rows = [
        {"id": number, "content": "x", "add_time": stamp(0), "update_time": stamp(seconds(number))}
        for number in range(1, count + 1)
    ]
    return OffsetScript({"/v1/notes": rows})


@pytest.mark.parametrize(("count", "bound"), [(0, 500), (500, 500), (501, 1_000), (1_100, 2_000)])
def test_the_number_of_leads_has_a_bound_although_their_ids_are_no_numbers(
    count: int, bound: int
) -> None:
    """A first read was priced as if there were one page of them."""
    leads = [{"id": f"{number:05}", "update_time": stamp(1)} for number in range(count)]
    script = OffsetScript({"/v1/leads": leads, "/v1/leads/archived": []})

    async def hint() -> int | None:
        opened = opener(clock=FakeClock().clock)
        async with (
            scripted(script) as server,
            opened(FakeVault(server.url).access) as source,
        ):
            return await source.size_hint(PIPEDRIVE.by_name["leads"])

    assert run(hint()) == bound + 500  # a page of archived ones at most


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_list_is_read_to_its_end_by_time(is_nested: bool) -> None:
    """Each page begins at the stamp of the last record: nothing depends on an offset."""
    script = notes(1_200)
    script.is_nested = is_nested

    walk = walked(script, "notes")

    assert sorted(set(walk.ids)) == list(range(1, 1_201))
    assert len(walk.ids) == 1_202  # the first record of a page was the last one of the page before
    assert {request.query.get("start", "0") for request in script.requests} == {"0"}
    assert walk.commit == {"watermark": "2026-02-03T08:00:00Z", "start": "2026-01-01T00:20:00Z"}


def test_a_record_that_moves_during_the_walk_hides_no_other() -> None:
    """An offset of 500 would pass over the record that took the place of the moved one."""
    script = notes(1_200)

    def edit_one_that_was_read(number: int, script: OffsetScript) -> None:
        if number == 2:
            for row in script.rows["/v1/notes"][:5]:
                row["update_time"] = stamp(1_300)

    script.before_page = edit_one_that_was_read

    assert set(walked(script, "notes").ids) == set(range(1, 1_201))


def test_a_second_of_more_than_a_page_is_read_by_offset_with_an_overlap() -> None:
    """A bulk edit stamps thousands of records alike."""
    script = notes(1_700, lambda number: 7 if number > 100 else 1)

    assert set(walked(script, "notes").ids) == set(range(1, 1_701))


@pytest.mark.parametrize("gone", [5, 40])
def test_ties_that_move_are_noticed_and_the_window_begins_again(gone: int) -> None:
    """A few are caught by the overlap; after more the next page does not follow on the last."""
    script = notes(1_700, lambda number: 7 if number > 100 else 1)

    def delete_some_that_were_read(number: int, script: OffsetScript) -> None:
        if number == 4:  # amid the ties
            del script.rows["/v1/notes"][150 : 150 + gone]

    script.before_page = delete_some_that_were_read

    walk = walked(script, "notes")

    assert walk.error is None
    assert set(walk.ids) >= {row["id"] for row in script.rows["/v1/notes"]}


def test_a_list_that_never_settles_is_an_error() -> None:
    script = notes(1_700, lambda _number: 7)

    def delete_many(_number: int, script: OffsetScript) -> None:
        del script.rows["/v1/notes"][:30]

    script.before_page = delete_many

    assert isinstance(walked(script, "notes").error, SourceBroke)


def test_a_list_that_ends_before_its_newest_record_is_incomplete() -> None:
    script = notes(700)
    script.withheld_rows = 3

    walk = walked(script, "notes")

    assert isinstance(walk.error, IncompleteRead)
    assert walk.commit is None


def test_records_without_a_stamp_come_first_and_are_read() -> None:
    script = notes(1_200)
    for row in script.rows["/v1/notes"][:600]:
        row["update_time"] = None

    assert set(walked(script, "notes").ids) == set(range(1, 1_201))


def test_a_walk_goes_on_at_a_time_not_at_an_offset() -> None:
    """Between two runs any number of records may have moved."""
    script = notes(1_200)
    first = walked(script, "notes").pages[0]
    assert first.resume
    requests_before = len(script.requests)

    walk = walked(script, "notes", resume=first.resume)

    assert sorted(set(walk.ids)) == list(range(500, 1_201))
    since = script.requests[requests_before].query["updated_since"]
    assert since == "2026-01-01T00:08:20Z"


def test_an_empty_list_may_be_null() -> None:
    """As v1 writes it; the walk ends and commits what the server's clock says."""
    script = OffsetScript({"/v1/notes": []}, is_null_empty=True)

    walk = walked(script, "notes")

    assert (walk.ids, walk.error) == ([], None)
    assert walk.commit == {"watermark": "2026-02-03T08:00:00Z", "start": "2026-02-03T08:00:00Z"}


def test_archived_leads_are_listed_by_reads_of_everything_only() -> None:
    """Their list knows no time, so that it would be read whole with every sync."""
    live = [{"id": f"a{n}", "add_time": stamp(n), "update_time": stamp(n)} for n in range(3)]
    old = [{"id": f"b{n}", "add_time": stamp(n), "update_time": stamp(n)} for n in range(1_100)]
    script = OffsetScript({"/v1/leads": live, "/v1/leads/archived": old})

    everything = walked(script, "leads")
    requests_before = len(script.requests)
    changes = walked(script, "leads", state=everything.commit)

    assert set(everything.ids) == {row["id"] for row in (*live, *old)}
    assert {request.path for request in script.requests[requests_before:]} == {"/v1/leads"}
    assert set(changes.ids) <= {row["id"] for row in live}
    archived = [request for request in script.requests if request.path.endswith("archived")]
    assert all("updated_since" not in request.query for request in archived)
    assert len(archived) == 3
