"""From records to one table: keys, versions, undeclared and misfit values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from pipedrive_pipeline.ingest.batches import EXTRA, batch_of
from pipedrive_pipeline_tests.ingest.conftest import answer, record
from pipedrive_pipeline_tests.ingest.entities import LABELS, THINGS

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


@pytest.mark.parametrize("key", [None, "x12", True, 1.5, 2**63, [], {}, ""])
def test_a_record_without_a_usable_key_is_set_aside_whole(key: Any) -> None:
    """Raw could neither store it nor find it again; a null key stops a load."""
    batch = batch_of(
        THINGS, answer(record(id=1), record(id=key, words="kept"), record(words="no key"))
    )

    assert batch.table["id"].to_pylist() == [1]
    values = [json.loads(rejected.value) for rejected in batch.rejected_records]
    assert [value.get("words") for value in values] == ["kept", "no key"]


def test_a_key_that_was_sent_as_text_is_the_number() -> None:
    """The same record as the one whose id is a number: it must not come twice, nor be missing."""
    batch = batch_of(THINGS, answer(record(id=12), record(id="12"), record(id="13")))

    assert batch.table["id"].to_pylist() == [12, 13]
    assert batch.rejected_records == []


def test_records_of_bad_keys_only_leave_an_empty_table() -> None:
    batch = batch_of(THINGS, answer(record(id=None)))

    assert batch.table.num_rows == 0
    assert len(batch.rejected_records) == 1


def test_no_records_leave_an_empty_table_with_all_columns() -> None:
    batch = batch_of(THINGS, answer())

    assert batch.table.num_rows == 0
    assert batch.table.column_names[0] == "id"


def test_of_one_key_twice_the_newer_version_is_kept_whichever_came_last() -> None:
    """Left to the loader the old version won for 100 of 199 such keys."""
    newer, older = record(id=1, changed_at=NEW, whole=2), record(id=1, changed_at=OLD, whole=1)

    assert batch_of(THINGS, answer(newer, older)).table["whole"].to_pylist() == [2]
    assert batch_of(THINGS, answer(older, newer)).table["whole"].to_pylist() == [2]


def test_of_equal_versions_the_one_read_last_is_kept() -> None:
    """A second holds several edits."""
    records = [record(id=1, changed_at=OLD, whole=whole) for whole in (1, 2, 3)]

    assert batch_of(THINGS, answer(*records)).table["whole"].to_pylist() == [3]


def test_a_version_that_is_unknown_is_not_older() -> None:
    records = [record(id=1, changed_at=NEW, whole=1), record(id=1, changed_at=None, whole=2)]

    assert batch_of(THINGS, answer(*records)).table["whole"].to_pylist() == [2]


def test_an_unknown_version_between_two_known_ones_does_not_let_the_older_win() -> None:
    records = [
        record(id=1, changed_at=NEW, whole=1),
        record(id=1, changed_at=None, whole=2),
        record(id=1, changed_at=OLD, whole=3),
    ]

    assert batch_of(THINGS, answer(*records)).table["whole"].to_pylist() == [2]


def test_an_entity_without_versions_keeps_the_record_read_last() -> None:
    records = [record(code="a", words="first"), record(code="a", words="second")]

    assert batch_of(LABELS, answer(*records)).table["words"].to_pylist() == ["second"]


def test_undeclared_keys_are_kept_and_counted() -> None:
    batch = batch_of(THINGS, answer(record(id=1, new={"a": None}, none=None), record(id=2, new=3)))

    assert [json.loads(text) for text in batch.table["extra"].to_pylist()] == [
        {"new": {"a": None}, "none": None},
        {"new": 3},
    ]
    assert batch.undeclared == {"new": 2, "none": 1}


def test_a_misfit_is_kept_under_its_own_key_and_listed_with_its_reason() -> None:
    batch = batch_of(THINGS, answer(record(id=7, whole="zwölf")))

    assert json.loads(batch.table["extra"][0].as_py()) == {"whole": "zwölf"}
    assert [(each.record_id, each.field, each.value) for each in batch.rejected_values] == [
        ("7", "whole", '"zwölf"')
    ]


def test_a_name_that_postgres_refuses_is_replaced() -> None:
    batch = batch_of(THINGS, answer({"id": Raw(b"1"), "a\x00b": Raw(b"1")}))

    assert json.loads(batch.table["extra"][0].as_py()) == {"a\ufffdb": 1}


def test_undeclared_keys_have_one_order_in_every_process() -> None:
    """A set's order changes with the process, and the same again was loaded as if it were new."""
    names = [f"new_{number}" for number in range(20)]

    batch = batch_of(THINGS, answer(record(id=1, **dict.fromkeys(reversed(names), 1))))

    assert [*json.loads(batch.table[EXTRA][0].as_py())] == sorted(names)
