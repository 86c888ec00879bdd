"""Contact points: one form of each number, address and site, complete after whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.marts import build
from pipedrive_pipeline.marts.contact_points import values
from pipedrive_pipeline.marts.contact_points.values import PointValue
from pipedrive_pipeline.marts.declared import CONTACTS
from pipedrive_pipeline.marts.erasure import erase_rows
from pipedrive_pipeline.marts.sources import mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.warehouse.databases import ACME

SCOPE = Scope(ACME, SYSTEM)


def phones(*numbers: str) -> list[dict[str, Any]]:
    return [{"value": number, "primary": not at} for at, number in enumerate(numbers)]


def execute(warehouse: Warehouse, statement: str, *parameters: object) -> None:
    with warehouse.transaction() as connection:
        connection.execute(statement.encode(), parameters)


def points(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            "select kind, entered, value from crm.contact_points order by kind, entered"
        ).fetchall()


def in_germany(warehouse: Warehouse) -> None:
    execute(warehouse, "update integration.tenants set country = 'DE'")


# --- one form


@pytest.mark.parametrize(
    ("entered", "country", "expected"),
    [
        ("030 1234567", "DE", PointValue("+49301234567")),
        ("(030) 12 34-567", "DE", PointValue("+49301234567")),
        ("0049 30 1234567", "DE", PointValue("+49301234567")),
        ("+49 (0)30 1234567", None, PointValue("+49301234567")),
        ("0049 30 1234567", None, PointValue("+49301234567")),
        ("tel:+49-30-1234567;ext=12", "FR", PointValue("+49301234567", "12")),
        ("+1 415 555 0132 x 77", None, PointValue("+14155550132", "77")),
        ("415-555-0132", "US", PointValue("+14155550132")),
        ("06 12 34 56 78", "FR", PointValue("+33612345678")),
        ("06 698 12345", "IT", PointValue("+390669812345")),
        ("030 1234567", None, PointValue()),
        ("ask Ann", "DE", PointValue()),
        ("1", "DE", PointValue()),
        ("9" * 1_000, "DE", PointValue()),
        (
            "\u0660\u0663\u0660 \u0661\u0662\u0663\u0664\u0665\u0666\u0667",
            "DE",
            PointValue("+49301234567"),
        ),
    ],
)
def test_a_phone_number_has_one_form(
    entered: str, country: str | None, expected: PointValue
) -> None:
    """However it was written, with the extension kept and the country of the tenant as default."""
    assert values.phone(entered, country) == expected


@pytest.mark.parametrize(
    ("entered", "expected"),
    [
        ("Ann@Acme.Example", PointValue("ann@acme.example", domain="acme.example")),
        (" mailto:ann@acme.example ", PointValue("ann@acme.example", domain="acme.example")),
        ("Ann <ann@acme.example>", PointValue("ann@acme.example", domain="acme.example")),
        ("Ann@GMail.com", PointValue("ann@gmail.com")),
        (
            "ann@b\u00fccher.example",
            PointValue("ann@xn--bcher-kva.example", domain="xn--bcher-kva.example"),
        ),
        ("ann@acme", PointValue()),
        ("a@acme.example, b@acme.example", PointValue()),
        ("none", PointValue()),
    ],
)
def test_an_address_is_lower_case_and_a_free_mail_domain_is_nobodys(
    entered: str, expected: PointValue
) -> None:
    assert values.email(entered) == expected


@pytest.mark.parametrize(
    ("entered", "domain"),
    [
        ("https://www.Acme.example/en?x=1", "acme.example"),
        ("acme.example:8080/shop", "acme.example"),
        ("shop.acme.example.", "shop.acme.example"),
        ("http://[::1", None),
        ("10.0.0.1", None),
        ("our website", None),
    ],
)
def test_a_website_is_its_domain(entered: str, domain: str | None) -> None:
    assert values.website(entered) == PointValue(domain, domain=domain)


# --- kept by the build


def test_the_first_build_reads_every_text_once(warehouse: Warehouse, raw: RawTables) -> None:
    in_germany(warehouse)
    raw.load(
        organizations=[organization(1)],
        persons=[
            person(
                7,
                org_id=1,
                phones=phones("030 1234567", "see below"),
                emails=phones("Ann@Acme.example"),
            )
        ],
    )

    build(warehouse, SCOPE)

    assert points(warehouse) == [
        ("email", "Ann@Acme.example", "ann@acme.example"),
        ("phone", "030 1234567", "+49301234567"),
        ("phone", "see below", None),
    ]


def test_a_changed_record_changes_its_points_and_no_others(
    warehouse: Warehouse, raw: RawTables
) -> None:
    in_germany(warehouse)
    raw.load(persons=[person(7, phones=phones("030 1")), person(8, phones=phones("030 8888888"))])
    build(warehouse, SCOPE)
    execute(warehouse, "update crm.contact_points set value = '+1' where entered = '030 8888888'")

    raw.load(persons=[person(7, phones=phones("030 7777777"))])
    build(warehouse, SCOPE)

    assert [(entered, value) for kind, entered, value in points(warehouse) if kind == "phone"] == [
        ("030 7777777", "+49307777777"),
        ("030 8888888", "+1"),
    ]


def test_a_build_of_all_rows_repairs_whatever_differs(warehouse: Warehouse, raw: RawTables) -> None:
    """Also rows that the app made, which no build of changed records looks at."""
    in_germany(warehouse)
    raw.load(persons=[person(7, phones=phones("030 7777777"), emails=phones("ann@acme.example"))])
    build(warehouse, SCOPE)
    right = points(warehouse)
    execute(warehouse, "update crm.contact_points set entered = 'x' where kind = 'phone'")
    execute(warehouse, "delete from crm.contact_points where kind = 'email'")
    execute(
        warehouse,
        "insert into crm.contacts (tenant_id, name, phone) values ('acme', 'App', '030 5555555')",
    )

    build(warehouse, SCOPE, is_whole=True)

    assert points(warehouse) == sorted([*right, ("phone", "030 5555555", "+49305555555")])


def test_another_country_reads_the_numbers_again_with_the_next_build_of_all_rows(
    warehouse: Warehouse, raw: RawTables
) -> None:
    raw.load(persons=[person(7, phones=phones("030 7777777"))])
    build(warehouse, SCOPE)
    unreadable = [point for point in points(warehouse) if point[0] == "phone"]

    in_germany(warehouse)
    build(warehouse, SCOPE, is_whole=True)

    assert unreadable == [("phone", "030 7777777", None)]
    assert ("phone", "030 7777777", "+49307777777") in points(warehouse)


def test_an_erased_record_leaves_no_contact_point(warehouse: Warehouse, raw: RawTables) -> None:
    """Whoever deletes the row: the points go with it in the same transaction."""
    raw.load(
        persons=[
            person(7, phones=phones("+49 30 7777777")),
            person(8, phones=phones("+49 30 8888888")),
        ]
    )
    build(warehouse, SCOPE)

    with warehouse.transaction() as connection:
        erase_rows(connection, SCOPE, mart_source(CONTACTS, SYSTEM), ["7"])

    assert [value for _, _, value in points(warehouse)] == ["+49308888888"]
