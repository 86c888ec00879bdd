"""Walks over Pipedrive's lists: complete or an error, and a watermark that nothing lies below."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from pipedrive_pipeline.connectors.base import (
    Account,
    ColumnType,
    CursorState,
    Page,
    missing_scopes,
)
from pipedrive_pipeline.connectors.pipedrive.connector import PipedriveConnector
from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.connectors.registry import SYSTEMS, connector
from pipedrive_pipeline.errors import PipelineError, SourceBroke, SourceUnavailable, UsageError
from pipedrive_pipeline_tests.connectors.doubles import Time, Vault, run
from pipedrive_pipeline_tests.connectors.scripted import Asked, Reply, Script, as_json, scripted
from pipedrive_pipeline_tests.connectors.world import ME, Row, World, listed, organization

DATE_STAMP = "2026-02-03T08:00:00Z"
STATE = {"watermark": "2026-01-01T00:05:00Z"}


@dataclass
class Walked:
    """What one walk brought."""

    pages: list[Page] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    error: PipelineError | None = None

    @property
    def ids(self) -> list[int]:
        """In the order of arrival."""
        return [int(bytes(record["id"])) for page in self.pages for record in page.records]

    @property
    def commit(self) -> CursorState | None:
        """What the walk would commit; nothing unless it ended well."""
        assert all(page.commit is None and not page.is_last for page in self.pages[:-1])
        return self.pages[-1].commit if self.pages and self.pages[-1].is_last else None


def walked(
    script: Script,
    state: CursorState | None = None,
    entity: str = "organizations",
    resume: CursorState | None = None,
) -> Walked:
    """One walk against a scripted account."""
    walk = Walked()

    async def act() -> None:
        async with scripted(script) as server:
            time = Time()
            pipedrive = PipedriveConnector(clock=time.clock)
            async with pipedrive.open(Vault(server.url).access) as source:
                try:
                    async for page in source.pages(pipedrive.entities[entity], state, resume):
                        walk.pages.append(page)
                except PipelineError as error:
                    walk.error = error
            walk.asked = server.asked

    run(act())
    return walk


def company(count: int, **more: object) -> World:
    """An account of so many organizations, edited a second apart, the oldest id last."""
    rows = [organization(number, second=count - number) for number in range(1, count + 1)]
    return World(rows={"organizations": rows}, **more)  # type: ignore[arg-type]


def test_entities_come_in_the_order_in_which_they_explain_each_other() -> None:
    """A field or a user must be known before the records that name it."""
    assert list(connector("pipedrive").entities) == [
        "organization_fields",
        "person_fields",
        "users",
        "organizations",
        "persons",
    ]


def test_every_column_says_what_it_holds() -> None:
    """Descriptions become comments in the database, which analysts read."""
    columns = [column for spec in ENTITIES.values() for column in (spec.key, *spec.columns)]

    assert all(column.description.endswith(".") for column in columns)
    assert {column.type for column in columns} == set(ColumnType)
    for spec in ENTITIES.values():
        names = [spec.key.name, *(column.name for column in spec.columns)]
        assert len(names) == len(set(names))
        assert spec.version_column in {None, *names}


def test_a_wider_scope_allows_the_same_read() -> None:
    """An app may hold contacts:full for what it writes."""
    specs = ENTITIES.values()

    assert missing_scopes(specs, ["base", "contacts:full", "users:read"]) == ()
    assert missing_scopes(specs, ["base", "users:read"]) == ("contacts:read",)
    assert missing_scopes(specs, []) == ("contacts:read", "users:read")


def test_an_unknown_system_is_a_wrong_word() -> None:
    """It names those that there are."""
    assert set(SYSTEMS) == {"pipedrive"}
    with pytest.raises(UsageError, match="pipedrive"):
        connector("hubspot")


def test_a_first_walk_reads_everything_oldest_change_first() -> None:
    """Nothing is missed and nothing comes twice while nobody edits, and it may be resumed."""
    walk = walked(company(7))

    assert sorted(walk.ids) == [1, 2, 3, 4, 5, 6, 7]
    assert walk.commit == {"watermark": DATE_STAMP}
    first, *others = walk.asked
    assert first.query == {"sort_by": "update_time", "sort_direction": "asc", "limit": "500"}
    assert all(
        {k: v for k, v in asked.query.items() if k != "cursor"} == first.query for asked in others
    )


def test_a_later_walk_reads_what_changed_since_the_watermark_less_the_overlap() -> None:
    """Whole seconds: Pipedrive answers fractions with 400."""
    rows = [organization(1, 0), organization(2, 1), organization(3, 400), organization(4, 400)]
    walk = walked(World(rows={"organizations": rows}), {"watermark": "2026-01-01T00:05:01Z"})

    assert walk.ids == [2, 3, 4]
    assert walk.asked[0].query["updated_since"] == "2026-01-01T00:00:01Z"
    assert walk.asked[1].query["updated_since"] == "2026-01-01T00:00:01Z"
    assert walk.asked[1].query["sort_by"] == "update_time"
    assert walk.asked[1].query["sort_direction"] == "asc"  # descending, an edit would be missed
    assert walk.commit == {"watermark": DATE_STAMP}


def test_an_empty_account_is_one_empty_page() -> None:
    """A walk always ends with a page that says so."""
    walk = walked(World())

    assert [page.is_last for page in walk.pages] == [True]
    assert walk.commit == {"watermark": DATE_STAMP}


def test_a_state_that_cannot_be_read_reads_everything() -> None:
    """Dear, but nothing is lost; a guess could lose rows."""
    for state in ({}, {"watermark": "yesterday"}, {"watermark": None}, {"other": "x"}):
        walk = walked(company(2), state)

        assert walk.ids == [2, 1]
        assert "updated_since" not in walk.asked[0].query


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


@pytest.mark.parametrize("state", [None, {"watermark": "2026-01-01T00:00:00Z"}])
def test_a_long_walk_commits_the_time_at_which_it_began(state: CursorState | None) -> None:
    """Its end would do for a short one only: ten minutes a page, and an edit after the first."""
    world = company(6)

    def edit(page: int) -> None:
        world.date = f"Tue, 03 Feb 2026 08:{page}0:00 GMT"
        if page == 2:
            world.rows["organizations"][0 if state is None else 5].update(
                name="Edited", update_time="2026-02-03T08:15:00Z"
            )

    world.before_page = edit
    first = walked(world, state)
    world.before_page = lambda _: None
    again = walked(world, first.commit)

    assert first.commit == {"watermark": "2026-02-03T08:10:00Z"}
    assert again.ids == ([1] if state is None else [6])


def test_without_a_server_date_a_first_walk_commits_the_newest_stamp_and_saw_all_edits() -> None:
    """What is edited meanwhile moves ahead of the walk, so the newest stamp jumps over nothing."""
    world = company(6, date=None)

    def edit(page: int) -> None:
        if page == 3:
            world.rows["organizations"][0]["update_time"] = "2026-01-02T00:00:00Z"
            world.rows["organizations"][5]["update_time"] = "2026-01-03T00:00:00Z"

    world.before_page = edit
    first = walked(world)

    assert first.commit == {"watermark": "2026-01-03T00:00:00Z"}
    assert first.ids[-2:] == [1, 6]


def test_without_a_server_date_a_later_walk_commits_the_newest_stamp_seen() -> None:
    """It goes by that very stamp, so that later edits are stamped later or equal."""
    walk = walked(company(6, date=None), {"watermark": "2026-01-01T00:00:00Z"})

    assert walk.commit == {"watermark": "2026-01-01T00:00:05Z"}


@pytest.mark.parametrize("date", [None, "Thu, 01 Jan 1970 00:00:00 GMT", "no date"])
def test_a_watermark_never_moves_backwards(date: str | None) -> None:
    """An empty walk, or a server whose clock fell back, must not read the past again."""
    state = {"watermark": "2026-01-20T00:00:00Z"}

    assert walked(World(date=date), state).commit == state
    assert walked(World(date="Mon, 19 Jan 2026 00:00:00 GMT"), state).commit == state


def test_an_absurd_server_date_is_not_believed() -> None:
    """A watermark in 2099 would hide every edit for ever."""
    walk = walked(company(2, date="Thu, 01 Jan 2099 00:00:00 GMT"))

    assert walk.commit == {"watermark": "2026-01-01T00:00:01Z"}


@pytest.mark.parametrize("minutes", [-10, 10])
def test_the_server_s_clock_counts_not_ours(minutes: int) -> None:
    """Ours stands at eight o'clock; a server ten minutes off stamps its rows by its own."""
    stamp = f"Tue, 03 Feb 2026 {'08:10' if minutes > 0 else '07:50'}:00 GMT"

    walk = walked(company(2, date=stamp))

    assert walk.commit == {"watermark": f"2026-02-03T{stamp[17:22]}:00Z"}


def endless(cursors: Callable[[int], object], rows: Callable[[int], list[int]]) -> Script:
    """A list that always promises more."""
    count = 0

    def script(_: Asked) -> Reply:
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
        (lambda: endless(lambda n: f"c{n}", lambda _: []), 18),
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
    assert len(walk.asked) <= pages_max


def test_empty_pages_with_a_cursor_are_gone_through_and_commit_nothing() -> None:
    """Undocumented, and no sign of an end; whatever they stood in for was not seen."""
    world = company(6)

    def script(asked: Asked) -> Reply:
        cursor = asked.query.get("cursor", "")
        if cursor and not cursor.startswith("empty"):
            return listed([], "empty" + cursor)
        plain = {k: v.removeprefix("empty") for k, v in asked.query.items()}
        return world(replace(asked, query=plain))

    walk = walked(script)

    assert walk.ids == [6, 5, 4, 3, 2, 1]
    assert walk.commit is None
    assert isinstance(walk.error, SourceBroke)


def test_an_expired_cursor_begins_the_walk_anew() -> None:
    """From the walk's own beginning, not as its end."""
    world, refusals = company(6), [1]

    def script(asked: Asked) -> Reply:
        if "cursor" in asked.query and json.loads(asked.query["cursor"])[-1] == 2 and refusals:
            refusals.pop()
            return as_json({"success": False, "error": "bad cursor"}, 400)
        return world(asked)

    walk = walked(script)

    assert walk.ids == [6, 5, 4, 3, 6, 5, 4, 3, 2, 1]
    assert walk.commit == {"watermark": DATE_STAMP}


def test_a_cursor_that_is_always_refused_is_an_error() -> None:
    """Three beginnings are enough to know."""
    world = company(6)

    def script(asked: Asked) -> Reply:
        return as_json({"success": False}, 400) if "cursor" in asked.query else world(asked)

    walk = walked(script)

    assert isinstance(walk.error, SourceBroke)
    assert len(walk.asked) == 6
    assert walk.commit is None


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_source_that_dies_in_the_middle_ends_nothing_well(status: int) -> None:
    """A 5xx taken for the end once emptied somebody's table."""
    world = company(6)

    def script(asked: Asked) -> Reply:
        return Reply(status) if world.pages_served >= 2 else world(asked)

    walk = walked(script)

    assert isinstance(walk.error, SourceUnavailable)
    assert walk.ids == [6, 5, 4, 3]
    assert walk.commit is None


def test_ten_thousand_records_of_one_second_all_arrive() -> None:
    """An import stamps them all alike; a cursor by time alone would loop or skip."""
    rows = [organization(number) for number in range(1, 10_001)]
    walk = walked(World(rows={"organizations": rows}, page_rows=500), STATE)

    assert walk.ids == list(range(1, 10_001))


def test_records_without_a_stamp_or_a_usable_id_pass_through() -> None:
    """Whether a row can be stored is decided where it is stored."""
    rows: list[Row] = [
        {"id": 1, "update_time": None},
        {"id": 2},
        {"id": 3, "update_time": 5},
        {"id": 4, "name": "x"},
    ]

    walk = walked(World(rows={"organizations": rows}, date=None))
    odd = walked(lambda _: listed([{"id": None}, {"name": "x"}, {"id": "7a"}], None))

    assert sorted(walk.ids) == [1, 2, 3, 4]
    assert walk.commit is None
    assert len(odd.pages[0].records) == 3


@pytest.mark.parametrize("unstamped", ["", "~"], ids=["first", "last"])
def test_a_resumed_walk_reads_the_rest_and_whatever_has_no_stamp(unstamped: str) -> None:
    """Where they sort last, a list from a stamp on leaves records without one out."""
    rows = [organization(number, number) for number in range(1, 7)]
    world = World(rows={"organizations": [*rows, {"id": 7, "update_time": None}]})
    world.unstamped = unstamped

    first = walked(world)
    resumed = walked(world, resume=first.pages[1].resume)

    seen_before = {int(bytes(row["id"])) for page in first.pages[:2] for row in page.records}
    assert seen_before | set(resumed.ids) == {1, 2, 3, 4, 5, 6, 7}
    assert set(resumed.ids) <= {3, 4, 5, 6, 7}
    assert resumed.commit == {"watermark": DATE_STAMP}


def test_a_page_with_values_that_are_no_json_arrives_counted() -> None:
    """One NaN must not keep the page out for ever."""
    body = b'{"success":true,"data":[{"id":1,"annual_revenue":NaN}],"additional_data":null}'

    walk = walked(lambda _: Reply(body=body))

    assert bytes(walk.pages[0].records[0]["annual_revenue"]) == b'"NaN"'
    assert walk.pages[0].mended_count == 1


@pytest.mark.parametrize("entity", ["organization_fields", "person_fields"])
def test_field_definitions_follow_their_cursor(entity: str) -> None:
    """An account may have more than 500 fields."""

    def script(asked: Asked) -> Reply:
        page = int(asked.query.get("cursor", "0"))
        return listed([{"field_code": f"f{page}"}], str(page + 1) if page < 2 else None)

    walk = walked(script, entity=entity)

    assert [bytes(page.records[0]["field_code"]) for page in walk.pages] == [
        b'"f0"',
        b'"f1"',
        b'"f2"',
    ]
    assert walk.commit is None
    assert walk.pages[-1].is_last
    assert walk.asked[0].query == {"limit": "500"}


def test_users_come_as_one_whole_list() -> None:
    """v1 knows no pages for them, and no parameters."""
    rows = [{"id": 1, "name": "Ada", "modified": "2026-01-31 10:20:30"}]

    walk = walked(World(rows={"users": rows}), entity="users")

    assert walk.ids == [1]
    assert walk.asked[0].path == "/v1/users"
    assert walk.asked[0].query == {}


def picked(entity: str, ids: list[str], world: World) -> tuple[list[int], list[Asked]]:
    """The ids that `records` brought, and what was asked."""

    async def act() -> tuple[list[int], list[Asked]]:
        async with scripted(world) as server:
            pipedrive = connector("pipedrive")
            async with pipedrive.open(Vault(server.url).access) as source:
                pages = await source.records(pipedrive.entities[entity], ids)
            found = [int(bytes(record["id"])) for page in pages for record in page.records]
            return found, server.asked

    return run(act())


def test_single_records_are_read_a_hundred_a_call() -> None:
    """Pipedrive's maximum; ids that are gone are simply absent."""
    ids = [str(number) for number in range(1, 251)]

    found, asked = picked("organizations", [*ids, "9999", "7"], company(250))

    assert found == list(range(1, 251))
    assert [len(one.query["ids"].split(",")) for one in asked] == [100, 100, 51]


def test_an_answer_to_ids_is_read_to_its_last_page() -> None:
    """What is not on the first page would be taken for deleted."""
    world = replace(company(60), picked_rows=25)

    found, asked = picked("organizations", [str(number) for number in range(1, 61)], world)

    assert found == list(range(1, 61))
    assert [one.query.get("cursor") for one in asked] == [None, "25", "50"]
    assert {one.query["ids"] for one in asked} == {asked[0].query["ids"]}


def test_an_answer_to_ids_that_does_not_end_is_broken() -> None:
    with pytest.raises(SourceBroke, match="for 3 ids does not end"):
        picked("organizations", ["1", "2", "3"], replace(company(3), picked_rows=0))


def test_ids_that_no_record_can_have_are_not_asked_for() -> None:
    """One of them would turn the whole call into a 400."""
    found, asked = picked("organizations", ["7a", "", "1,2", "²"], company(3))

    assert found == []
    assert asked == []


def test_users_are_picked_from_their_whole_list() -> None:
    """They have no `ids=`."""
    world = World(rows={"users": [{"id": 1}, {"id": 2}, {"name": "without id"}]})

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
    """A user who is no administrator sees a part; the operator should be told."""

    async def act() -> tuple[Account, list[str]]:
        body = {"success": True, "data": {**ME, "access": access}}
        async with (
            scripted(lambda _: as_json(body)) as server,
            connector("pipedrive").open(Vault(server.url).access) as source,
        ):
            return await source.account(), [asked.path for asked in server.asked]

    account, paths = run(act())

    assert (account.company_id, account.company_domain) == ("123", "nordlicht")
    assert (account.user_id, account.user_name) == ("900", "Ada")
    assert account.is_admin is is_admin
    assert paths == ["/v1/users/me"]


def test_an_account_without_a_number_is_no_account() -> None:
    """Two companies would pass for one; nothing is stored under an empty name."""

    async def act() -> None:
        time = Time()
        async with scripted(lambda _: as_json({"success": True, "data": {"id": 1}})) as server:
            pipedrive = PipedriveConnector(clock=time.clock)
            async with pipedrive.open(Vault(server.url).access) as source:
                await source.account()

    with pytest.raises(SourceBroke):
        run(act())


def test_single_records_on_a_second_page_are_an_error() -> None:
    """Those left there would be taken for deleted."""

    async def act() -> None:
        async with scripted(lambda _: listed([organization(1)], "more")) as server:
            pipedrive = connector("pipedrive")
            async with pipedrive.open(Vault(server.url).access) as source:
                await source.records(pipedrive.entities["organizations"], ["1", "2"])

    with pytest.raises(SourceBroke):
        run(act())


def test_every_call_reports_its_price() -> None:
    """10 for a page of v2, 20 for v1's users, 2 for the account."""

    async def act() -> list[tuple[str, int]]:
        async with scripted(company(3)) as server:
            vault, pipedrive = Vault(server.url), connector("pipedrive")
            async with pipedrive.open(vault.access) as source:
                await source.account()
                for spec in pipedrive.entities.values():
                    async for _ in source.pages(spec, None):
                        pass
            return [(call.kind, call.tokens) for call in vault.calls]

    assert run(act()) == [
        ("users/me", 2),
        ("list organization_fields", 10),
        ("list person_fields", 10),
        ("list users", 20),
        ("list organizations", 10),
        ("list organizations", 10),
        ("list persons", 10),
    ]


def test_opening_a_source_asks_nothing() -> None:
    """Definitions are loaded where there is no network."""

    async def act() -> None:
        async with connector("pipedrive").open(Vault("https://nowhere.invalid").access):
            pass

    run(act())
    assert timedelta(minutes=5) == ENTITIES["persons"].cursor.overlap  # type: ignore[union-attr]
