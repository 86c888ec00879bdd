"""Not null in raw = shown + rejected: compared with the views themselves, and noticed if not so."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.marts import build, mapping, publish_views
from pipedrive_pipeline.marts.fields import value_comparison
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison, compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of, published
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.warehouse.databases import ACME

SCOPE = Scope(ACME, SYSTEM)
STAFF, RATE, PLACE = key_of("Mitarbeiter"), key_of("Rabatt"), key_of("Ort")
TEXTS = {1: "120", 2: "viele", 3: "12.5"}


@pytest.fixture
def synced(raw: RawTables) -> RawTables:
    """Three customers with texts that are more or less numbers; nothing is due any more."""
    raw.load(
        organization_fields=[
            custom("Mitarbeiter"),
            custom("Rabatt", "double"),
            custom("Ort", "address"),
        ],
        organizations=[
            organization(number, custom_fields={STAFF: text}) for number, text in TEXTS.items()
        ],
    )
    published(raw)
    assert due(raw) == ValueComparison(seen=3, lost=(), is_whole=False)
    return raw


def due(raw: RawTables) -> ValueComparison:
    """What a run compares: no more than is due."""
    return compare_values(raw.warehouse, SCOPE, is_whole=False)


def save(raw: RawTables, organizations: dict[str, Any]) -> None:
    mapping.save(raw.warehouse, SCOPE, {"organizations": organizations}, who="a test")


def refused(warehouse: Warehouse) -> list[tuple[str | None, ...]]:
    """Record, field, value, reason and target of what a mapping could not convert."""
    with warehouse.transaction() as connection:
        return connection.execute(
            "select record_id, field, value, reason, target from integration.rejected_values"
            " order by record_id, field"
        ).fetchall()


def plant(raw: RawTables, statement: str) -> None:
    """What a bug of ours might do."""
    with raw.warehouse.transaction() as connection:
        connection.execute(statement.encode())


def hide(raw: RawTables, column: str) -> None:
    """A view that loses one column's values."""
    with raw.warehouse.transaction() as connection:
        (text,) = connection.execute(
            "select pg_get_viewdef('analytics_acme.customers_all'::regclass)"
        ).fetchone() or ("",)
        start = text.index(f" AS {column},")
        before = text.rindex(",\n", 0, start) + 1  # behind the column before it
        text = f"{text[:before]} null::text{text[start:]}"
        connection.execute(
            f"create or replace view analytics_acme.customers_all as {text}".encode()
        )


@pytest.mark.slow
def test_a_conversion_that_fails_is_listed_and_its_row_is_there(synced: RawTables) -> None:
    """It was null without a word; the preview alone had counted it."""
    save(
        synced,
        {
            STAFF: {"target": "employee_count", "as": "number"},
            f"{PLACE}.postal_code": {"target": "attributes.zip", "as": "number"},
        },
    )

    built = build(synced.warehouse, SCOPE)

    reason = "is no whole number of 64 bits"
    assert refused(synced.warehouse) == [
        ("2", STAFF, '"viele"', reason, "employee_count"),
        ("3", STAFF, '"12.5"', reason, "employee_count"),
    ]
    assert (built.values.refused, built.counts["customers"].updated) == (2, 1)
    assert due(synced).lost == ()


@pytest.mark.slow
def test_a_conversion_that_works_by_now_is_struck_off(synced: RawTables) -> None:
    """Corrected in the source, mapped otherwise, or a misfit of the field itself by now."""
    save(synced, {STAFF: {"target": "employee_count", "as": "number"}})
    build(synced.warehouse, SCOPE)

    synced.load(organizations=[organization(2, custom_fields={STAFF: "4"})])
    build(synced.warehouse, SCOPE)
    assert [row[0] for row in refused(synced.warehouse)] == ["3"]
    synced.load(organization_fields=[custom("Mitarbeiter", "int")])
    build(synced.warehouse, SCOPE)
    assert [row[3:] for row in refused(synced.warehouse)] == [
        ("is no whole number of 64 bits", None),
    ]
    synced.load(organization_fields=[custom("Mitarbeiter")])
    save(synced, {STAFF: "attributes.staff"})
    build(synced.warehouse, SCOPE)

    assert refused(synced.warehouse) == []


@pytest.mark.slow
def test_values_that_raw_could_not_store_stay_listed(synced: RawTables) -> None:
    """Ingest lists values of built-in fields; a build strikes off its own entries alone."""
    plant(
        synced,
        "insert into integration.rejected_values"
        " (tenant_id, system, entity, record_id, field, value, reason)"
        " values ('acme', 'pipedrive', 'organizations', '1', 'annual_revenue', 'x', 'no number'),"
        " ('acme', 'pipedrive', 'organizations', 'x', null, 'x', 'has no id')",
    )

    synced.load(organizations=[organization(1, custom_fields={STAFF: "5"})])
    build(synced.warehouse, SCOPE)

    assert [row[0] for row in refused(synced.warehouse)] == ["1", "x"]


@pytest.mark.slow
def test_only_loaded_rows_are_compared(synced: RawTables) -> None:
    """Who changed one record must not pay for all; what a run that died left is made up for."""
    synced.load(organizations=[organization(2, custom_fields={STAFF: "4", RATE: 2})])
    build(synced.warehouse, SCOPE)
    synced.load(organizations=[organization(3, custom_fields={STAFF: "5"})])
    published(synced)

    assert due(synced) == ValueComparison(seen=3, lost=(), is_whole=False)
    assert due(synced).seen == 0
    assert compare_values(synced.warehouse, SCOPE).seen == 4


@pytest.mark.slow
def test_a_value_that_a_view_loses_is_found_until_it_is_back(synced: RawTables) -> None:
    """The view decides, not the rules. v1's shape too, and a part without its whole."""
    hide(synced, "mitarbeiter")
    synced.load(
        organizations=[
            organization(1, custom_fields={STAFF: "120", RATE: 5}),
            organization(2, custom_fields={}, extra={STAFF: "4"}),
            organization(4, custom_fields={PLACE: {"value": None, "locality": "Kiel"}}),
        ]
    )
    build(synced.warehouse, SCOPE)

    lost = (("organizations", "1", STAFF), ("organizations", "2", STAFF))
    assert due(synced).lost == lost
    assert due(synced).lost == lost
    plant(synced, "update integration.mart_state set views_published = null")
    publish_views(synced.warehouse, ACME)

    assert due(synced) == ValueComparison(seen=4, lost=(), is_whole=False)
    assert compare_values(synced.warehouse, SCOPE).seen == 5


@pytest.mark.slow
def test_a_mapped_value_that_does_not_arrive_is_found(synced: RawTables) -> None:
    """The mart's own row is compared, column and attribute."""
    save(synced, {STAFF: "customer_number", RATE: "attributes.rate"})
    synced.load(organizations=[organization(1, custom_fields={STAFF: "120", RATE: 5})])
    build(synced.warehouse, SCOPE)
    assert due(synced).lost == ()

    plant(synced, "update crm.customers set customer_number = null, attributes = '{}'")

    assert set(compare_values(synced.warehouse, SCOPE).lost) == {
        ("organizations", "1", RATE),
        *(("organizations", str(number), STAFF) for number in TEXTS),
    }


@pytest.mark.slow
def test_custom_fields_that_are_no_object_are_listed_whole(synced: RawTables) -> None:
    """Nobody can say which fields they are; the record is there."""
    synced.load(
        organizations=[
            organization(1, custom_fields=["x"]),
            organization(2, custom_fields=[]),  # as PHP writes an object without fields
            organization(3, custom_fields={}, extra={STAFF: "5"}),
        ]
    )
    published(synced)

    assert [row[:3] for row in refused(synced.warehouse)] == [
        ("1", "custom_fields", '["x"]'),
    ]
    assert due(synced).lost == ()
    synced.load(organizations=[organization(1, custom_fields={STAFF: "1"}), organization(2)])
    published(synced)
    assert refused(synced.warehouse) == []


@pytest.mark.slow
def test_a_value_of_no_field_that_is_known_is_listed(synced: RawTables) -> None:
    """Its definition was not read, or is gone for ever; in either shape."""
    stray = key_of("nobody")
    synced.load(
        organizations=[
            organization(1, custom_fields={stray: "x"}),
            organization(2, extra={stray: "y", "cc_email": "z"}),
        ]
    )
    published(synced)

    assert [row[:2] for row in refused(synced.warehouse)] == [("1", stray), ("2", stray)]
    assert due(synced).lost == ()
    plant(synced, "delete from integration.rejected_values")
    assert compare_values(synced.warehouse, SCOPE).lost == (
        ("organizations", "1", stray),
        ("organizations", "2", stray),
    )


def test_a_sync_of_many_records_compares_a_sample_and_verify_compares_all(
    raw: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records at even distances, whose values show a column that shows nothing."""
    monkeypatch.setattr(value_comparison, "MOST_COMPARED", 6)
    monkeypatch.setattr(value_comparison, "SAMPLE", 3)
    raw.load(
        organization_fields=[custom("Mitarbeiter"), custom("Rabatt")],
        organizations=[organization(key, custom_fields={STAFF: "5"}) for key in range(1, 8)],
    )
    published(raw)
    hide(raw, "mitarbeiter")

    sampled = due(raw)

    assert sampled == ValueComparison(
        seen=3, lost=tuple(("organizations", key, STAFF) for key in ("1", "3", "5")), is_whole=False
    )
    assert compare_values(raw.warehouse, SCOPE).seen == 7


def test_a_mapping_that_is_saved_after_a_build_is_compared_after_the_next(
    synced: RawTables,
) -> None:
    """Its columns are empty until then, and afterwards those that it no longer fills."""
    whole = ValueComparison(seen=3, lost=(), is_whole=True)
    built = build(synced.warehouse, SCOPE, is_verifying=True)
    save(synced, {STAFF: "customer_number"})

    assert compare_values(synced.warehouse, SCOPE).lost
    assert compare_values(synced.warehouse, SCOPE, built_from=built.built_from) == whole
    mapped = build(synced.warehouse, SCOPE)
    assert compare_values(synced.warehouse, SCOPE, built_from=mapped.built_from) == whole
    save(synced, {STAFF: "vat_id"})
    build(synced.warehouse, SCOPE)
    assert compare_values(synced.warehouse, SCOPE, built_from=mapped.built_from) == whole
