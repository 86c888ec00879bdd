"""Single records are merged without dlt, and leave behind what a load of dlt's leaves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import Column, ColumnType, Entity
from pipedrive_pipeline.ingest.batches import batch_of
from pipedrive_pipeline.ingest.outcome import Loaded, LoadRefused
from pipedrive_pipeline_tests.ingest.conftest import RawLoader, answer, record
from pipedrive_pipeline_tests.ingest.entities import THINGS

pytestmark = pytest.mark.slow

KEPT = replace(THINGS, history=("whole", "words"))
WIDER = replace(THINGS, columns=(*THINGS.columns, Column("new", ColumnType.TEXT, "New.")))
ODD = (
    record(
        id=2**63 - 1,
        changed_at="2026-01-31T12:00:00.123456Z",
        whole=-1,
        exact=Raw(b"0.100000001"),
        words="",
        yes=False,
        tree={"ü": [None, "", 1.5, {"a": "100 %s {x} 'y' \"z\""}]},
        unknown=[0, "%"],
    ),
    record(id=2, words='5 %s {0} \\ "quoted", \n\t\N{GRINNING FACE}', exact=12345678901234567890),
    record(id=3, words=None, tree="a text", yes=True, whole="no number"),
    record(id=4),
)


def put_few(loader: RawLoader, *records: Any, entity: Entity = THINGS) -> Loaded:
    return loader.store().load([batch_of(entity, answer(*records))], is_of_few=True)[entity.name]


def stored(loader: RawLoader, entity: Entity = THINGS) -> list[dict[str, Any]]:
    return [
        {name: row[name] for name in row.keys() - {"xmin", "_dlt_load_id"}}
        for row in loader.rows(entity)
    ]


def loads(loader: RawLoader) -> list[str]:
    query = "select array_agg(load_id order by inserted_at) from raw_pipedrive_acme._dlt_loads"
    return list(loader.scalar(query))


def pending(loader: RawLoader) -> list[str]:
    return list(loader.scalar("select pending_loads from integration.mart_state"))


def test_the_rows_are_those_that_a_load_of_dlt_leaves(loader: RawLoader) -> None:
    by_dlt = replace(THINGS, name="others")
    loader.put(record(id=1, words="first"))
    loader.put(record(id=1, words="first"), entity=by_dlt)
    loader.put(record(id=1, words="second"), *ODD, entity=by_dlt)

    shutil.rmtree(loader.home / "scratch")
    loaded = put_few(loader, record(id=1, words="second"), *ODD)

    assert not (loader.home / "scratch").exists(), "dlt's working directory"
    assert (loaded.created, loaded.updated, loaded.unchanged) == (4, 1, 0)
    assert stored(loader) == stored(loader, by_dlt)


def test_a_load_is_noted_as_complete_and_announced_to_the_marts(loader: RawLoader) -> None:
    loader.put(record(id=1))

    put_few(loader, record(id=2))

    (load_id,) = {row["_dlt_load_id"] for row in loader.rows() if row["id"] == 2}
    assert loads(loader)[-1] == load_id
    assert load_id in pending(loader)


def test_the_same_again_rewrites_no_row(loader: RawLoader) -> None:
    """Then there is no load, and the marts have nothing to build."""
    loader.put(*ODD)
    before = (loader.rows(), loads(loader), pending(loader))

    loaded = put_few(loader, *ODD)

    assert (loaded.created, loaded.updated, loaded.unchanged) == (0, 0, 4)
    assert (loader.rows(), loads(loader), pending(loader)) == before


def test_a_version_that_differs_is_added_to_the_history_once(loader: RawLoader) -> None:
    loader.put(record(id=1, words="a"), entity=KEPT)

    for words in ("b", "b", "a"):
        put_few(loader, record(id=1, words=words), entity=KEPT)
    put_few(loader, record(id=1, words="a", exact=1), entity=KEPT)

    query = "select array_agg(words order by history_id) from raw_pipedrive_acme.things_history"
    assert loader.scalar(query) == ["a", "b", "a"]


def test_tables_and_columns_that_are_missing_are_made_by_dlt(loader: RawLoader) -> None:
    """And one that is declared no more is emptied, as a load of dlt's does."""
    put_few(loader, record(id=1, words="a"))

    put_few(loader, record(id=1, words="a", new="b"), entity=WIDER)
    (wider,) = stored(loader)
    put_few(loader, record(id=1, words="c"))

    assert (wider["words"], wider["new"]) == ("a", "b")
    assert [(row["words"], row["new"]) for row in stored(loader)] == [("c", None)]


def test_refused_rows_leave_nothing_and_are_not_named(loader: RawLoader) -> None:
    loader.put(record(id=1, words="good"))
    with loader.warehouse.transaction() as connection:
        connection.execute(
            "alter table raw_pipedrive_acme.things add check (words is distinct from 'a secret')"
        )
    before, loads_before = loader.rows(), loads(loader)

    with pytest.raises(LoadRefused, match=r"acme.*SQLSTATE 23514") as caught:
        put_few(loader, record(id=1, words="better"), record(id=2, words="a secret"))

    assert loader.rows() == before
    assert loads(loader) == loads_before
    assert "a secret" not in str(caught.value)
    assert caught.value.__cause__ is None
