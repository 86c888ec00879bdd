"""Loads into a table that a run found empty: appended, and none of it twice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline_tests.ingest.conftest import RawLoader, record
from pipedrive_pipeline_tests.scenarios.postgres_proxy import postgres_proxy

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def staging_tables(loader: RawLoader) -> set[str]:
    count = loader.scalar(
        "select array_agg(tablename::text) from pg_tables"
        " where schemaname = 'staging_pipedrive_acme'"
    )
    return set(count or ())


def write_dispositions(loader: RawLoader) -> list[str]:
    """Of things, in the versions of its schema that dlt has stored."""
    return list(
        loader.scalar(
            "select array_agg(schema::jsonb #>> '{tables,things,write_disposition}'"
            " order by inserted_at) from raw_pipedrive_acme._dlt_version"
            " where schema::jsonb #> '{tables,things}' is not null"
        )
    )


@pytest.mark.slow
def test_a_first_load_makes_no_detour_and_a_later_run_does(loader: RawLoader) -> None:
    store = loader.store()
    loader.put(record(id=1), store=store)
    loader.put(record(id=2), store=store)
    before = staging_tables(loader)

    loader.put(record(id=3))

    assert "things" not in before
    assert "things" in staging_tables(loader)
    assert [row["id"] for row in loader.rows()] == [1, 2, 3]


@pytest.mark.slow
def test_a_way_of_loading_is_stored_once(loader: RawLoader) -> None:
    """Each change of it is a version of the schema, which dlt keeps for good."""
    for number in range(1, 6):
        loader.put(record(id=number))

    assert write_dispositions(loader) == ["append", "merge"]


def test_what_comes_again_in_the_same_run_is_there_once_in_its_newest_version(
    loader: RawLoader,
) -> None:
    """A record that is edited while it is being read comes in a later chunk, too."""
    store = loader.store()
    loader.put(
        record(id=1, changed_at=OLD, words="first"), record(id=2, changed_at=NEW), store=store
    )

    loaded, _ = loader.put(
        record(id=1, changed_at=NEW, words="second"), record(id=3, changed_at=NEW), store=store
    )

    assert [(row["id"], row["words"]) for row in loader.rows()] == [
        (1, "second"),
        (2, None),
        (3, None),
    ]
    assert (loaded.created, loaded.updated) == (1, 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "step", [8, pytest.param(1, marks=pytest.mark.long)], ids=["sampled", "every"]
)
def test_an_answer_that_is_lost_anywhere_in_a_first_load_doubles_and_loses_nothing(
    step: int, loader: RawLoader
) -> None:
    """A commit whose answer is lost is in doubt: dlt does the same again, and so does a new run."""

    def lost() -> None:
        raise ConnectionAbortedError

    with postgres_proxy(loader.warehouse.url) as proxy:
        beyond = RawLoader(replace(loader.warehouse, url=proxy.url), loader.home)
        number, is_reached = 1, True  # of what is sent to Postgres
        while is_reached:
            clear(loader)
            proxy.arm(number, "after", lost)
            with suppress(DatabaseUnavailable):  # then the next run does it
                beyond.put(record(id=1), record(id=2))
            is_reached, number = proxy.count >= number, number + step

            loader.put(record(id=1), record(id=2), record(id=3))

            assert [row["id"] for row in loader.rows()] == [1, 2, 3]


def clear(loader: RawLoader) -> None:
    with loader.warehouse.transaction() as connection:
        connection.execute("drop schema if exists raw_pipedrive_acme cascade")
        connection.execute("drop schema if exists staging_pipedrive_acme cascade")
