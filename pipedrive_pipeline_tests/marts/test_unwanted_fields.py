"""A tenant that wants no custom fields for now: none shown, none mapped, all kept in raw."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.marts import build, mapping
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import columns, custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.warehouse.databases import ACME

NUMBER, SITE, RATE = key_of("Nummer"), key_of("Seite"), key_of("Rabatt")


@pytest.fixture
def synced(raw: RawTables) -> RawTables:
    """A customer whose number and website are custom fields, and a value that does not fit."""
    raw.load(
        organization_fields=[custom("Nummer"), custom("Seite"), custom("Rabatt", "double")],
        organizations=[
            organization(
                1,
                website="https://own.example",
                custom_fields={NUMBER: "K-1", SITE: "https://mapped.example", RATE: "viel"},
            )
        ],
    )
    text = {"organizations": {NUMBER: "customer_number", SITE: "website"}}
    mapping.save(raw.warehouse, Scope(ACME, SYSTEM), text, who="a test")
    published(raw)
    return raw


def want(warehouse: Warehouse, *, fields: bool) -> None:
    """What the tenant set."""
    with warehouse.transaction() as connection:
        connection.execute(
            """
            insert into integration.sync_settings (tenant_id, system, sync_custom_fields)
            values ('acme', 'pipedrive', %s)
            on conflict (tenant_id, system) do update
            set sync_custom_fields = excluded.sync_custom_fields
            """,
            (fields,),
        )


def rejected(warehouse: Warehouse) -> int:
    with warehouse.transaction() as connection:
        row = connection.execute("select count(*) from integration.rejected_values").fetchone()
    return row[0] if row else -1


@pytest.mark.slow
def test_columns_go_and_come_back_under_their_names(synced: RawTables) -> None:
    """Fields that came meanwhile are there too; what did not fit is looked at again."""
    want(synced.warehouse, fields=False)
    published(synced)
    assert columns(synced.warehouse) == {}
    assert rejected(synced.warehouse) == 0
    assert compare_values(synced.warehouse, Scope(ACME, SYSTEM)).lost == ()

    synced.load(organization_fields=[custom("Neu")])
    published(synced)
    want(synced.warehouse, fields=True)
    published(synced)

    assert list(columns(synced.warehouse)) == ["nummer", "seite", "rabatt", "neu"]
    assert shown(synced.warehouse)[0]["nummer"] == "K-1"
    assert rejected(synced.warehouse) == 1
    assert compare_values(synced.warehouse, Scope(ACME, SYSTEM)).lost == ()


@pytest.mark.slow
def test_mapped_columns_keep_their_values(synced: RawTables) -> None:
    """The app relies on them; a change of the source arrives when fields are wanted again."""
    want(synced.warehouse, fields=False)
    synced.load(organizations=[organization(1, custom_fields={NUMBER: "K-2"}, name="Neu")])
    published(synced)
    values = shown(synced.warehouse)[0]
    assert (values["name"], values["customer_number"], values["website"]) == (
        "Neu",
        "K-1",
        "https://mapped.example",
    )

    want(synced.warehouse, fields=True)
    build(synced.warehouse, Scope(ACME, SYSTEM))

    assert shown(synced.warehouse)[0]["customer_number"] == "K-2"


@pytest.mark.slow
def test_columns_that_another_view_uses_stay(synced: RawTables) -> None:
    """The columns stay as they are until nothing depends on them."""
    with synced.warehouse.transaction() as connection:
        connection.execute("create schema own")
        connection.execute("create view own.report as select nummer from analytics_acme.customers")

    want(synced.warehouse, fields=False)
    published(synced)

    assert list(columns(synced.warehouse)) == ["nummer", "seite", "rabatt"]
    with synced.warehouse.transaction() as connection:
        assert connection.execute("select nummer from own.report").fetchall() == [("K-1",)]


def test_fields_that_are_wanted_since_the_views_were_published_are_compared_later(
    synced: RawTables,
) -> None:
    """A setting that was saved amid a run ended it: the views lacked the columns."""
    scope = Scope(ACME, SYSTEM)
    want(synced.warehouse, fields=False)
    published(synced)
    want(synced.warehouse, fields=True)

    assert compare_values(synced.warehouse, scope).seen == 0

    published(synced)
    compared = compare_values(synced.warehouse, scope)
    assert (compared.seen, compared.lost) == (3, ())
