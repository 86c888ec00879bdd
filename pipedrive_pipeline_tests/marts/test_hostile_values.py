"""Values of any kind in fields of any type: shown, or listed as rejected, never just gone."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql

from pipedrive_pipeline.connectors.pipedrive.field_types import FIELD_TYPES
from pipedrive_pipeline.marts import build, publish_views
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.marts.fields.values import OF_SEVERAL_PARTS, parts_of
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of, shown
from pipedrive_pipeline_tests.marts.hostile import VALUES
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.warehouse.databases import ACME

KINDS = [*FIELD_TYPES, "hologram"]


def rejected(warehouse: Warehouse) -> dict[tuple[int, str], str]:
    """Reasons by record and type of field."""
    kinds = {key_of(kind): kind for kind in KINDS}
    with warehouse.transaction() as connection:
        counts = connection.execute(
            "select record_id, field, reason from integration.rejected_values"
        ).fetchall()
    return {(int(record), kinds.get(field, field)): reason for record, field, reason in counts}


def with_values(raw: RawTables, values: list[str]) -> None:
    """One organization a value, which it has in a field of every type."""
    raw.load(
        organization_fields=[custom(f"f {kind}", kind, key=kind) for kind in KINDS],
        organizations=[organization(number) for number in range(len(values))],
    )
    with raw.warehouse.transaction(search_path=(raw.schema,)) as connection:
        connection.cursor().executemany(
            sql.SQL("update organizations set custom_fields = %s::jsonb where id = %s"),
            [
                ("{" + ", ".join(f'"{key_of(kind)}": {value}' for kind in KINDS) + "}", number)
                for number, value in enumerate(values)
            ],
        )


@pytest.mark.slow
def test_nothing_is_silently_null(raw: RawTables) -> None:
    """150 hostile values in each of 18 types: values that are in raw are shown or rejected."""
    with_values(raw, VALUES)

    built = build(raw.warehouse, Scope(ACME, SYSTEM))
    publish_views(raw.warehouse, ACME)

    result = compare_values(raw.warehouse, Scope(ACME, SYSTEM))
    assert len(VALUES) >= 150
    assert result.lost == ()
    assert result.seen > len(KINDS) * (len(VALUES) - 2)
    of_nulls_alone = len(OF_SEVERAL_PARTS)  # one object of them in each type that has parts
    assert built.values.seen == len(KINDS) * len(VALUES) - of_nulls_alone
    assert built.values.rejected == len(rejected(raw.warehouse))


EXPECTED: list[tuple[str, str, Any]] = [  # value, type, what the first column shows
    ("0.1", "double", Decimal("0.1")),
    ("1e400", "double", Decimal("1e400")),
    ('"12,5"', "double", None),
    ('"NaN"', "double", None),
    ('"1e99999"', "double", None),
    ("123456789012345678901234567890.123456789", "double",
     Decimal("123456789012345678901234567890.123456789")),
    ("9007199254740993", "int", 9007199254740993),
    ("9223372036854775808", "int", None),
    ("1.5", "int", None),
    ("1.0", "int", 1),
    ('"0000-00-00"', "date", None),
    ('"2024-02-30"', "date", None),
    ('"2024-02-29"', "date", "2024-02-29"),
    ('"9999-12-31"', "date", "9999-12-31"),
    ('"10000-01-01"', "date", None),
    ('"infinity"', "date", None),
    ('"now"', "date", None),
    ('"24:00"', "time", None),
    ('"23:59:60"', "time", None),
    ('"23:59:59.999999"', "time", "23:59:59.999999"),
    ('"12:00:00+14:00"', "time", None),
    ("[2,1,1]", "set", ["1", "2"]),
    ('"2,1"', "set", ["1", "2"]),
    ("[1,null]", "set", None),
    ("[]", "set", []),
    ('"1"', "enum", "1"),
    ("1", "boolean", True),
    ('"yes"', "boolean", None),
    ('{"x": 1}', "varchar", None),
    ('"NULL"', "varchar", "NULL"),
    ('""', "varchar", ""),
    ("true", "varchar", "true"),
    ('{"id": 3, "name": "Ada"}', "user", "Ada"),
    ('{"x": 1}', "monetary", None),
    ('{"value": "x"}', "monetary", None),
    ("1.5", "monetary", Decimal("1.5")),
    ('{"x": 1}', "hologram", {"x": 1}),
]  # fmt: skip


@pytest.mark.slow
def test_values_are_what_they_were_sent_as_or_rejected(raw: RawTables) -> None:
    """By hand. A value that does not fit is null in its column only; its row is there."""
    with_values(raw, [value for value, _, _ in EXPECTED])

    build(raw.warehouse, Scope(ACME, SYSTEM))
    publish_views(raw.warehouse, ACME)

    rows = shown(raw.warehouse)
    first = {kind: f"f_{kind}" + parts_of(SYSTEM, kind)[0].suffix for kind in KINDS}
    reasons = rejected(raw.warehouse)
    for number, (value, kind, expected) in enumerate(EXPECTED):
        value_shown = rows[number][first[kind]]
        value_shown = str(value_shown) if hasattr(value_shown, "isoformat") else value_shown
        assert (value, kind, value_shown) == (value, kind, expected)
        assert ((number, kind) in reasons) is (expected is None), (value, kind)


def test_a_value_that_fits_by_now_is_struck_off(raw: RawTables) -> None:
    """Corrected in the source, or of another type there."""
    raw.load(
        organization_fields=[custom("Rabatt", "double"), custom("Anzahl", "double")],
        organizations=[
            organization(1, custom_fields={key_of("Rabatt"): "viel", key_of("Anzahl"): "drei"})
        ],
    )
    assert build(raw.warehouse, Scope(ACME, SYSTEM)).values.rejected == 2

    raw.load(organizations=[organization(1, custom_fields={key_of("Anzahl"): "drei"})])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    assert [field for _, field in rejected(raw.warehouse)] == [key_of("Anzahl")]
    raw.load(organization_fields=[custom("Anzahl", "varchar")])
    build(raw.warehouse, Scope(ACME, SYSTEM))

    assert rejected(raw.warehouse) == {}


@pytest.mark.slow
def test_custom_fields_without_any_field_are_no_rejection(raw: RawTables) -> None:
    """PHP writes an empty object as an empty array; any other shape is listed."""
    shapes: list[Any] = [[], '""', {}, None, [5], '"5"', "5"]
    raw.load(
        organization_fields=[custom("Rabatt", "double")],
        organizations=[
            organization(number, custom_fields=shape) for number, shape in enumerate(shapes)
        ],
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))
    publish_views(raw.warehouse, ACME)

    assert [number for number, _ in rejected(raw.warehouse)] == [4, 5, 6]
    assert compare_values(raw.warehouse, Scope(ACME, SYSTEM)).lost == ()


def test_a_value_at_the_top_level_is_looked_at_too(raw: RawTables) -> None:
    """v1's shape: the parts are separate keys next to the value."""
    key = key_of("Limit")
    raw.load(
        organization_fields=[custom("Limit", "monetary")],
        organizations=[
            organization(1, extra={key: 5, f"{key}_currency": "EUR"}),
            organization(2, extra={key: "viel"}),
        ],
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    assert rejected(raw.warehouse) == {(2, key): "value is no number"}


@pytest.mark.slow
def test_2000_names_leave_the_catalogue_as_expected(raw: RawTables) -> None:
    """More fields than a view can hold, any text as a name: all there, each under its own name."""
    names = [_name(number) for number in range(2_000)]
    raw.load(
        organization_fields=[custom(name, key=str(n)) for n, name in enumerate(names)],
        organizations=[
            organization(1, custom_fields={key_of(str(n)): str(n) for n in range(2_000)})
        ],
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))

    publish_views(raw.warehouse, ACME)

    with raw.warehouse.transaction() as connection:
        known = dict(
            connection.execute("select field_key, field_name from integration.fields").fetchall()
        )
        values = connection.execute(
            "select field_key, column_name, is_overflow from integration.view_columns"
        ).fetchall()
        relations = connection.execute(
            "select count(*) from pg_class where relnamespace = 'analytics_acme'::regnamespace"
            " and relname like 'customers%'"
        ).fetchone()
    row = shown(raw.warehouse)[0]
    assert known == {key_of(str(n)): name for n, name in enumerate(names)}
    assert len({name for _, name, _ in values}) == 2_000
    assert max(len(name.encode()) for _, name, _ in values) <= 63
    assert sum(is_overflow for _, _, is_overflow in values) == 500
    numbers = {key_of(str(n)): str(n) for n in range(2_000)}
    for key, column, is_overflow in values:
        assert (row["more_fields"] if is_overflow else row)[column] == numbers[key]
    assert relations == (2,)
    assert compare_values(raw.warehouse, Scope(ACME, SYSTEM)).lost == ()


def _name(number: int) -> str:
    """Any text: quotes, commands, long ones, other scripts, and many that are alike."""
    pieces = [
        '"', "'", ";", "--", "/*", "$$", "%s", "{}", "\\", "\n", "\t", " ", "select", "Foo Bar",
        "foo_bar", "ä", "ß", "İ", "Ж", "名", "😀", "\u202e", "\u200d", "e\u0301", "0", "9", "_",
        "x" * 70, "user", "drop table crm.customers", "id", "", "ﬁ", "½",
    ]  # fmt: skip
    size = len(pieces)
    return "".join(
        pieces[(number * step + number // size) % size] for step in range(1, 2 + number % 4)
    )


def test_the_corpus_is_json() -> None:
    """A value that is no JSON would test nothing."""
    assert all(json.loads(value) is not None for value in VALUES)
