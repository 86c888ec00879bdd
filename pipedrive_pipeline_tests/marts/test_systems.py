"""One engine for every system: text ids, equal ids, odd ids, links in circles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg import errors
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import RowCounts, build
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS, Link
from pipedrive_pipeline.marts.sources import MartSource, mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import SqlFile
from pipedrive_pipeline_tests.marts.raw_tables import (
    SYSTEM,
    RawTables,
    organization,
    person,
    user,
)
from pipedrive_pipeline_tests.orbit.connector import ORBIT
from pipedrive_pipeline_tests.warehouse.databases import ACME

OF_PIPEDRIVE, OF_ORBIT = Scope(ACME, SYSTEM), Scope(ACME, ORBIT.key)
MAIN_CONTACT = Link("main_contact_id", "contacts", "The main contact.", "Its id in the system.")


@pytest.fixture
def orbit(raw: RawTables) -> RawTables:
    """The raw tables of acme in Orbit, none made yet."""
    return RawTables(raw.warehouse, ACME, system=ORBIT.key)


def rows(warehouse: Warehouse, mart: str, system: str) -> dict[str, dict[str, Any]]:
    """Every row of one system by its remote id, with the transaction that wrote it."""
    with warehouse.transaction() as connection:
        query = f"select *, xmin::text as written_by from crm.{mart} where system = '{system}'"
        found = connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()
    return {row["remote_id"]: row for row in found}


@pytest.mark.slow
def test_equal_ids_of_two_systems_are_two_rows_with_links_of_their_own(
    raw: RawTables, orbit: RawTables
) -> None:
    """Numbers collided, and a build of one system rewrote the other one's rows."""
    raw.load(
        users=[user(1, "Anna")],
        organizations=[organization(1, owner_id=1)],
        persons=[person(1, org_id=1)],
    )
    orbit.load(
        users=[{"key": "1", "name": "Otto"}],
        accounts=[{"key": "1", "title": "Orbit AG", "owner": "1"}],
        people=[{"key": "1", "given": "Ida", "family": "Ohm", "account": "1"}],
        meetings=[{"key": "1", "title": "Visit", "account": "1"}],
    )
    build(raw.warehouse, OF_PIPEDRIVE)
    before = [rows(raw.warehouse, mart, SYSTEM) for mart in ("users", "customers", "contacts")]

    built = build(raw.warehouse, OF_ORBIT)
    whole = build(raw.warehouse, OF_ORBIT, is_whole=True)

    assert set(built.counts.values()) == {RowCounts(created=1)}
    assert set(whole.counts.values()) == {RowCounts(unchanged=1)}
    after = [rows(raw.warehouse, mart, SYSTEM) for mart in ("users", "customers", "contacts")]
    assert after == before
    customer = rows(raw.warehouse, "customers", ORBIT.key)["1"]
    assert (customer["name"], customer["owner_name"]) == ("Orbit AG", "Otto")
    assert customer["pipedrive_id"] is None
    assert rows(raw.warehouse, "contacts", ORBIT.key)["1"]["customer_id"] == customer["id"]


@pytest.mark.slow
def test_ids_of_any_text_are_linked_merged_and_marked(orbit: RawTables) -> None:
    """Also one that a number would lose its zeros to, and one with quotes and braces."""
    keys = ("007", "7", "a'b{0}%", "ü" * 300)
    orbit.load(
        accounts=[{"key": key, "title": f"of {key}"} for key in keys],
        people=[{"key": key, "given": "x", "account": key} for key in keys],
    )
    build(orbit.warehouse, OF_ORBIT)
    orbit.mark("accounts", "a'b{0}%", "merged")
    with orbit.warehouse.transaction(search_path=(orbit.schema,)) as connection:
        connection.execute("update deletions set merged_into = '007'")

    merged = build(orbit.warehouse, OF_ORBIT)

    customers = rows(orbit.warehouse, "customers", ORBIT.key)
    contacts = rows(orbit.warehouse, "contacts", ORBIT.key)
    assert merged.counts["customers"] == RowCounts(deleted=1)
    assert {key: contacts[key]["customer_id"] for key in keys} == {
        key: customers["007" if key == "a'b{0}%" else key]["id"] for key in keys
    }
    assert customers["a'b{0}%"]["merged_into_remote_id"] == "007"


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["x", "", "-1", "1e3", "9" * 40, "9223372036854775808"])
def test_an_odd_id_fails_no_build(raw: RawTables, odd: str) -> None:
    """A mark of a record that cannot be one, or an app's row, stopped all marts of a tenant."""
    raw.load(organizations=[organization(9223372036854775807)], persons=[person(1)])
    build(raw.warehouse, OF_PIPEDRIVE)
    raw.mark("organizations", odd)
    with raw.warehouse.transaction() as connection:
        connection.execute(
            "insert into crm.customers (tenant_id, system, remote_id, deleted_at)"
            " values ('acme', 'pipedrive', %s, now())",
            (odd,),
        )

    changed = build(raw.warehouse, OF_PIPEDRIVE)
    whole = build(raw.warehouse, OF_PIPEDRIVE, is_whole=True)

    assert (changed.is_whole, whole.counts["customers"]) == (False, RowCounts(unchanged=1))
    customers = rows(raw.warehouse, "customers", SYSTEM)
    assert customers["9223372036854775807"]["pipedrive_id"] is None  # 19 digits
    assert customers[odd]["pipedrive_id"] is None


def in_a_circle() -> tuple[MartSource, ...]:
    """Customers refer to a contact, which is built later and refers to a customer."""
    customers = mart_source(CUSTOMERS, SYSTEM)
    column = "organizations.visible_to::text as main_contact_remote_id"
    text = customers.select.text.replace(
        "\nfrom organizations", f",\n    {column}\nfrom organizations"
    )
    return (
        replace(
            customers,
            mart=replace(CUSTOMERS, links=(*CUSTOMERS.links, MAIN_CONTACT)),
            select=SqlFile("customers", text),
            outputs=(*customers.outputs, MAIN_CONTACT.remote_column),
        ),
        mart_source(CONTACTS, SYSTEM),
    )


@pytest.mark.slow
def test_links_in_a_circle_are_set_in_one_build(raw: RawTables) -> None:
    """Whichever comes first in the build, or only with a later load."""
    with raw.warehouse.transaction() as connection:
        connection.execute("alter table crm.customers add column main_contact_id uuid")
        connection.execute("alter table crm.customers add column main_contact_remote_id text")
    raw.load(
        organizations=[organization(1, visible_to=7), organization(2, visible_to=8)],
        persons=[person(7, org_id=1)],
    )
    first = build(raw.warehouse, OF_PIPEDRIVE, sources=in_a_circle())
    linked = rows(raw.warehouse, "customers", SYSTEM)
    again = build(raw.warehouse, OF_PIPEDRIVE, sources=in_a_circle(), is_whole=True)
    raw.load(persons=[person(8, org_id=2)])

    later = build(raw.warehouse, OF_PIPEDRIVE, sources=in_a_circle())

    contacts = rows(raw.warehouse, "contacts", SYSTEM)
    assert first.counts["customers"] == RowCounts(created=2)
    assert (linked["1"]["main_contact_id"], linked["2"]["main_contact_id"]) == (
        contacts["7"]["id"],
        None,
    )
    assert again.counts["customers"] == RowCounts(unchanged=2)
    assert all(comparison.is_equal for comparison in again.compared.values())
    assert later.counts == {
        "customers": RowCounts(updated=1),
        "contacts": RowCounts(created=1),
    }
    customers = rows(raw.warehouse, "customers", SYSTEM)
    assert customers["2"]["main_contact_id"] == contacts["8"]["id"]
    assert contacts["8"]["customer_id"] == customers["2"]["id"]


def test_a_user_who_is_gone_keeps_the_name(raw: RawTables) -> None:
    """The owner of old records is known although the source lists that user no longer."""
    raw.load(users=[user(3, "Anna")], organizations=[organization(1, owner_id=3)])
    build(raw.warehouse, OF_PIPEDRIVE)
    raw.mark("users", 3)

    built = build(raw.warehouse, OF_PIPEDRIVE)

    assert built.counts["users"] == RowCounts(deleted=1)
    assert rows(raw.warehouse, "users", SYSTEM)["3"]["deletion_reason"] == "deleted"
    assert rows(raw.warehouse, "customers", SYSTEM)["1"]["owner_name"] == "Anna"


def test_a_renamed_user_reaches_records_without_a_whole_build(raw: RawTables) -> None:
    """The system changes no record for it."""
    raw.load(users=[user(3, "Anna")], organizations=[organization(1, owner_id=3), organization(2)])
    build(raw.warehouse, OF_PIPEDRIVE)
    raw.load(users=[user(3, "Anna Neu")])

    built = build(raw.warehouse, OF_PIPEDRIVE)

    assert (built.is_whole, built.counts["customers"]) == (False, RowCounts(updated=1))
    assert rows(raw.warehouse, "customers", SYSTEM)["1"]["owner_name"] == "Anna Neu"


@pytest.mark.parametrize(
    "columns", ["(tenant_id, system)", "(tenant_id, remote_id)", "(tenant_id, former_remote_id)"]
)
def test_a_row_has_a_system_and_an_id_or_is_the_apps(raw: RawTables, columns: str) -> None:
    """An id without its system could be any record's."""
    with (
        pytest.raises(errors.CheckViolation, match="customers_system_check"),
        raw.warehouse.transaction() as connection,
    ):
        connection.execute(f"insert into crm.customers {columns} values ('acme', 'x')".encode())
