"""The list of what raw could not store: complete, without repeats, and never out of date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors.contract import Tombstone
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, answer, record
from pipedrive_pipeline_tests.ingest.entities import SYSTEM, THINGS


def listed(loader: RawLoader) -> list[tuple[Any, ...]]:
    """Record, field and value of every entry of the list."""
    with loader.warehouse.transaction(tenant=ACME) as connection:
        rows = connection.cursor(row_factory=dict_row).execute(
            "select * from integration.rejected_values order by record_id, field, value"
        )
        return [(row["record_id"], row["field"], row["value"]) for row in rows]


@pytest.mark.slow
def test_a_misfit_is_listed_once_and_struck_off_when_the_record_comes_without_it(
    loader: RawLoader,
) -> None:
    """The list is what somebody works through at the source; done entries must leave it."""
    for words in ("a", "b"):
        loader.put(record(id=7, whole="twelve", yes="perhaps", words=words))
    assert listed(loader) == [("7", "whole", '"twelve"'), ("7", "yes", '"perhaps"')]

    loader.put(record(id=7, whole=12, yes="perhaps", words="c"))

    assert listed(loader) == [("7", "yes", '"perhaps"')]


@pytest.mark.slow
def test_a_repaired_record_that_is_equal_to_its_row_is_struck_off_too(loader: RawLoader) -> None:
    """After a crash the row may be in raw and the list behind it."""
    loader.put(record(id=7, whole=12))
    with loader.warehouse.transaction(tenant=ACME) as connection:
        connection.execute(
            "insert into integration.rejected_values"
            " (tenant_id, system, entity, record_id, field, value, reason)"
            " values ('acme', %s, 'things', '7', 'whole', '1', 'odd')",
            [SYSTEM],
        )

    loader.put(record(id=7, whole=12))

    assert listed(loader) == []


@pytest.mark.slow
def test_what_the_marts_list_stays_when_the_record_is_read_again(loader: RawLoader) -> None:
    """No build judges a record that did not change; the next sync used to empty the list."""
    day = next(column for column in THINGS.columns if column.name == "words")
    others = tuple(column for column in THINGS.columns if column != day)
    things = replace(THINGS, columns=(replace(day, shape="day"), *others))
    loader.put(record(id=7, words="2026-02-30"), entity=things)
    with loader.warehouse.transaction(tenant=ACME) as connection:
        connection.execute(
            "insert into integration.rejected_values"
            " (tenant_id, system, entity, record_id, field, value, reason)"
            " values ('acme', %s, 'things', '7', 'words', '\"2026-02-30\"', 'is no day')",
            [SYSTEM],
        )

    loader.put(record(id=7, words="2026-02-30"), entity=things)

    assert listed(loader) == [("7", "words", '"2026-02-30"')]


def test_only_the_version_that_is_stored_is_listed(loader: RawLoader) -> None:
    """A record that comes twice in one load, repaired in between, has nothing to repair."""
    loader.put(record(id=7, whole="twelve"), record(id=7, whole=12), record(id=8, whole="two"))

    assert listed(loader) == [("8", "whole", '"two"')]


@pytest.mark.slow
def test_a_page_that_was_read_ahead_lists_nothing_of_a_record_read_again(loader: RawLoader) -> None:
    store = loader.store()
    ahead = answer(record(id=7, whole="twelve"))
    loader.put(record(id=7, whole=12), store=store)

    loader.put_answer(ahead, store=store)

    assert listed(loader) == []


@pytest.mark.slow
def test_an_empty_value_is_null_and_not_listed(loader: RawLoader) -> None:
    """Sources write an empty text, and PHP an empty array, for a value that is not there."""
    empties = ["", " ", "\u00a0", "\u200b", [], {}]

    loader.put(
        *(
            record(id=number, whole=empty, exact=empty, yes=empty, changed_at=empty, tree=empty)
            for number, empty in enumerate(empties)
        )
    )

    for row, empty in zip(loader.rows(), empties, strict=True):
        assert [row[name] for name in ("whole", "exact", "yes", "changed_at")] == [None] * 4
        assert row["tree"] == row["extra"]["whole"] == empty  # as sent, nothing is lost
    assert listed(loader) == []


def test_a_value_that_is_not_empty_is_never_silently_null(loader: RawLoader) -> None:
    values = ["0x10", [None], {"a": None}, "-", [""], False]

    loader.put(*(record(id=number, whole=value) for number, value in enumerate(values)))

    assert [row[:2] for row in listed(loader)] == [(str(n), "whole") for n in range(len(values))]


@pytest.mark.slow
def test_more_misfits_than_a_page_holds_are_all_listed(loader: RawLoader) -> None:
    """A built-in field that the source retypes concerns every record."""
    loader.put(*(record(id=number, whole="x") for number in range(1, 1_501)))

    assert len(listed(loader)) == 1_500


def test_each_record_without_a_usable_key_is_listed(loader: RawLoader) -> None:
    """They overwrote each other: of six the last one was on the list."""
    keys: list[Any] = [None, "twelve", 1.5, True, [], ""]

    _, batch = loader.put(*(record(id=key, words="x") for key in keys), record(words="x"))

    assert len(batch.rejected_records) == 7
    assert len(listed(loader)) == 7


@pytest.mark.slow
def test_equal_records_without_a_key_are_listed_each(loader: RawLoader) -> None:
    """In one page, and in the pages of one run."""
    store = loader.store()
    loader.put(record(words="x"), record(words="x"), store=store)
    loader.put(record(words="x"), store=store)

    assert len(listed(loader)) == 3


@pytest.mark.slow
def test_records_without_a_key_that_come_again_tomorrow_do_not_pile_up(loader: RawLoader) -> None:
    for _ in range(3):
        loader.put(record(words="x"), record(words="x"), record(words="y"))

    assert len(listed(loader)) == 3


@pytest.mark.slow
def test_a_read_of_everything_strikes_off_records_that_no_longer_come(loader: RawLoader) -> None:
    loader.put(record(words="gone"), record(words="stays"))
    store = loader.store()

    store.rejections.begin([THINGS.name])
    loader.put(record(words="stays"), record(words="new"), store=store)
    during = len(listed(loader))
    store.rejections.end([THINGS.name])

    assert during == 3  # a read that breaks off strikes off nothing
    values = [value for _, _, value in listed(loader)]
    assert values == ['{"words":"new"}', '{"words":"stays"}']


@pytest.mark.slow
def test_a_read_of_everything_goes_on_over_several_runs(loader: RawLoader) -> None:
    """What the first run of a plan sent is not sent by the second."""
    first, second = loader.store(), None
    loader.put(record(words="first"), record(words="second"), record(words="gone"))
    first.rejections.begin([THINGS.name])
    loader.put(record(words="first"), store=first)
    second = loader.store()
    loader.put(record(words="second"), store=second)

    second.rejections.end([THINGS.name])

    assert [value for _, _, value in listed(loader)] == ['{"words":"first"}', '{"words":"second"}']


@pytest.mark.slow
def test_a_record_that_is_gone_at_the_source_leaves_the_list(loader: RawLoader) -> None:
    """Nobody can repair it there; its values of custom fields are still in the views."""
    loader.put(record(id=7, whole="twelve"), record(id=8, whole="two"))
    deletions = Deletions(loader.warehouse, Scope(ACME, SYSTEM))

    deletions.mark(THINGS, [Tombstone("7", "deleted")])

    assert listed(loader) == [("8", "whole", '"two"')]


@pytest.mark.slow
def test_the_same_value_of_another_entity_is_another_entry(loader: RawLoader) -> None:
    loader.put(record(id=7, whole="twelve"))
    with loader.warehouse.transaction(tenant=ACME) as connection:
        connection.execute("update integration.rejected_values set entity = 'others'")

    loader.put(record(id=7, whole="twelve"))
    loader.put(record(id=7, whole=12))

    assert listed(loader) == [("7", "whole", '"twelve"')]
