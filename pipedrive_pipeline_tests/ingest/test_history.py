"""Raw's history: each version that differs in a kept column, once, in the order of reading."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql

from pipedrive_pipeline.connectors.contract import next_number
from pipedrive_pipeline.connectors.registry import _problems
from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.ingest.erasure import RawErasure
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connectors.ledger import LEDGER
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, answer, record
from pipedrive_pipeline_tests.ingest.entities import SYSTEM, THINGS
from pipedrive_pipeline_tests.scenarios.postgres_proxy import postgres_proxy

OLD, NEW, NEWEST = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"
KEPT = replace(THINGS, history=("whole", "words"))


def versions(loader: RawLoader, *columns: str) -> list[tuple[Any, ...]]:
    """The kept versions in the order of reading: key, and these columns or `words`."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns or ("words",)))
    with loader.warehouse.connect() as connection:
        query = "select id, {} from raw_pipedrive_acme.things_history order by history_id"
        return connection.execute(sql.SQL(query).format(names)).fetchall()


@pytest.mark.slow
def test_a_first_load_keeps_the_first_version_and_a_later_one_what_differs(
    loader: RawLoader,
) -> None:
    """The first load is appended to raw, a later one merged: both keep the history."""
    loader.put(record(id=1, words="a"), record(id=2, words="x"), entity=KEPT)

    loader.put(record(id=1, words="b", changed_at=NEW), record(id=2, words="x"), entity=KEPT)

    assert versions(loader) == [(1, "a"), (2, "x"), (1, "b")]


@pytest.mark.slow
def test_a_version_that_differs_in_no_kept_column_is_not_added(loader: RawLoader) -> None:
    loader.put(record(id=1, words="a", exact=1), entity=KEPT)

    loaded, _ = loader.put(record(id=1, words="a", exact=2, changed_at=NEW), entity=KEPT)

    assert loaded.updated == 1
    assert versions(loader) == [(1, "a")]


@pytest.mark.slow
def test_a_value_that_comes_back_is_a_version_of_its_own(loader: RawLoader) -> None:
    """And null is a value like others."""
    for words in ("a", None, "a"):
        loader.put(record(id=1, words=words), entity=KEPT)

    assert versions(loader) == [(1, "a"), (1, None), (1, "a")]


@pytest.mark.slow
def test_the_same_load_again_adds_nothing(loader: RawLoader) -> None:
    """A read of everything, also one that starts over, reads every record again."""
    things = [record(id=number, words=f"w{number % 3}", whole=number) for number in range(1, 30)]
    loader.put(*things, entity=KEPT)
    before = versions(loader, "history_id", "words")

    for _ in range(2):
        loader.put(*things, entity=KEPT)

    assert versions(loader, "history_id", "words") == before
    assert len(before) == len(things)


@pytest.mark.slow
def test_a_version_that_raw_refuses_as_older_is_not_kept_either(loader: RawLoader) -> None:
    """Pages are read ahead: an answer may be loaded after a later one."""
    store = loader.store()
    ahead = answer(record(id=1, changed_at=NEW, words="read ahead"))
    overlapping = answer(
        record(id=1, changed_at=OLD, words="overlapped"), sent=next_number(), arrived=2**62
    )
    loader.put(record(id=1, changed_at=NEWEST, words="newest"), entity=KEPT, store=store)

    loader.put_answer(ahead, entity=KEPT, store=store)
    loader.put_answer(overlapping, entity=KEPT, store=store)

    assert versions(loader) == [(1, "newest")]
    assert loader.rows(KEPT)[0]["words"] == "newest"


def test_of_two_versions_in_a_load_the_newest_is_kept(loader: RawLoader) -> None:
    loader.put(
        record(id=1, changed_at=OLD, words="old"),
        record(id=1, changed_at=NEW, words="new"),
        entity=KEPT,
    )

    assert versions(loader) == [(1, "new")]


@pytest.mark.slow
def test_a_version_with_an_older_stamp_that_was_read_later_comes_last(loader: RawLoader) -> None:
    """A server's clock may go back; the order of reading is the order of the versions."""
    loader.put(record(id=1, changed_at=NEW, words="first"), entity=KEPT)

    loader.put(record(id=1, changed_at=OLD, words="second"), entity=KEPT)

    assert versions(loader) == [(1, "first"), (1, "second")]


@pytest.mark.slow
def test_each_version_has_its_stamp_its_load_and_its_origin(loader: RawLoader) -> None:
    loader.put(record(id=1, changed_at=OLD, words="a"), entity=KEPT)
    loader.put(record(id=1, changed_at=NEW, words="b"), entity=KEPT)

    rows = versions(loader, "changed_at", "origin", "_dlt_load_id", "read_at")

    loads = loader.scalar(
        "select array_agg(load_id order by inserted_at) from raw_pipedrive_acme._dlt_loads"
    )
    assert [(f"{row[1]:%m}", row[2], row[3]) for row in rows] == [
        ("01", "read", loads[0]),
        ("02", "read", loads[1]),
    ]
    assert rows[0][4] < rows[1][4]


@pytest.mark.slow
def test_an_entity_that_begins_to_keep_a_history_has_the_versions_of_raw(
    loader: RawLoader,
) -> None:
    """And a column that it declares later is added."""
    loader.put(record(id=1, words="a"), record(id=2, words="b"))
    loader.put(record(id=2, words="c"), entity=KEPT)

    loader.put(record(id=2, words="c", yes=True), entity=replace(KEPT, history=("words", "yes")))

    assert versions(loader, "words", "yes") == [
        (1, "a", None),
        (2, "b", None),
        (2, "c", None),
        (2, "c", True),
    ]


def test_an_entity_without_a_history_has_no_table_of_it(loader: RawLoader) -> None:
    loader.put(record(id=1))

    assert loader.scalar("select to_regclass('raw_pipedrive_acme.things_history')") is None


@pytest.mark.slow
def test_a_history_is_no_reason_to_make_staging_again(loader: RawLoader) -> None:
    """Staging has no table of it; one that is missing there makes dlt look at every table."""
    loader.put(record(id=1, words="a"), entity=KEPT)
    loader.put(record(id=1, words="b"), entity=KEPT)
    noted = "select count(*) from staging_pipedrive_acme._dlt_version"
    before = loader.scalar(noted)

    loader.store()

    assert loader.scalar(noted) == before > 0


@pytest.mark.slow
def test_an_erased_record_has_no_history(loader: RawLoader) -> None:
    loader.put(record(id=1, words="a"), record(id=2, words="x"), entity=KEPT)
    loader.put(record(id=1, words="b"), entity=KEPT)

    with loader.warehouse.transaction() as connection:
        RawErasure(connection, Scope(ACME, SYSTEM)).erase(KEPT, ["1"])

    assert versions(loader) == [(2, "x")]


def test_a_history_of_personal_columns_is_refused() -> None:
    """An erasure searches raw's rows for an address, and would not find a former one."""
    system = replace(LEDGER, key="other", entities=(replace(KEPT, personal=("words",)),))
    missing = replace(LEDGER, key="other", entities=(replace(THINGS, history=("colour",)),))
    named = replace(LEDGER, key="other", entities=(KEPT, replace(THINGS, name="things_history")))

    assert _problems(system) == ["things: an erasure would not find words in its history"]
    assert _problems(missing) == ["things: it declares no column colour"]
    assert _problems(named) == ["things_history: the history of another entity has this name"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_first", [True, False], ids=["first load", "later load"])
@pytest.mark.parametrize(
    "step", [29, pytest.param(1, marks=pytest.mark.long)], ids=["sampled", "every"]
)
def test_an_answer_that_is_lost_anywhere_doubles_and_loses_no_version(
    step: int, is_first: bool, loader: RawLoader
) -> None:
    """Raw and its history are written in one transaction: after any break both agree."""

    def lost() -> None:
        raise ConnectionAbortedError

    with postgres_proxy(loader.warehouse.url) as proxy:
        beyond = RawLoader(replace(loader.warehouse, url=proxy.url), loader.home)
        number, is_reached = 1, True  # of what is sent to Postgres
        while is_reached:
            clear(loader)
            if not is_first:
                loader.put(record(id=1, words="a"), record(id=2, words="a"), entity=KEPT)
            proxy.arm(number, "after", lost)
            with suppress(DatabaseUnavailable):  # then the next run does it
                beyond.put(record(id=1, words="b"), record(id=2, words="a"), entity=KEPT)
            assert_history_ends_with_raw(loader)
            is_reached, number = proxy.count >= number, number + step

            loader.put(record(id=1, words="b"), record(id=2, words="c"), entity=KEPT)

            ends = [(1, "b"), (2, "a"), (2, "c")]
            assert sorted(versions(loader)) in (
                [*ends] if is_first else [(1, "a"), *ends],
                [(1, "b"), (2, "c")],  # the first load did not come so far
            )
            assert_history_ends_with_raw(loader)


def assert_history_ends_with_raw(loader: RawLoader) -> None:
    if loader.scalar("select to_regclass('raw_pipedrive_acme.things') is null"):
        return
    last = "select distinct on (id) id, words from raw_pipedrive_acme.things_history"
    with loader.warehouse.connect() as connection:
        ends = connection.execute(f"{last} order by id, history_id desc").fetchall()
        rows = connection.execute("select id, words from raw_pipedrive_acme.things order by id")
        assert ends == rows.fetchall()


def clear(loader: RawLoader) -> None:
    with loader.warehouse.transaction() as connection:
        connection.execute("drop schema if exists raw_pipedrive_acme cascade")
        connection.execute("drop schema if exists staging_pipedrive_acme cascade")
