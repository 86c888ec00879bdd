"""Values that sources really send, and where each of them ends up."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import Column, ColumnType
from pipedrive_pipeline.ingest.sanitise import cleaned, json_text
from pipedrive_pipeline.ingest.values import column_values

BIGINT, NUMERIC, TEXT = ColumnType.BIGINT, ColumnType.NUMERIC, ColumnType.TEXT
BOOLEAN, TIMESTAMP, JSON = ColumnType.BOOLEAN, ColumnType.TIMESTAMP, ColumnType.JSON
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
YEAR_ONE, YEAR_9999 = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

FITS: list[tuple[ColumnType, str, Any]] = [
    (BIGINT, "0", 0),
    (BIGINT, "-0", 0),
    (BIGINT, "9223372036854775807", 2**63 - 1),
    (BIGINT, "-9223372036854775808", -(2**63)),
    (BIGINT, "12.0", 12),
    (BIGINT, "1e3", 1000),
    (BIGINT, '"12"', 12),
    (BIGINT, '"-12.0"', -12),
    (BIGINT, '"9223372036854775807"', 2**63 - 1),
    (NUMERIC, '"12.50"', Decimal("12.5")),
    (BOOLEAN, "1", True),
    (BOOLEAN, '"false"', False),
    (NUMERIC, "0.1", Decimal("0.1")),
    (NUMERIC, "-12345678901234567890.123456789", Decimal("-12345678901234567890.123456789")),
    (NUMERIC, "1e28", Decimal(10) ** 28),
    (TEXT, '""', ""),
    (TEXT, '" "', " "),
    (TEXT, '"null"', "null"),
    (TEXT, r'"\\u0000"', r"\u0000"),
    (TEXT, r'"\ud83e\udd50"', "🥐"),
    (TEXT, '"👩‍👩‍👧 \u202e\u0301\ufffe"', "👩‍👩‍👧 \u202e\u0301\ufffe"),
    (TEXT, '"' + "ß" * 1_000_000 + '"', "ß" * 1_000_000),
    (BOOLEAN, "true", True),
    (BOOLEAN, "false", False),
    (TIMESTAMP, '"2026-01-31T12:00:00Z"', NOON),
    (TIMESTAMP, '"2026-01-31 12:00:00"', NOON),
    (TIMESTAMP, '"2026-02-01T02:00:00+14:00"', NOON),
    (TIMESTAMP, '"2026-01-31T12:00:00.000001Z"', NOON.replace(microsecond=1)),
    (TIMESTAMP, '"0001-01-01T00:00:00Z"', YEAR_ONE),
    (TIMESTAMP, '"9999-12-31T23:59:59Z"', YEAR_9999),
    (JSON, '{"a":[1,null,""]}', '{"a":[1,null,""]}'),
    (JSON, '""', '""'),
    (JSON, '"null"', '"null"'),
    (JSON, "0.1000", "0.1000"),
]

MISFITS: list[tuple[ColumnType, str, Any]] = [
    (BIGINT, "9223372036854775808", 2**63),
    (BIGINT, "-9223372036854775809", -(2**63) - 1),
    (BIGINT, "1" + "0" * 30, 10**30),
    (BIGINT, "1e400", Decimal("1e400")),
    (BIGINT, "1e200000", "1E+200000"),
    (BIGINT, "1.5", Decimal("1.5")),
    (BIGINT, "true", True),
    (BIGINT, "[]", []),
    (BIGINT, '""', ""),
    (BIGINT, '"9223372036854775808"', "9223372036854775808"),
    (BIGINT, '"1.5"', "1.5"),
    (BIGINT, '"1,5"', "1,5"),
    (BIGINT, '"12 Stück"', "12 Stück"),
    (BIGINT, '"1e999"', "1e999"),
    (BIGINT, '{"x":1}', {"x": 1}),
    (BIGINT, '{"id":"x","value":1}', {"id": "x", "value": 1}),
    (BOOLEAN, "2", 2),
    (BOOLEAN, '"yes"', "yes"),
    (BOOLEAN, "1.5", Decimal("1.5")),
    (NUMERIC, "0.1234567891", Decimal("0.1234567891")),
    (NUMERIC, "1e29", Decimal("1e29")),
    (NUMERIC, '"12,5"', "12,5"),
    (NUMERIC, "false", False),
    (TEXT, "12", 12),
    (TEXT, "true", True),
    (TEXT, '["a"]', ["a"]),
    (TEXT, "{}", {}),
    (TIMESTAMP, '"0000-00-00 00:00:00"', "0000-00-00 00:00:00"),
    (TIMESTAMP, '"2024-02-30T00:00:00Z"', "2024-02-30T00:00:00Z"),
    (TIMESTAMP, '"2024-01-01T24:00:00Z"', "2024-01-01T24:00:00Z"),
    (TIMESTAMP, '"2016-12-31T23:59:60Z"', "2016-12-31T23:59:60Z"),
    (TIMESTAMP, '"10000-01-01T00:00:00Z"', "10000-01-01T00:00:00Z"),
    (TIMESTAMP, '"-0001-01-01T00:00:00Z"', "-0001-01-01T00:00:00Z"),
    (TIMESTAMP, '"9999-12-31T23:59:59-14:00"', "9999-12-31T23:59:59-14:00"),
    (TIMESTAMP, '"0001-01-01T00:00:00+14:00"', "0001-01-01T00:00:00+14:00"),
    (TIMESTAMP, '"2026-01-31"', "2026-01-31"),
    (TIMESTAMP, "1700000000", 1_700_000_000),
]

REPLACED: list[tuple[ColumnType, bytes, Any]] = [
    (TEXT, rb'"a\u0000b"', "a\ufffdb"),
    (TEXT, rb'"\ud800"', "\ufffd"),
    (TEXT, rb'"\udc00x"', "\ufffdx"),
    (TEXT, b'"\xff"', "\ufffd"),
    (JSON, rb'{"a\u0000":"\udfff"}', '{"a\ufffd":"\ufffd"}'),
    (JSON, b"1e200000", '"1E+200000"'),
    (JSON, b"[1e-20000]", '["1E-20000"]'),
    (JSON, b"9" * 140_000, '"' + "9" * 140_000 + '"'),
    (JSON, b'"\xff"', '"\ufffd"'),
]


def column(kind: ColumnType) -> Column:
    return Column("value", kind, "A value.")


@pytest.mark.parametrize(("kind", "text", "value"), FITS, ids=lambda value: str(value)[:40])
def test_a_value_of_its_type_arrives_as_it_is(kind: ColumnType, text: str, value: Any) -> None:
    values = column_values(column(kind), [Raw(text.encode())])

    assert values.array.to_pylist() == [value]
    assert (values.misfits, values.replaced) == ([], 0)


@pytest.mark.parametrize(("kind", "text", "value"), FITS, ids=lambda value: str(value)[:40])
def test_a_value_arrives_as_it_is_next_to_a_value_that_does_not_fit(
    kind: ColumnType, text: str, value: Any
) -> None:
    """The careful way, taken for one bad value, must say the same of all good ones."""
    values = column_values(column(kind), [Raw(rb'["\u0000"]'), Raw(text.encode())])

    arrived = values.array.to_pylist()[1]
    assert (json_text(cleaned(arrived.encode()).value) if kind is JSON else arrived) == (
        json_text(cleaned(value.encode()).value) if kind is JSON else value
    )
    assert [misfit.row for misfit in values.misfits] == ([] if kind is JSON else [0])


@pytest.mark.parametrize(("kind", "text", "value"), MISFITS, ids=lambda value: str(value)[:40])
def test_a_value_of_another_type_is_null_in_its_column_and_kept_as_a_misfit(
    kind: ColumnType, text: str, value: Any
) -> None:
    """Left to the loader a green load would hold null, and nobody would know."""
    values = column_values(column(kind), [Raw(b"null"), Raw(text.encode())])

    assert values.array.to_pylist() == [None, None]
    assert [(misfit.row, misfit.value) for misfit in values.misfits] == [(1, value)]
    assert isinstance(values.misfits[0].value, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    "text", ['{"id":5,"name":"Ada"}', '{"value":5,"name":"x"}', '{"id":null,"value":"5"}']
)
def test_an_object_with_an_id_gives_its_id_and_is_kept_whole(text: str) -> None:
    """As v1 sends references: a contact would lose its owner or customer."""
    values = column_values(column(BIGINT), [Raw(text.encode()), Raw(b"7")])

    assert values.array.to_pylist() == [5, 7]
    assert [(misfit.row, misfit.value, misfit.reason) for misfit in values.misfits] == [
        (0, cleaned(text.encode()).value, None)
    ]


@pytest.mark.parametrize(("kind", "text", "value"), REPLACED, ids=lambda value: str(value)[:40])
def test_what_postgres_refuses_is_replaced_and_counted(
    kind: ColumnType, text: bytes, value: Any
) -> None:
    values = column_values(column(kind), [Raw(text)])

    assert values.array.to_pylist() == [value]
    assert values.replaced > 0


@pytest.mark.parametrize("kind", list(ColumnType))
def test_null_is_null_in_every_type(kind: ColumnType) -> None:
    values = column_values(column(kind), [Raw(b"null")])

    assert values.array.to_pylist() == [None]
    assert values.misfits == []


def test_of_doubled_keys_the_last_one_holds() -> None:
    """As in Postgres's own jsonb."""
    assert cleaned(b'{"a":1,"a":2}').value == {"a": 2}


def test_a_number_keeps_its_digits() -> None:
    """A float would make 0.1 + 0.2 of what was exact."""
    assert json_text(cleaned(b"[0.30000000000000004000, 12345678901234567890]").value) == (
        "[0.30000000000000004000,12345678901234567890]"
    )
