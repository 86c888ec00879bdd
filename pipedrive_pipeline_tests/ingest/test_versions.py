"""The order of versions: by requests first, by stamps only where two requests overlapped."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.ingest.batches import batch_of, joined
from pipedrive_pipeline.ingest.versions import LoadedVersions
from pipedrive_pipeline_tests.ingest.conftest import answer, record
from pipedrive_pipeline_tests.ingest.entities import LABELS, THINGS

OLD, NEW = "2026-01-01T00:00:00.100Z", "2026-01-01T00:00:00.900Z"

Asked = tuple[int, int]  # numbers of a request: sent, arrived


def words_after(first: tuple[Asked, str | None], second: tuple[Asked, str | None]) -> str:
    """The words that are kept of one record in two answers of one load."""
    batches = [
        batch_of(
            THINGS, answer(record(id=1, changed_at=stamp, words=words), sent=sent, arrived=arrived)
        )
        for words, ((sent, arrived), stamp) in (("first", first), ("second", second))
    ]
    outcomes = [
        joined(THINGS, order).table["words"].to_pylist() for order in (batches, batches[::-1])
    ]
    assert outcomes[0] == outcomes[1]  # whichever was read into the load first
    return str(outcomes[0][0])


@pytest.mark.parametrize("stamp", [OLD, NEW, "2031-01-01T00:00:00Z", None])
def test_a_request_sent_after_the_other_answer_arrived_brings_the_newer_version(
    stamp: str | None,
) -> None:
    """Stamps do not matter: a server's clock goes back, and an import sets what it likes."""
    assert words_after(((1, 2), stamp), ((3, 4), NEW)) == "second"
    assert words_after(((1, 2), NEW), ((3, 4), stamp)) == "second"


@pytest.mark.parametrize(
    ("first", "second", "newest"),
    [
        (NEW, OLD, "first"),
        (OLD, NEW, "second"),
        (NEW, NEW, "second"),
        (None, OLD, "second"),
        (NEW, None, "second"),
        (None, None, "second"),
    ],
)
def test_of_overlapping_requests_the_greater_stamp_is_newer_then_the_later_request(
    first: str | None, second: str | None, newest: str
) -> None:
    assert words_after(((1, 3), first), ((2, 4), second)) == newest
    assert words_after(((1, 4), first), ((2, 3), second)) == newest


def test_an_overtaken_version_does_not_decide_between_two_that_overlap() -> None:
    """The first request overlaps both others; the second was answered before the third was sent."""
    answers = [((1, 10), "b"), ((2, 3), "c"), ((4, 12), "a")]
    stamps = {"a": OLD, "b": NEW, "c": "2031-01-01T00:00:00Z"}

    whole = joined(
        THINGS,
        [
            batch_of(
                THINGS,
                answer(record(id=1, changed_at=stamps[word], words=word), sent=sent, arrived=got),
            )
            for (sent, got), word in answers
        ],
    )

    assert whole.table["words"].to_pylist() == ["b"]


def test_an_entity_without_stamps_goes_by_the_requests_alone() -> None:
    late, early = (
        batch_of(LABELS, answer(record(code="a", words=words), sent=sent, arrived=sent + 1))
        for words, sent in (("late", 5), ("early", 1))
    )

    assert joined(LABELS, [late, early]).table["words"].to_pylist() == ["late"]


def test_a_page_that_was_read_ahead_does_not_replace_what_was_read_again_meanwhile() -> None:
    """Records are refreshed between the loads of a walk whose next pages have already arrived."""
    loaded = LoadedVersions()
    refreshed = batch_of(THINGS, answer(record(id=1, changed_at=OLD), sent=5, arrived=6))
    loaded.add(THINGS, refreshed.table)
    ahead = batch_of(
        THINGS,
        answer(record(id=1, changed_at=NEW), record(id=2, changed_at=OLD), sent=1, arrived=2),
    )

    assert loaded.without_older(THINGS, ahead.table)["id"].to_pylist() == [2]


def test_across_loads_overlapping_requests_go_by_the_stamp() -> None:
    loaded = LoadedVersions()
    first = answer(record(id=1, changed_at=NEW), record(id=2, changed_at=OLD), sent=1, arrived=3)
    loaded.add(THINGS, batch_of(THINGS, first).table)
    second = answer(record(id=1, changed_at=OLD), record(id=2, changed_at=NEW), sent=2, arrived=4)

    rows = loaded.without_older(THINGS, batch_of(THINGS, second).table)

    assert rows["id"].to_pylist() == [2]


def test_what_a_run_remembers_is_bounded() -> None:
    """A read of millions of records must not grow with them."""
    loaded = LoadedVersions()
    records = [record(id=number) for number in range(40_000)]
    for number in range(4):
        page = answer(*records, sent=2 * number, arrived=2 * number + 1)
        loaded.add(THINGS, batch_of(THINGS, page).table)
    older = batch_of(THINGS, answer(records[0], sent=0, arrived=1))

    assert loaded.without_older(THINGS, older.table).num_rows == 0
    assert loaded.remembered_rows(THINGS) == 80_000
