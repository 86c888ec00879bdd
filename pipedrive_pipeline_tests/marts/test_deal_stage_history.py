"""Visits of deals to stages, computed by hand from what was read, and from the changelog.

Days are those of January 2026; a deal is made on the first.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import RowCounts, build
from pipedrive_pipeline.marts.declared import DEAL_STAGE_HISTORY
from pipedrive_pipeline.marts.erasure import erase_rows
from pipedrive_pipeline.marts.sources import mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, user
from pipedrive_pipeline_tests.warehouse.databases import ACME

HOUR, DAY = 3_600, 86_400
ACME_IN_PIPEDRIVE = Scope(ACME, SYSTEM)
Visit = tuple[str, str, str | None]


def at(day: float) -> str:
    """A time in January 2026: 1.5 is noon of the first."""
    hours = round((day - int(day)) * 24)
    return f"2026-01-{int(day):02}T{hours:02}:00:00Z"


def short(instant: Any) -> str | None:
    """Day and hour of a time, such as `05` or `05.12`."""
    if instant is None:
        return None
    return f"{instant:%d}" if f"{instant:%H%M%S}" == "000000" else f"{instant:%d.%H}"


def deal(number: int = 1, *, day: float = 1, moved: float | None = None, **facts: Any) -> Any:
    """A deal that was last edited on a day, and last moved on another one."""
    return {
        "id": number,
        "title": f"Deal {number}",
        "stage_id": 1,
        "pipeline_id": 1,
        "status": "open",
        "value": 100,
        "currency": "EUR",
        "add_time": at(1),
        "update_time": at(day),
        "stage_change_time": None if moved is None else at(moved),
        "is_deleted": False,
        "is_archived": False,
        **facts,
    }


def change(
    number: int, field: str, old: Any, new: Any, day: float, *, of: int = 1, by: int = 9
) -> dict[str, Any]:
    """An entry of a deal's changelog."""
    return {
        "id": f"{of}/{number}",
        "deal_id": of,
        "field_key": field,
        "old_value": None if old is None else str(old),
        "new_value": None if new is None else str(new),
        "actor_user_id": by,
        "time": at(day),
    }


def read(raw: RawTables, *versions: Any) -> RowCounts:
    """Reads a deal in each of its versions, each by a load of its own, and builds."""
    for version in versions:
        raw.load(deals=[version])
    return counts(raw)


def counts(raw: RawTables, **facts: Any) -> RowCounts:
    return build(raw.warehouse, ACME_IN_PIPEDRIVE, **facts).counts["deal_stage_history"]


def rows(raw: RawTables, number: int = 1, *, also_gone: bool = False) -> list[dict[str, Any]]:
    """A deal's visits in order; those that are gone only on request."""
    with raw.warehouse.transaction() as connection:
        query = (
            "select *, xmin::text as written_by from crm.deal_stage_history"
            " where deal_remote_id = %s and (%s or deleted_at is null)"
            " order by entered_at, left_at nulls last, remote_id"
        )
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute(query, (str(number), also_gone)).fetchall()


def visits(raw: RawTables, number: int = 1) -> list[Visit]:
    """Stage, entry and leaving of each visit."""
    return [
        (row["stage_remote_id"], short(row["entered_at"]), short(row["left_at"]))  # type: ignore[misc]
        for row in rows(raw, number)
    ]


def statuses(row: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Statuses of a visit: name, day, whether the day is exact."""
    return [(entry["status"], entry["at"][8:10], entry["is_exact"]) for entry in row["statuses"]]


def test_a_deal_that_never_moved_entered_its_stage_when_it_was_made(raw: RawTables) -> None:
    """Exactly: without a move its stage is the one that it was made in."""
    read(raw, deal(day=9))

    (row,) = rows(raw)
    assert (short(row["entered_at"]), row["left_at"], row["seconds"]) == ("01", None, None)
    assert (row["entered_at_is_exact"], row["left_at_is_exact"]) == (True, None)
    assert (row["origin"], row["changed_by_id"]) == ("seeded", None)
    assert (row["amount"], row["currency"], row["pipeline_remote_id"]) == (100, "EUR", "1")
    assert row["open_seconds"] is None
    assert statuses(row) == [("open", "01", True)]


def test_a_deal_that_was_first_read_after_moves_has_its_present_visit_only(raw: RawTables) -> None:
    """What was before is not known, and not invented."""
    read(raw, deal(day=9, moved=5, stage_id=3))

    assert visits(raw) == [("3", "05", None)]
    assert rows(raw)[0]["entered_at_is_exact"]
    assert rows(raw)[0]["origin"] == "seeded"


def test_a_move_between_two_reads_ends_a_visit_and_begins_one(raw: RawTables) -> None:
    read(raw, deal(), deal(day=6, moved=5, stage_id=2, value=250))

    first, second = rows(raw)
    assert visits(raw) == [("1", "01", "05"), ("2", "05", None)]
    assert (first["seconds"], first["open_seconds"]) == (4 * DAY, 4 * DAY)
    assert (first["origin"], second["origin"]) == ("seeded", "diff")
    assert (first["left_at_is_exact"], second["entered_at_is_exact"]) == (True, True)
    assert (first["amount"], second["amount"]) == (100, 250)


def test_reads_without_a_move_change_no_visit(raw: RawTables) -> None:
    """An edit of the title or the value, archiving and coming back are no moves."""
    read(raw, deal(), deal(day=3, moved=2, stage_id=2))
    before = rows(raw)

    outcome = read(
        raw,
        deal(day=4, moved=2, stage_id=2, value=300),
        deal(day=5, moved=2, stage_id=2, is_archived=True, archive_time=at(5)),
        deal(day=6, moved=2, stage_id=2, title="Another"),
    )

    assert outcome == RowCounts(unchanged=2)
    assert rows(raw) == before


def test_a_stage_that_is_entered_again_is_another_visit(raw: RawTables) -> None:
    read(
        raw,
        deal(),
        deal(day=2, moved=2, stage_id=2),
        deal(day=3, moved=3, stage_id=1),
        deal(day=4, moved=4, stage_id=2),
    )

    assert visits(raw) == [
        ("1", "01", "02"),
        ("2", "02", "03"),
        ("1", "03", "04"),
        ("2", "04", None),
    ]
    assert len({row["remote_id"] for row in rows(raw)}) == 4


def test_a_move_away_and_back_between_two_reads_is_another_visit(raw: RawTables) -> None:
    """The other stage is not known; when the first visit ended is not either."""
    read(raw, deal(), deal(day=6, moved=5, stage_id=1))

    first, second = rows(raw)
    assert visits(raw) == [("1", "01", "05"), ("1", "05", None)]
    assert first["left_at_is_exact"] is False
    assert second["entered_at_is_exact"]


def test_several_moves_between_two_reads_are_one(raw: RawTables) -> None:
    read(raw, deal(), deal(day=9, moved=8, stage_id=4))

    assert visits(raw) == [("1", "01", "08"), ("4", "08", None)]


def test_a_stage_that_differs_without_a_time_of_moving_is_entered_when_it_was_edited(
    raw: RawTables,
) -> None:
    """As where a stage is deleted and its deals are put into another one."""
    read(raw, deal(), deal(day=7, stage_id=2))

    first, second = rows(raw)
    assert visits(raw) == [("1", "01", "07"), ("2", "07", None)]
    assert (first["left_at_is_exact"], second["entered_at_is_exact"]) == (False, False)


def test_a_clock_that_goes_back_makes_no_negative_visit(raw: RawTables) -> None:
    """The order of reading is the order of the visits."""
    read(raw, deal(), deal(day=10, moved=10, stage_id=2), deal(day=5, moved=5, stage_id=3))

    by_stage = {row["stage_remote_id"]: row for row in rows(raw)}
    assert by_stage["2"]["seconds"] == 0
    assert short(by_stage["2"]["left_at"]) == "10"
    assert (short(by_stage["3"]["entered_at"]), by_stage["3"]["left_at"]) == ("05", None)


def test_two_moves_in_one_second_are_two_visits(raw: RawTables) -> None:
    """Also into the same stage: each row has an id of its own."""
    same = {"changed": 2}
    read(raw, deal(), deal(day=2, moved=2, stage_id=2), deal(day=2, moved=2, stage_id=3))
    read(raw, deal(day=2, moved=2, stage_id=2))

    found = rows(raw)
    assert same["changed"] == 2
    assert sorted(row["stage_remote_id"] for row in found) == ["1", "2", "2", "3"]
    assert [row["stage_remote_id"] for row in found if row["left_at"] is None] == ["2"]
    assert len({row["remote_id"] for row in found}) == 4


def test_another_pipeline_is_another_visit_with_that_pipeline(raw: RawTables) -> None:
    read(raw, deal(), deal(day=3, moved=3, stage_id=20, pipeline_id=2))

    assert [(row["stage_remote_id"], row["pipeline_remote_id"]) for row in rows(raw)] == [
        ("1", "1"),
        ("20", "2"),
    ]


def test_a_won_deal_stays_in_its_stage(raw: RawTables) -> None:
    """The visit goes on, but not its open time."""
    read(raw, deal(), deal(day=4, status="won", won_time=at(3)))

    (row,) = rows(raw)
    assert (row["left_at"], row["open_seconds"]) == (None, 2 * DAY)
    assert (short(row["won_at"]), row["lost_at"], row["reopened_at"]) == ("03", None, None)
    assert statuses(row) == [("open", "01", True), ("won", "03", True)]


def test_a_deal_that_is_first_read_as_won_was_open_before(raw: RawTables) -> None:
    read(raw, deal(day=9, moved=4, stage_id=2, status="won", won_time=at(7)))

    (row,) = rows(raw)
    assert statuses(row) == [("open", "04", False), ("won", "07", True)]
    assert (short(row["won_at"]), row["open_seconds"]) == ("07", 3 * DAY)


def test_a_lost_deal_that_is_reopened_and_won_keeps_all_three(raw: RawTables) -> None:
    """Pipedrive forgets the time of losing and tells none of reopening: that is the edit's."""
    read(
        raw,
        deal(),
        deal(day=3, status="lost", lost_time=at(3)),
        deal(day=5),
        deal(day=8, status="won", won_time=at(8)),
    )

    (row,) = rows(raw)
    assert statuses(row) == [
        ("open", "01", True),
        ("lost", "03", True),
        ("open", "05", False),
        ("won", "08", True),
    ]
    assert [short(row[name]) for name in ("lost_at", "reopened_at", "won_at")] == ["03", "05", "08"]
    assert row["open_seconds"] == (2 + 3) * DAY


def test_each_win_counts_in_its_month_although_the_deal_was_reopened(raw: RawTables) -> None:
    """Won in two stages: two wins, while the deal itself is won once."""
    read(
        raw,
        deal(),
        deal(day=2, status="won", won_time=at(2)),
        deal(day=4, moved=4, stage_id=2),
        deal(day=6, moved=4, stage_id=2, status="won", won_time=at(6)),
    )

    assert visits(raw) == [("1", "01", "04"), ("2", "04", None)]
    assert [short(row["won_at"]) for row in rows(raw)] == ["02", "06"]
    assert short(rows(raw)[1]["reopened_at"]) == "04"
    assert [row["open_seconds"] for row in rows(raw)] == [DAY, 2 * DAY]


def test_visits_say_what_a_count_of_deals_needs(raw: RawTables) -> None:
    """deal_funnel compares the visits of each deal no more: the last one in each stage says it."""
    facts = ("is_last_in_stage", "stage_open_seconds", "last_status", "stages_visited")

    read(raw, deal(), deal(day=3, moved=3, stage_id=2), deal(day=4, moved=4, stage_id=1))
    on_its_way = [tuple(row[name] for name in facts) for row in rows(raw)]
    read(raw, deal(day=9, moved=4, stage_id=1, status="won", won_time=at(9)))

    assert on_its_way == [
        (False, None, "open", []),
        (True, DAY, "open", []),
        (True, None, "open", ["1", "2"]),
    ]
    assert [tuple(row[name] for name in facts) for row in rows(raw)] == [
        (False, None, "open", []),
        (True, DAY, "open", []),
        (True, (2 + 5) * DAY, "won", ["1", "2"]),
    ]


def test_a_closed_deal_that_is_moved_was_won_once(raw: RawTables) -> None:
    read(
        raw,
        deal(),
        deal(day=3, status="won", won_time=at(3)),
        deal(day=5, moved=5, stage_id=2, status="won", won_time=at(3)),
    )

    assert [short(row["won_at"]) for row in rows(raw)] == ["03", None]
    assert statuses(rows(raw)[1]) == [("won", "05", True)]
    assert rows(raw)[1]["open_seconds"] == 0


def test_a_deal_moved_and_won_between_two_reads_was_open_in_between(raw: RawTables) -> None:
    read(raw, deal(), deal(day=8, moved=4, stage_id=2, status="won", won_time=at(7)))

    assert statuses(rows(raw)[1]) == [("open", "04", True), ("won", "07", True)]
    assert rows(raw)[1]["open_seconds"] == 3 * DAY


def test_a_deal_won_before_it_was_moved_between_two_reads_won_once(raw: RawTables) -> None:
    """The stage that it was won in is not known: it came with the win to where it is."""
    read(raw, deal(), deal(day=8, moved=7, stage_id=2, status="won", won_time=at(4)))

    assert statuses(rows(raw)[1]) == [("won", "04", True)]
    assert rows(raw)[1]["statuses"][0]["is_change"]
    assert (short(rows(raw)[1]["won_at"]), rows(raw)[1]["open_seconds"]) == ("04", 0)
    assert short(rows(raw)[1]["entered_at"]) == "07"


def test_a_win_is_a_change_and_what_a_deal_comes_with_is_none(raw: RawTables) -> None:
    read(
        raw,
        deal(),
        deal(day=3, status="won", won_time=at(3)),
        deal(day=5, moved=5, stage_id=2, status="won", won_time=at(3)),
    )

    assert [
        [(entry["status"], entry["is_change"]) for entry in row["statuses"]] for row in rows(raw)
    ] == [[("open", False), ("won", True)], [("won", False)]]


def test_a_time_of_winning_that_is_corrected_is_one_win(raw: RawTables) -> None:
    read(
        raw,
        deal(),
        deal(day=5, status="won", won_time=at(5)),
        deal(day=6, status="won", won_time=at(3)),
    )

    assert statuses(rows(raw)[0]) == [("open", "01", True), ("won", "03", True)]


@pytest.mark.slow
def test_the_visits_of_a_deleted_deal_are_gone_with_it_and_come_back(raw: RawTables) -> None:
    """It is still won, lost or open: a deletion is no status of a visit."""
    read(raw, deal(), deal(day=2, moved=2, stage_id=2))
    before = [row["remote_id"] for row in rows(raw)]

    gone = read(raw, deal(day=3, moved=2, stage_id=2, status="deleted", is_deleted=True))
    deleted = rows(raw, also_gone=True)
    restored = read(raw, deal(day=4, moved=2, stage_id=2))

    assert (gone, restored) == (RowCounts(deleted=2), RowCounts(updated=2))
    assert {row["deletion_reason"] for row in deleted} == {"deleted"}
    assert [statuses(row) for row in deleted] == [[("open", "01", True)], [("open", "02", True)]]
    assert [row["remote_id"] for row in rows(raw)] == before


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["deleted", "merged", "invisible"])
def test_the_visits_of_a_deal_that_is_gone_say_why(raw: RawTables, reason: str) -> None:
    read(raw, deal(1), deal(2))
    raw.mark("deals", 2, reason, merged_into=1 if reason == "merged" else None)

    assert counts(raw) == RowCounts(deleted=1)
    assert [row["deletion_reason"] for row in rows(raw, 2, also_gone=True)] == [reason]
    assert counts(raw, is_whole=True) == RowCounts(unchanged=2)


def test_visits_are_linked_to_deal_stage_pipeline_and_user(raw: RawTables) -> None:
    raw.load(
        users=[user(9, "Anna")],
        deals=[deal()],
        deal_changes=[change(1, "stage_id", 1, 2, 3)],
    )
    counts(raw)

    moved = rows(raw)[1]
    assert moved["changed_by_id"] is not None
    assert moved["changed_by_remote_id"] == "9"
    assert {name for name in ("deal_remote_id", "stage_remote_id") if moved[name]} == {
        "deal_remote_id",
        "stage_remote_id",
    }


def test_the_changelog_gives_every_visit_exactly(raw: RawTables) -> None:
    """What was one visit since the last move becomes the whole way of the deal."""
    read(raw, deal(day=9, moved=8, stage_id=3, value=500))
    assert visits(raw) == [("3", "08", None)]

    raw.load(
        deal_changes=[
            change(1, "stage_id", 1, 2, 3),
            change(2, "value", 100, 500, 4),
            change(3, "stage_id", 2, 1, 5),
            change(4, "stage_id", 1, 3, 8, by=8),
        ]
    )
    counts(raw)

    found = rows(raw)
    assert visits(raw) == [
        ("1", "01", "03"),
        ("2", "03", "05"),
        ("1", "05", "08"),
        ("3", "08", None),
    ]
    assert {row["origin"] for row in found} == {"source_history"}
    assert all(row["entered_at_is_exact"] for row in found)
    assert [row["left_at_is_exact"] for row in found] == [True, True, True, None]
    assert [row["changed_by_remote_id"] for row in found] == [None, "9", "9", "8"]
    assert [row["amount"] for row in found] == [100, 100, 500, 500]


def test_a_visit_that_is_known_from_both_stays_the_same_row(raw: RawTables) -> None:
    read(raw, deal(day=9, moved=8, stage_id=3))
    before = rows(raw)[0]

    raw.load(deal_changes=[change(1, "stage_id", 1, 3, 8)])
    outcome = counts(raw)

    assert outcome == RowCounts(created=1, updated=1)
    assert rows(raw)[1]["id"] == before["id"]


def test_a_moment_between_the_times_of_both_is_no_visit(raw: RawTables) -> None:
    """The deal's own time of the move may be a second off: the changelog's counts."""
    logged = change(1, "stage_id", 1, 3, 8) | {"time": "2026-01-08T00:00:01Z"}
    read(raw, deal(day=9, moved=8, stage_id=3))

    raw.load(deal_changes=[logged])
    counts(raw)

    assert [row["stage_remote_id"] for row in rows(raw)] == ["1", "3"]
    assert f"{rows(raw)[1]['entered_at']:%S}" == "01"
    assert [row["deletion_reason"] for row in rows(raw, also_gone=True)] == [
        None,
        "deleted",
        None,
    ]


def test_moves_after_the_changelog_was_read_follow_it(raw: RawTables) -> None:
    raw.load(
        deals=[deal(day=4, moved=3, stage_id=2)], deal_changes=[change(1, "stage_id", 1, 2, 3)]
    )
    read(raw, deal(day=6, moved=6, stage_id=5))

    assert visits(raw) == [("1", "01", "03"), ("2", "03", "06"), ("5", "06", None)]
    assert [row["origin"] for row in rows(raw)] == ["source_history", "source_history", "diff"]


def test_what_was_read_before_the_end_of_the_changelog_is_in_it(raw: RawTables) -> None:
    """Reads that fell between two entries repeat none of them."""
    read(raw, deal(), deal(day=3, moved=3, stage_id=2), deal(day=8, moved=8, stage_id=3))
    raw.load(
        deal_changes=[
            change(1, "stage_id", 1, 2, 3),
            change(2, "stage_id", 2, 4, 5),
            change(3, "stage_id", 4, 3, 8),
        ]
    )
    counts(raw)

    assert visits(raw) == [
        ("1", "01", "03"),
        ("2", "03", "05"),
        ("4", "05", "08"),
        ("3", "08", None),
    ]


def test_the_changelog_knows_when_a_deal_was_reopened(raw: RawTables) -> None:
    read(raw, deal(day=9, status="won", won_time=at(9)))
    raw.load(
        deal_changes=[
            change(1, "status", "open", "lost", 2),
            change(2, "status", "lost", "open", 4.5),
            change(3, "status", "open", "won", 9),
        ]
    )
    counts(raw)

    (row,) = rows(raw)
    assert statuses(row) == [
        ("open", "01", True),
        ("lost", "02", True),
        ("open", "04", True),
        ("won", "09", True),
    ]
    assert row["open_seconds"] == DAY + 4 * DAY + 12 * HOUR


def test_changes_of_one_second_follow_each_other(raw: RawTables) -> None:
    """A pipeline changes with its stage; of two moves one begins where the other ended."""
    read(raw, deal(day=3, moved=3, stage_id=21, pipeline_id=2))
    raw.load(
        deal_changes=[
            change(1, "stage_id", 20, 21, 3),
            change(2, "stage_id", 1, 20, 3),
            change(3, "pipeline_id", 1, 2, 3),
        ]
    )
    counts(raw)

    found = [(row["stage_remote_id"], row["pipeline_remote_id"]) for row in rows(raw)]
    assert sorted(found) == [("1", "1"), ("20", "2"), ("21", "2")]
    assert [row["stage_remote_id"] for row in rows(raw) if row["left_at"] is None] == ["21"]


def test_a_changelog_without_the_moves_is_not_believed(raw: RawTables) -> None:
    """The deal moved, and the changelog has no move: where it was before is not known."""
    read(raw, deal(day=9, moved=8, stage_id=3))
    raw.load(deal_changes=[change(1, "value", 1, 100, 4)])
    counts(raw)

    assert visits(raw) == [("3", "08", None)]
    assert rows(raw)[0]["origin"] == "seeded"


def test_a_remap_makes_the_same_rows_from_raw(raw: RawTables) -> None:
    """Also after every row was deleted."""
    read(raw, deal(), deal(day=2, moved=2, stage_id=2), deal(day=4, status="lost", lost_time=at(4)))
    raw.load(deals=[deal(2)], deal_changes=[change(1, "stage_id", 3, 1, 2, of=2)])
    counts(raw)
    facts = ("remote_id", "entered_at", "left_at", "statuses", "origin", "seconds", "open_seconds")
    before = [[row[name] for name in facts] for number in (1, 2) for row in rows(raw, number)]
    with raw.warehouse.transaction() as connection:
        connection.execute("delete from crm.deal_stage_history")

    counts(raw, is_whole=True)

    after = [[row[name] for name in facts] for number in (1, 2) for row in rows(raw, number)]
    assert after == before


def test_a_deal_whose_history_was_lost_has_its_present_visit(raw: RawTables) -> None:
    read(raw, deal(), deal(day=2, moved=2, stage_id=2))
    with raw.warehouse.transaction() as connection:
        connection.execute("delete from raw_pipedrive_acme.deals_history")

    assert counts(raw, is_whole=True) == RowCounts(updated=1, deleted=1)
    assert visits(raw) == [("2", "02", None)]


def test_an_erased_deal_has_no_visits(raw: RawTables) -> None:
    read(raw, deal(1), deal(2))
    source = mart_source(DEAL_STAGE_HISTORY, SYSTEM)

    with raw.warehouse.transaction(ACME) as connection:
        erased = erase_rows(connection, ACME_IN_PIPEDRIVE, source, ["1"])

    assert erased == 1
    assert (visits(raw, 1), len(visits(raw, 2))) == ([], 1)
