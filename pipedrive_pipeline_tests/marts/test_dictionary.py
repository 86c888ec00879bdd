"""`columns`, the data dictionary as rows, and the addresses of records."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.databases import role_name
from pipedrive_pipeline_tests.marts.fields import custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

LIMIT, NUMBER = key_of("Kreditlimit"), key_of("Nummer")


@pytest.fixture
def dictionary(raw: RawTables) -> Iterator[psycopg.Connection]:
    """Views of two tenants; a session of acme's analyst."""
    for tenant in (ACME, BRAVO):
        of_tenant = raw if tenant == ACME else RawTables(raw.warehouse, tenant)
        limit = {"value": 12.5, "currency": "EUR"}
        of_tenant.load(
            organization_fields=[custom("Kreditlimit", "monetary"), custom("Nummer")],
            organizations=[
                organization(1, name=None),
                organization(
                    17, name=f"of {tenant}", custom_fields={LIMIT: limit, NUMBER: "K-9" * 30}
                ),
            ],
            persons=[person(1, org_id=17)],
        )
        published(of_tenant, tenant)
    mapping.save(
        raw.warehouse,
        Scope(ACME, SYSTEM),
        {"organizations": {NUMBER: "customer_number"}, "persons": {}},
        who="a test",
    )
    published(raw)
    with raw.warehouse.transaction() as connection:
        connection.execute(f"set local role {role_name(connection, 'analyst_acme')}".encode())
        connection.execute("set local search_path to analytics_acme")
        yield connection
        connection.rollback()


def described(connection: psycopg.Connection, view: str) -> dict[str, dict[str, object]]:
    """Rows of the dictionary for one view, by column."""
    rows = connection.cursor(row_factory=dict_row).execute(
        "select * from columns where view_name = %s", (view,)
    )
    return {str(row["column_name"]): row for row in rows}


@pytest.mark.slow
def test_a_column_is_described_with_example_and_source(dictionary: psycopg.Connection) -> None:
    """By name for people, field of the CRM, and a value, the same as the comments of the view."""
    customers = described(dictionary, "customers")

    name, amount = customers["name"], customers["kreditlimit_amount"]
    assert (name["label"], name["type"], name["description"]) == (
        "Name",
        "text",
        "Name of the company.",
    )
    assert (name["example"], name["source_field"], name["is_custom"]) == (
        "of acme",
        "pipedrive.organizations.name",
        False,
    )
    assert (amount["label"], amount["type"]) == ("Kreditlimit (amount)", "numeric")
    assert (amount["example"], amount["source_field"], amount["is_custom"]) == (
        "12.5",
        f"pipedrive.organizations.{LIMIT}",
        True,
    )
    assert customers["customer_number"]["source_field"] == f"pipedrive.organizations.{NUMBER}"
    assert len(str(customers["customer_number"]["example"])) == 60
    assert customers["city"]["source_field"] == "pipedrive.organizations.address"
    assert customers["vat_id"]["source_field"] is None
    assert customers["vat_id"]["example"] is None
    assert described(dictionary, "contacts_all")["owner_id"]["label"] == "Owner id"


@pytest.mark.slow
def test_every_column_of_every_view_is_a_row(dictionary: psycopg.Connection) -> None:
    """In its view's order, the dictionary's own included; each has a description."""
    rows = dictionary.execute(
        "select view_name, column_name, description from columns order by view_name, position"
    ).fetchall()
    of_catalogue = dictionary.execute(
        """
        select relname::text, attname::text
        from pg_catalog.pg_class
        inner join pg_catalog.pg_attribute
            on attrelid = pg_class.oid
            and attnum > 0
        where relnamespace = 'analytics_acme'::regnamespace
        order by relname, attnum
        """
    ).fetchall()

    assert [row[:2] for row in rows] == of_catalogue
    assert [row for row in rows if not row[2]] == []


@pytest.mark.slow
def test_examples_are_of_the_readers_tenant_only(dictionary: psycopg.Connection) -> None:
    """They are read with the reader's own rights, even from a function that anyone may call."""
    examples = dictionary.execute("select string_agg(example, ' ') from columns").fetchone()
    of_another = dictionary.execute(
        """
        select pipeline.example_values(pg_class.oid)
        from pg_catalog.pg_class
        where relnamespace = 'analytics_bravo'::regnamespace
        """
    ).fetchall()

    assert examples is not None
    assert "of acme" in examples[0]
    assert "of bravo" not in examples[0]
    assert {row[0] for row in of_another} == {None}


@pytest.mark.slow
def test_only_examples_that_are_asked_for_are_read(dictionary: psycopg.Connection) -> None:
    """A view of an aggregate takes its time, and the dictionary of another must not."""
    dictionary.execute("reset role")
    dictionary.execute("create sequence public.reads")
    dictionary.execute("create view counted as select nextval('public.reads') as number")

    described(dictionary, "customers")
    dictionary.execute("select column_name, description, source_field from columns")
    before = dictionary.execute("select is_called from public.reads").fetchone()
    counted = described(dictionary, "counted")

    assert before == (False,)
    assert counted["number"]["example"] == "1"


@pytest.mark.slow
def test_a_view_that_fails_has_no_examples(dictionary: psycopg.Connection) -> None:
    """Somebody made it in our schema; the others keep theirs."""
    dictionary.execute("reset role")
    dictionary.execute("create view broken as select 1 / (random() * 0)::integer as number")

    assert described(dictionary, "broken")["number"]["example"] is None
    assert dictionary.execute("select from columns where example = 'of acme'").fetchall()


@pytest.mark.slow
def test_a_record_has_the_address_of_its_page(raw: RawTables) -> None:
    """From the company's own domain; an account whose domain is not known has none."""
    raw.load(organizations=[organization(17)], persons=[person(3)])
    published(raw)
    unknown = [row["url"] for row in shown(raw.warehouse)]

    with raw.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.connections (tenant_id, system, kind, company_domain)"
            " values ('acme', 'pipedrive', 'oauth', 'nordlicht')"
        )
        connection.execute("insert into crm.customers (tenant_id, name) values ('acme', 'ours')")

    assert unknown == [None]
    assert [row["url"] for row in shown(raw.warehouse)] == [
        "https://nordlicht.pipedrive.com/organization/17",
        None,
    ]
    assert [row["url"] for row in shown(raw.warehouse, "contacts_all")] == [
        "https://nordlicht.pipedrive.com/person/3"
    ]


@pytest.mark.slow
def test_an_address_that_is_not_selected_costs_no_join(raw: RawTables) -> None:
    """Nor does a name: a count reads the mart alone."""
    raw.load(persons=[person(3)])
    published(raw)

    with raw.warehouse.transaction() as connection:
        plan = connection.execute("explain select name from analytics_acme.contacts").fetchall()

    assert "connections" not in str(plan)
    assert "customers" not in str(plan)
