"""Custom fields of deals, products and leads are columns of their views."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import columns, custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import RawTables
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

SIZE, TAGS, BUDGET, SEEN = (key_of(name) for name in ("Größe", "Marken", "Budget", "Besichtigt"))
DEFINED = [
    custom("Größe", "enum", {1: "klein", 2: "groß"}),
    custom("Marken", "set", {7: "rot", 8: "blau"}),
    custom("Budget", "monetary"),
    custom("Besichtigt", "date"),
]


@pytest.fixture(scope="module")
def views(postgres: str, template: str) -> Iterator[Warehouse]:
    """A deal and a product with values as API v2 sends them; a lead as v1 does."""
    with databases.database(postgres, template=template) as url:
        raw = RawTables(Warehouse(url), ACME)
        fill(raw)
        published(raw)
        yield raw.warehouse


def fill(raw: RawTables) -> None:
    values = {
        SIZE: 2,
        TAGS: [7, 8],
        BUDGET: {"value": 12.5, "currency": "EUR"},
        SEEN: "2026-03-01",
    }
    raw.load(
        deal_fields=DEFINED,
        product_fields=DEFINED[:1],
        deals=[{"id": 5, "title": "Machine", "status": "open", "custom_fields": values}],
        products=[{"id": 6, "name": "Hook", "custom_fields": {SIZE: 1}}],
        leads=[
            {
                "id": "0b1e2c40-0000-11ef-8000-000000000001",
                "title": "Lead",
                # Custom fields lie at the root of a lead, in the form of API v1.
                "extra": {
                    SIZE: "2",
                    TAGS: "7,8",
                    BUDGET: 12.5,
                    f"{BUDGET}_currency": "EUR",
                    SEEN: "2026-03-01",
                },
            }
        ],
    )


@pytest.mark.parametrize("view", ["deals", "leads"])
def test_custom_fields_of_deals_are_those_of_leads_too(views: Warehouse, view: str) -> None:
    """One set of definitions, two forms of values, the same columns."""
    (row,) = shown(views, view)

    assert {name: row[name] for name in ("groesse", "groesse_id", "marken", "besichtigt")} == {
        "groesse": "groß",
        "groesse_id": 2,
        "marken": ["rot", "blau"],
        "besichtigt": row["besichtigt"],
    }
    assert str(row["besichtigt"]) == "2026-03-01"
    assert (row["budget_amount"], row["budget_currency"]) == (12.5, "EUR")
    kind, meaning = columns(views, view)["budget_amount"]
    assert (kind, meaning) == (
        "numeric",
        f"Budget (field {BUDGET} of pipedrive, type monetary): amount",
    )


def test_custom_fields_of_products_have_their_own_definitions(views: Warehouse) -> None:
    """A product has none of a deal's fields."""
    (row,) = shown(views, "products")

    assert row["groesse"] == "klein"
    assert "budget_amount" not in row


def test_the_dictionary_names_the_field_of_each_kind_of_record(views: Warehouse) -> None:
    """The same key is a field of deals and of leads."""
    with views.transaction(search_path=("analytics_acme",)) as connection:
        rows = connection.execute(
            "select view_name, source_field from columns where column_name = 'groesse'"
            " and view_name !~ '_all$' order by view_name"
        ).fetchall()

    assert rows == [
        ("deals", f"pipedrive.deals.{SIZE}"),
        ("leads", f"pipedrive.leads.{SIZE}"),
        ("products", f"pipedrive.products.{SIZE}"),
    ]
