"""Where a column of a mart or a view comes from is what its select and its declaration say."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.marts.fields.columns import ViewColumn
from pipedrive_pipeline.marts.lineage import origins, view_origins
from pipedrive_pipeline.marts.select_text import SourceColumn
from pipedrive_pipeline.marts.sources import MartSource, mart_source, mart_sources

SYSTEM = "pipedrive"
ADDRESS = ("street", "city", "postal_code", "region", "country", "address")


def raw(entity: str, *columns: str) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn((SYSTEM, entity), column) for column in columns)


def crm(name: str, column: str) -> SourceColumn:
    return SourceColumn(("crm", name), column)


# By hand, from reading the selects; a column that is not listed here has no source.
EXPECTED = {
    "users": {
        "remote_id": raw("users", "id"),
        "pipedrive_id": raw("users", "id"),
        "name": raw("users", "name"),
        "email": raw("users", "email"),
        "is_active": raw("users", "active_flag"),
        "is_admin": raw("users", "access"),
        "role": raw("users", "role_id"),
        "time_zone": raw("users", "timezone_name"),
        "changed_at": raw("users", "modified"),
        "remote_created_at": raw("users", "created"),
        "deleted_at": raw("users", "is_deleted", "modified"),
        "deletion_reason": raw("users", "is_deleted"),
    },
    "customers": {
        "remote_id": raw("organizations", "id"),
        "pipedrive_id": raw("organizations", "id"),
        "name": raw("organizations", "name"),
        **dict.fromkeys(ADDRESS, raw("organizations", "address")),
        "website": raw("organizations", "website"),
        "industry": (*raw("organizations", "industry"), *raw("organization_fields", "options")),
        "annual_revenue": raw("organizations", "annual_revenue"),
        "employee_count": raw("organizations", "employee_count"),
        "labels": (*raw("organizations", "label_ids"), *raw("organization_fields", "options")),
        "visible_to": raw("organizations", "visible_to"),
        "owner_remote_id": raw("organizations", "owner_id"),
        "owner_id": (*raw("organizations", "owner_id"), crm("users", "id")),
        "owner_name": (*raw("organizations", "owner_id"), crm("users", "name")),
        "changed_at": raw("organizations", "update_time"),
        "remote_created_at": raw("organizations", "add_time"),
        "pipedrive_created_at": raw("organizations", "add_time"),
        "deleted_at": raw("organizations", "is_deleted", "update_time"),
        "deletion_reason": raw("organizations", "is_deleted"),
    },
    "contacts": {
        "remote_id": raw("persons", "id"),
        "pipedrive_id": raw("persons", "id"),
        "customer_remote_id": raw("persons", "org_id"),
        "customer_id": (*raw("persons", "org_id"), crm("customers", "id")),
        "name": raw("persons", "name"),
        "first_name": raw("persons", "first_name"),
        "last_name": raw("persons", "last_name"),
        "email": raw("persons", "emails"),
        "emails": raw("persons", "emails"),
        "phone": raw("persons", "phones"),
        "phones": raw("persons", "phones"),
        "job_title": raw("persons", "job_title"),
        "labels": (*raw("persons", "label_ids"), *raw("person_fields", "options")),
        "visible_to": raw("persons", "visible_to"),
        "owner_remote_id": raw("persons", "owner_id"),
        "owner_id": (*raw("persons", "owner_id"), crm("users", "id")),
        "owner_name": (*raw("persons", "owner_id"), crm("users", "name")),
        "changed_at": raw("persons", "update_time"),
        "remote_created_at": raw("persons", "add_time"),
        "pipedrive_created_at": raw("persons", "add_time"),
        "deleted_at": raw("persons", "is_deleted", "update_time"),
        "deletion_reason": raw("persons", "is_deleted"),
    },
}


CONSTANTS = {  # the same in every row, or known by the way of reading
    "stages": {"is_closed", "is_won"},
    "deal_contacts": {"is_primary"},
    "deal_stage_history": {"origin"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_column_names_the_columns_that_it_is_made_of(name: str) -> None:
    """Read from the text of the select, through its sub-selects."""
    source = mart_source(mart(name), SYSTEM)
    found = {name: origin.sources for name, origin in origins(source, []).items()}

    assert found == EXPECTED[name]


@pytest.mark.parametrize("source", mart_sources(SYSTEM), ids=lambda source: source.name)
def test_every_output_of_a_select_has_a_source(source: MartSource) -> None:
    """A select that the text reader does not understand would lose lineage unnoticed."""
    found = origins(source, [])

    assert set(source.columns) - CONSTANTS.get(source.name, set()) <= found.keys()


def test_a_source_is_followed_through_queries_tables_and_their_history() -> None:
    """The name of the engine's own column of a history may be a column of the records."""
    found = origins(mart_source(mart("deal_stage_history"), SYSTEM), [])

    assert set(found["amount"].sources) >= {*raw("deals", "value"), *raw("deal_changes", "time")}
    assert not {*raw("deals", "origin"), *raw("deals", "title")} & {
        source for origin in found.values() for source in origin.sources
    }
    prices = origins(mart_source(mart("product_prices"), SYSTEM), [])["price"].sources
    assert prices == (*raw("products", "prices"), *raw("product_variations", "prices"))


def test_a_views_column_comes_from_the_mart_a_linked_row_or_the_raw_field() -> None:
    column = ViewColumn(SYSTEM, "f0", "varchar", "", 1, "discount", "Discount")

    found = view_origins(mart("contacts"), [column])

    assert found["name"] == (crm("contacts", "name"),)
    assert found["customer_name"] == (crm("customers", "name"),)
    assert found["discount"] == raw("persons", "custom_fields")
    assert {column.name for column in mart("contacts").all_columns} <= found.keys()
