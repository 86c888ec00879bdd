"""One tenant with two systems: its views show the rows and custom fields of both."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.connect.consent.company_change import start_afresh
from pipedrive_pipeline.marts import build, mapping, publish_due, publish_views
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison, compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import RawTables, organization
from pipedrive_pipeline_tests.orbit.connector import ORBIT
from pipedrive_pipeline_tests.warehouse.databases import ACME

RATE = key_of("Rabatt")
OF_ORBIT = Scope(ACME, ORBIT.key)


def defined(code: str, title: str, kind: str, **choices: str) -> dict[str, Any]:
    """A custom field of Orbit's accounts."""
    return {"code": code, "record": "accounts", "title": title, "kind": kind, "choices": choices}


@pytest.fixture
def raw(raw: RawTables) -> RawTables:
    """Pipedrive's organization with a discount, published."""
    raw.load(
        organization_fields=[custom("Rabatt", "double")],
        organizations=[organization(17, custom_fields={RATE: 5})],
    )
    published(raw)
    return raw


@pytest.fixture
def orbit(raw: RawTables) -> RawTables:
    """Orbit's account under the same number, with another tone; not built yet."""
    orbit = RawTables(raw.warehouse, ACME, system=ORBIT.key)
    orbit.load(
        properties=[
            defined("rabatt", "Rabatt", "text"),
            defined("tone", "Tone", "choice", c1="Red"),
            defined("odd", "Odd", "hologram"),
        ],
        accounts=[
            {
                "key": "17",
                "title": "Orbit AG",
                "props": {"rabatt": "much", "tone": "c1", "odd": [1]},
            }
        ],
    )
    return orbit


def by_system(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in shown(warehouse)}


def catalogue(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            "select relname, oid, xmin::text from pg_catalog.pg_class"
            " where relnamespace = 'analytics_acme'::regnamespace order by relname"
        ).fetchall()


@pytest.mark.slow
@pytest.mark.usefixtures("orbit")
def test_the_first_sync_of_a_second_system_keeps_the_columns_of_the_first(raw: RawTables) -> None:
    """It removed them for good, since the views were made from one system's fields."""
    build(raw.warehouse, OF_ORBIT)
    publish_views(raw.warehouse, ACME)

    rows = by_system(raw.warehouse)
    assert rows.keys() == {"pipedrive", "orbit"}
    assert (rows["pipedrive"]["rabatt"], rows["pipedrive"]["tone"]) == (5, None)
    assert (rows["orbit"]["tone"], rows["orbit"]["tone_id"]) == ("Red", "c1")
    assert rows["orbit"]["odd"] == [1]
    assert [row["remote_id"] for row in rows.values()] == ["17", "17"]
    before = catalogue(raw.warehouse)
    published(raw)
    assert catalogue(raw.warehouse) == before


@pytest.mark.slow
def test_two_fields_of_one_name_have_two_columns(raw: RawTables, orbit: RawTables) -> None:
    """A discount in percent and one in words are not one column."""
    build(raw.warehouse, OF_ORBIT)
    publish_views(raw.warehouse, ACME)

    rows = by_system(raw.warehouse)
    assert (rows["pipedrive"]["rabatt"], rows["pipedrive"]["rabatt_orbit"]) == (5, None)
    assert (rows["orbit"]["rabatt"], rows["orbit"]["rabatt_orbit"]) == (None, "much")
    orbit.load(properties=[defined("rabatt", "Nachlass", "text")])
    raw.load(organization_fields=[custom("Tone", "double", key="Rabatt")])
    build(raw.warehouse, OF_ORBIT)
    published(raw)
    rows = by_system(raw.warehouse)
    assert (rows["orbit"]["nachlass"], rows["orbit"]["tone"]) == ("much", "Red")
    assert rows["pipedrive"]["tone_pipedrive"] == 5


@pytest.mark.slow
@pytest.mark.usefixtures("orbit")
def test_custom_fields_that_one_system_should_not_show_stay_in_the_other(raw: RawTables) -> None:
    with raw.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.sync_settings (tenant_id, system, sync_custom_fields)"
            " values ('acme', 'pipedrive', false)"
        )

    build(raw.warehouse, OF_ORBIT)
    publish_views(raw.warehouse, ACME)

    rows = by_system(raw.warehouse)
    assert "rabatt" not in rows["pipedrive"]
    assert rows["orbit"]["tone"] == "Red"


@pytest.mark.slow
def test_values_and_mapping_of_a_system_with_keys_of_text(raw: RawTables, orbit: RawTables) -> None:
    """Every value is shown or rejected, and a field fills the column of its own system's row."""
    text = {"accounts": {"rabatt": "customer_number", "tone": "industry"}, "people": {}}
    saved = mapping.save(raw.warehouse, OF_ORBIT, text, who="a test")
    orbit.load(accounts=[{"key": "A-9", "title": "Nine", "props": {"tone": ["c1"], "stray": "x"}}])

    built = build(raw.warehouse, OF_ORBIT)
    publish_views(raw.warehouse, ACME)

    assert saved.mapping.written() == text
    assert built.values.rejected == 2
    assert compare_values(raw.warehouse, OF_ORBIT) == ValueComparison(4, (), is_whole=True)
    rows = by_system(raw.warehouse)
    assert rows["pipedrive"]["customer_number"] is None
    rows = {row["remote_id"]: row for row in shown(raw.warehouse) if row["system"] == "orbit"}
    assert (rows["17"]["customer_number"], rows["17"]["industry"]) == ("much", "Red")
    assert rows["A-9"]["industry"] is None
    with raw.warehouse.transaction() as connection:
        listed = connection.execute(
            "select system, entity, record_id, field from integration.rejected_values"
            " order by field"
        ).fetchall()
    assert listed == [("orbit", "accounts", "A-9", "stray"), ("orbit", "accounts", "A-9", "tone")]


@pytest.mark.slow
@pytest.mark.usefixtures("orbit")
def test_another_company_in_one_system_keeps_the_views_of_the_others(raw: RawTables) -> None:
    """Its raw tables are dropped with the views that read them; the sensor makes them again."""
    build(raw.warehouse, OF_ORBIT)
    publish_views(raw.warehouse, ACME)

    with raw.warehouse.transaction(ACME) as connection:
        start_afresh(connection, Scope(ACME, raw.system))
    published_again = publish_due(raw.warehouse)

    assert published_again.remade == ["acme"]
    assert by_system(raw.warehouse)["orbit"]["tone"] == "Red"
