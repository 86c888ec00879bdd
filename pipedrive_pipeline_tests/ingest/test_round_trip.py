"""Null conservation: every value that is not null is in its column or, as it came, in extra."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import ColumnType
from pipedrive_pipeline.ingest.sanitise import cleaned
from pipedrive_pipeline.ingest.values import is_empty
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader
from pipedrive_pipeline_tests.ingest.entities import COLUMNS

KINDS = {column.name: column.type for column in COLUMNS}
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["1e400", "1e-400", "1e200000", "-0", "0.30000000000000004", "9" * 400]),
).map(str)
TEXTS = st.text(st.characters(codec="utf-16", categories=None), max_size=8).map(json.dumps)
ODD_TEXTS = st.sampled_from(
    [
        r'"\u0000"',
        r'"\ud800"',
        r'"\\u0000"',
        r'"\\."',
        r'"\n"',
        '""',
        r'"\"\""',
        '"2026-01-31T12:00:00Z"',
        '"2026-01-31 12:00:00"',
        '"0000-00-00"',
        '"9999-12-31T23:59:59-14:00"',
    ]
)
SCALARS = st.one_of(NUMBERS, TEXTS, ODD_TEXTS, st.sampled_from(["true", "false", "null"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.dictionaries(TEXTS, inner, max_size=3).map(
            lambda items: "{" + ",".join(f"{key}:{item}" for key, item in items.items()) + "}"
        ),
    ),
    max_leaves=5,
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from([*KINDS, "undeclared", "Größe"]), VALUES),
    min_size=1,
    max_size=20,
)


@pytest.fixture(scope="module")
def long_shelf(
    database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RawLoader]:
    """One loader for all examples: a database for each would take longer than the loads."""
    home: Path = tmp_path_factory.mktemp("round-trip")
    with databases.copy_of(database_template) as url:
        registry.add(Warehouse(url), Settings(pipeline_home=home), ACME)
        yield RawLoader(Warehouse(url), home)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(texts=RECORDS)
def test_every_value_is_in_its_column_or_in_extra(
    long_shelf: RawLoader, texts: list[dict[str, str]]
) -> None:
    """Nothing that the source said may be null in raw without a trace."""
    check(long_shelf, texts)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@settings(
    max_examples=1_000,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(texts=RECORDS)
def test_every_one_of_many_values_is_in_its_column_or_in_extra(
    long_shelf: RawLoader, texts: list[dict[str, str]]
) -> None:
    check(long_shelf, texts)


def check(loader: RawLoader, texts: list[dict[str, str]]) -> None:
    """Loads the records into empty tables and looks for each value."""
    with loader.warehouse.transaction() as connection:
        connection.execute("drop schema if exists raw_pipedrive_acme cascade")
        connection.execute("drop schema if exists staging_pipedrive_acme cascade")

    _, batch = loader.put(
        *(
            {"id": Raw(str(number).encode())}
            | {name: Raw(text.encode()) for name, text in content.items()}
            for number, content in enumerate(texts)
        )
    )

    rows = loader.rows()
    assert len(rows) == len(texts)
    misfit_count = sum(
        is_misfit(name, text, row)
        for row, sent in zip(rows, texts, strict=True)
        for name, text in sent.items()
    )
    assert len(batch.rejected_values) == misfit_count


def is_misfit(name: str, text: str, row: dict[str, Any]) -> bool:
    """True for a declared value in extra, unless it is empty; fails where a value is lost."""
    value = cleaned(text.encode()).value
    if row.get(name) is not None:
        assert same(as_stored(KINDS[name], value), row[name]), (name, text, row[name])
        return False
    if value is None:
        return False
    assert same(value, row["extra"][name]), (name, text, row["extra"])
    return name in KINDS and not is_empty(value)


def as_stored(kind: ColumnType, value: Any) -> Any:
    """A cleaned value as a column of this type hands it back, where it fits."""
    if kind is ColumnType.TIMESTAMP:
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    if kind is ColumnType.BIGINT and isinstance(value, dict):  # a reference, as v1 sends it
        value = value["value"] if value.get("id") is None else value["id"]
    if kind in {ColumnType.BIGINT, ColumnType.NUMERIC} and isinstance(value, str):
        return Decimal(value)
    if kind is ColumnType.BOOLEAN:
        return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    return value


def same(left: Any, right: Any) -> bool:
    """Equal, numbers by value; jsonb comes back with floats where Postgres holds all digits."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | Decimal) and isinstance(right, int | float | Decimal):
        return left == right or float(left) == float(right)
    return bool(left == right)
