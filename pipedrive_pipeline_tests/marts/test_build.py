"""What a build writes, and what it leaves alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.errors import AuditBreach, UnknownTenant
from pipedrive_pipeline.marts import MartsBuilt, RowCounts, build
from pipedrive_pipeline.marts.build import BuildRefused
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS
from pipedrive_pipeline.marts.sources import mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import build_lock
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import (
    SYSTEM,
    RawTables,
    label_field,
    organization,
    person,
    user,
)
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

NOTHING = RowCounts()


def built(warehouse: Warehouse, tenant: Tenant = ACME) -> MartsBuilt:
    return build(warehouse, Scope(tenant, SYSTEM))


def rows(warehouse: Warehouse, table: str, tenant: Tenant = ACME) -> list[dict[str, Any]]:
    """Every row of one mart by Pipedrive id, with the transactions that wrote and locked it."""
    with warehouse.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            sql.SQL(
                """
                select mart.*, mart.xmin::text as written_by, mart.xmax::text as locked_by
                from {} as mart
                where mart.tenant_id = %s
                order by mart.remote_id::bigint
                """
            ).format(sql.Identifier("crm", table)),
            (tenant.slug,),
        ).fetchall()


def only(matches: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = matches
    return row


def execute(warehouse: Warehouse, statement: str, *parameters: object) -> None:
    with warehouse.transaction() as connection:
        connection.execute(statement.encode(), parameters)


# --- which rows are read and written


def test_new_records_become_rows(warehouse: Warehouse, raw: RawTables) -> None:
    """The first build reads everything."""
    raw.load(organizations=[organization(1), organization(2)], persons=[person(7, org_id=2)])

    result = built(warehouse)

    assert (result.counts["customers"], result.counts["contacts"]) == (
        RowCounts(created=2),
        RowCounts(created=1),
    )
    customers = rows(warehouse, "customers")
    assert [row["name"] for row in customers] == ["Firma 1", "Firma 2"]
    assert only(rows(warehouse, "contacts"))["customer_id"] == customers[1]["id"]


def test_a_second_build_writes_no_row(warehouse: Warehouse, raw: RawTables) -> None:
    """`xmin` stays: an app that follows `updated_at` sees nothing, vacuum has nothing to do."""
    raw.load(organizations=[organization(1)], persons=[person(7, org_id=1)])
    built(warehouse)
    before = rows(warehouse, "customers") + rows(warehouse, "contacts")

    result = built(warehouse)

    assert (result.counts["customers"], result.counts["contacts"]) == (NOTHING, NOTHING)
    assert rows(warehouse, "customers") + rows(warehouse, "contacts") == before


@pytest.mark.slow
def test_a_whole_build_of_equal_rows_writes_none(warehouse: Warehouse, raw: RawTables) -> None:
    """A full resync reads all and changes nothing; not even a row lock is taken."""
    raw.load(organizations=[organization(1)], persons=[person(7, org_id=1)])
    built(warehouse)
    before = rows(warehouse, "customers") + rows(warehouse, "contacts")
    execute(warehouse, "update integration.mart_state set is_rebuild_due = true")

    result = built(warehouse)

    assert result.is_whole
    assert (result.counts["customers"], result.counts["contacts"]) == (
        RowCounts(unchanged=1),
        RowCounts(unchanged=1),
    )
    assert rows(warehouse, "customers") + rows(warehouse, "contacts") == before


def test_only_rows_that_differ_are_written(warehouse: Warehouse, raw: RawTables) -> None:
    """The same record sent again is unchanged; its neighbour is updated and keeps its id."""
    raw.load(organizations=[organization(1), organization(2)])
    built(warehouse)
    first, two = rows(warehouse, "customers")
    raw.load(organizations=[organization(1), organization(2, name="Neu GmbH")])

    result = built(warehouse)

    assert result.counts["customers"] == RowCounts(updated=1, unchanged=1)
    same, changed = rows(warehouse, "customers")
    assert same == first
    assert (changed["id"], changed["name"]) == (two["id"], "Neu GmbH")
    assert changed["updated_at"] > two["updated_at"]
    assert changed["pipedrive_synced_at"] == changed["updated_at"]
    assert changed["created_at"] == two["created_at"]


def test_rows_of_the_app_are_never_touched(warehouse: Warehouse, raw: RawTables) -> None:
    """An app keeps its own customers in the same table, even of the same name."""
    execute(
        warehouse,
        "insert into crm.customers (tenant_id, name) values ('acme', 'Firma 1'), ('acme', null)",
    )
    before = rows(warehouse, "customers")
    raw.load(organizations=[organization(1)])

    result = built(warehouse)

    assert result.counts["customers"] == RowCounts(created=1)
    assert [row for row in rows(warehouse, "customers") if row["pipedrive_id"] is None] == before


def test_columns_of_the_app_are_never_touched(warehouse: Warehouse, raw: RawTables) -> None:
    """What no select and no mapping fills is the app's: ours by name, or added by the app."""
    execute(warehouse, "alter table crm.customers add column app_score integer")
    raw.load(organizations=[organization(1)])
    built(warehouse)
    execute(
        warehouse,
        """
        update crm.customers
        set
            app_score = 5,
            phone = '+49 431 1',
            email = 'own@example.org',
            customer_number = 'K-1',
            vat_id = 'DE1',
            attributes = '{"own": 1}'
        """,
    )
    raw.load(organizations=[organization(1, name="Neu GmbH")])

    result = built(warehouse)

    assert result.counts["customers"] == RowCounts(updated=1)
    row = only(rows(warehouse, "customers"))
    assert (row["name"], row["app_score"], row["phone"]) == ("Neu GmbH", 5, "+49 431 1")
    assert (row["email"], row["customer_number"]) == ("own@example.org", "K-1")
    assert (row["vat_id"], row["attributes"]) == ("DE1", {"own": 1})


def test_a_mapping_adds_columns_without_touching_the_files(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """An expression over the raw row fills a column, or takes the place of the select's value."""
    raw.load(
        organizations=[
            organization(1, custom_fields={"abc": "K-17", "def": "100 % {own}"}, website="x.de")
        ]
    )
    mapped = mart_source(CUSTOMERS, SYSTEM).with_mapped(
        {
            "customer_number": sql.SQL("organizations.custom_fields ->> 'abc'"),
            "website": sql.SQL("coalesce(organizations.custom_fields ->> 'nil', 'mapped.de')"),
            "attributes": sql.SQL(
                "jsonb_build_object('note', organizations.custom_fields -> 'def')"
            ),
        }
    )

    first = build(warehouse, Scope(ACME, SYSTEM), sources=(mapped, mart_source(CONTACTS, SYSTEM)))
    second = build(warehouse, Scope(ACME, SYSTEM), sources=(mapped, mart_source(CONTACTS, SYSTEM)))
    without = build(warehouse, Scope(ACME, SYSTEM))

    assert first.counts["customers"] == RowCounts(created=1)
    assert (second.is_whole, second.counts["customers"]) == (False, NOTHING)
    assert without.is_whole
    row = only(rows(warehouse, "customers"))
    assert (row["customer_number"], row["attributes"]) == ("K-17", {"note": "100 % {own}"})
    assert row["website"] == "x.de"  # the select's again, once no mapping fills it


def test_tenants_do_not_meet(warehouse: Warehouse, raw: RawTables) -> None:
    """The same Pipedrive ids in two tenants are two rows; a build touches one tenant's."""
    other = RawTables(warehouse, BRAVO)
    raw.load(organizations=[organization(1, name="of acme")], persons=[person(1, org_id=1)])
    other.load(organizations=[organization(1, name="of bravo")], persons=[person(1, org_id=1)])
    built(warehouse)
    before = rows(warehouse, "customers")

    built(warehouse, BRAVO)

    assert rows(warehouse, "customers") == before
    assert only(rows(warehouse, "customers", BRAVO))["name"] == "of bravo"
    assert (
        only(rows(warehouse, "contacts", BRAVO))["customer_id"]
        == only(rows(warehouse, "customers", BRAVO))["id"]
    )


def test_a_tenant_without_persons_has_customers(warehouse: Warehouse, raw: RawTables) -> None:
    """Persons switched off, or a first load that broke off: raw lacks whole tables."""
    raw.load(organizations=[organization(1, owner_id=3, label_ids=[4])])

    result = built(warehouse)

    assert (result.counts["customers"], result.counts["contacts"]) == (
        RowCounts(created=1),
        NOTHING,
    )
    row = only(rows(warehouse, "customers"))
    assert (row["owner_id"], row["owner_remote_id"], row["owner_name"]) == (None, "3", None)
    assert row["labels"] == ["4"]


def test_a_tenant_without_raw_has_empty_marts(warehouse: Warehouse) -> None:
    """Nothing was ever loaded."""
    result = built(warehouse)

    assert (result.counts["customers"], result.counts["contacts"]) == (NOTHING, NOTHING)


def test_an_unknown_tenant_is_named(warehouse: Warehouse) -> None:
    """Its name is the error, not a broken foreign key."""
    with pytest.raises(UnknownTenant, match="nobody"):
        built(warehouse, Tenant("nobody"))


def test_a_raw_table_without_a_column_is_refused_without_its_rows(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Somebody altered raw: one line names what Postgres said, nothing is written."""
    raw.load(organizations=[organization(1)])
    execute(warehouse, "alter table raw_pipedrive_acme.organizations drop column owner_id")

    with pytest.raises(
        BuildRefused, match=r"SQLSTATE 42703, column organizations\.owner_id does not exist"
    ):
        built(warehouse)

    assert rows(warehouse, "customers") == []


def test_a_refused_row_is_not_quoted(warehouse: Warehouse, raw: RawTables) -> None:
    """Postgres quotes the failing row in its detail; a person's name must not reach a log."""
    execute(warehouse, "alter table crm.contacts add constraint own_rule check (name <> 'Secret')")
    raw.load(persons=[person(1, name="Secret")])

    with pytest.raises(BuildRefused, match="own_rule") as refusal:
        built(warehouse)

    assert "Secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


TRIGGERS = {
    "raises": "raise exception 'Secret'",
    "raises with a state of its own": "raise exception 'Secret' using errcode = '39P01'",
    "assigns a column that is not there": "new.nothing = 1; return new",
    "calls itself": "update crm.customers set name = name || 'x'; return new",
}


@pytest.mark.parametrize("body", TRIGGERS.values(), ids=TRIGGERS)
def test_a_trigger_of_the_app_that_refuses_a_row_is_named(
    body: str, warehouse: Warehouse, raw: RawTables
) -> None:
    """It ended as `unexpected`, or as an outage to be tried again for ever."""
    execute(
        warehouse,
        "create function public.own() returns trigger language plpgsql as"
        f" $$ begin {body}; end $$;"
        "create trigger own_trigger before insert or update on crm.customers"
        " for each row execute function public.own()",
    )
    raw.load(organizations=[organization(1, name="Secret"), organization(2)])

    with pytest.raises(BuildRefused, match=r"the trigger own_trigger on crm\.customers") as refusal:
        built(warehouse)

    assert "Secret" not in str(refusal.value)


@pytest.mark.parametrize("event", ["insert", "update"])
def test_a_rule_of_the_app_is_named(event: str, warehouse: Warehouse, raw: RawTables) -> None:
    """Postgres refuses our upsert where a table has a rule, and names neither."""
    execute(warehouse, f"create rule own_rule as on {event} to crm.contacts do instead nothing")
    raw.load(persons=[person(1)])

    with pytest.raises(BuildRefused, match=r"the rule own_rule on crm\.contacts"):
        built(warehouse)


def test_a_trigger_that_swallows_rows_is_named_by_the_audit(
    warehouse: Warehouse, raw: RawTables
) -> None:
    execute(
        warehouse,
        "create function public.own() returns trigger language plpgsql as"
        " $$ begin return null; end $$;"
        "create trigger own_trigger before insert on crm.contacts"
        " for each row execute function public.own()",
    )
    raw.load(persons=[person(1)])

    with pytest.raises(AuditBreach, match=r"the trigger own_trigger on crm\.contacts"):
        built(warehouse)


# --- loads, crashes and what is pending


def test_a_crash_between_load_and_build_loses_nothing(warehouse: Warehouse, raw: RawTables) -> None:
    """The load is in raw and announced, the run is dead: the next build reads it."""
    raw.load(organizations=[organization(1)])
    built(warehouse)
    raw.load(organizations=[organization(2)])
    raw.load(organizations=[organization(3)])

    result = built(warehouse)

    assert (result.is_whole, result.counts["customers"]) == (False, RowCounts(created=2))


def test_a_load_that_never_came_harms_nothing(warehouse: Warehouse, raw: RawTables) -> None:
    """An id is announced before its load; the load may fail."""
    raw.load(organizations=[organization(1)])
    built(warehouse)
    raw.announce("dead.1")

    result = built(warehouse)

    assert result.counts["customers"] == NOTHING
    with warehouse.transaction() as connection:
        pending = connection.execute("select pending_loads from integration.mart_state").fetchall()
    assert pending == [([],)]


def test_a_failed_build_leaves_its_work_pending(warehouse: Warehouse, raw: RawTables) -> None:
    """Rows, counts and state are one transaction."""
    raw.load(organizations=[organization(1)])
    built(warehouse)
    raw.load(organizations=[organization(2)])
    execute(warehouse, "alter table crm.customers add constraint own_rule check (pipedrive_id < 2)")
    with pytest.raises(BuildRefused):
        built(warehouse)
    execute(warehouse, "alter table crm.customers drop constraint own_rule")

    result = built(warehouse)

    assert (result.is_whole, result.counts["customers"]) == (False, RowCounts(created=1))


def test_a_changed_file_makes_the_next_build_read_everything(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """A release with another select rebuilds by itself, without a call to the source."""
    raw.load(organizations=[organization(1)])
    built(warehouse)
    execute(warehouse, "update integration.mart_state set built_from = 'an older release'")

    result = built(warehouse)

    assert (result.is_whole, result.counts["customers"]) == (True, RowCounts(unchanged=1))


# --- names in place of ids


def test_owners_and_labels_have_names(warehouse: Warehouse, raw: RawTables) -> None:
    """Ids of options are numbers or texts; a label that nothing explains is shown by its id."""
    raw.load(
        users=[user(3, "Öznur Weiß")],
        organization_fields=[label_field((5, "Kunde"), ("6", "Heiß 🔥"))],
        person_fields=[label_field((5, "Chefin"), code="label")],
        organizations=[organization(1, owner_id=3, label_ids=[6, 99, 5]), organization(2)],
        persons=[person(1, owner_id=4, label_ids=[5])],
    )

    built(warehouse)

    customer, plain = rows(warehouse, "customers")
    contact = only(rows(warehouse, "contacts"))
    assert (customer["owner_name"], customer["labels"]) == (
        "Öznur Weiß",
        ["Heiß 🔥", "99", "Kunde"],
    )
    assert (plain["owner_remote_id"], plain["owner_name"], plain["labels"]) == (None, None, [])
    assert customer["owner_id"] == only(rows(warehouse, "users"))["id"]
    assert (contact["owner_id"], contact["owner_remote_id"]) == (None, "4")
    assert (contact["owner_name"], contact["labels"]) == (None, ["Chefin"])


def test_an_industry_has_its_name(warehouse: Warehouse, raw: RawTables) -> None:
    """Built-in options have text ids, records send numbers; an unknown one stays an id."""
    raw.load(
        organization_fields=[label_field(("12", "Schiffbau"), code="industry")],
        organizations=[organization(1, industry=12), organization(2, industry=13), organization(3)],
    )

    built(warehouse)

    assert [row["industry"] for row in rows(warehouse, "customers")] == ["Schiffbau", "13", None]


def test_a_renamed_user_and_label_reach_records_that_did_not_change(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Pipedrive bumps no record for it."""
    raw.load(
        users=[user(3, "Anna Alt")],
        organization_fields=[label_field((5, "Kunde"))],
        organizations=[organization(1, owner_id=3, label_ids=[5]), organization(2)],
    )
    built(warehouse)
    raw.load(users=[user(3, "Anna Neu")], organization_fields=[label_field((5, "Bestandskunde"))])

    result = built(warehouse)

    assert result.counts["customers"] == RowCounts(updated=1, unchanged=1)
    renamed = rows(warehouse, "customers")[0]
    assert (renamed["owner_name"], renamed["labels"]) == ("Anna Neu", ["Bestandskunde"])


def test_users_read_again_unchanged_make_no_whole_build(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """They are read in every run; only a name that differs matters."""
    raw.load(users=[user(3, "Anna")], organizations=[organization(1, owner_id=3)])
    built(warehouse)
    raw.load(users=[user(3, "Anna")])

    assert not built(warehouse).is_whole


# --- addresses, e-mail, phone


def test_an_address_is_taken_apart(warehouse: Warehouse, raw: RawTables) -> None:
    """Parts fill columns; the typed text stays in its own column."""
    address = {
        "value": "Hafenstr. 4, Kiel",
        "country": "Germany",
        "admin_area_level_1": "Schleswig-Holstein",
        "locality": "Kiel",
        "route": "Hafenstr.",
        "street_number": "4",
        "postal_code": "24103",
    }
    raw.load(organizations=[organization(1, address=address)])

    built(warehouse)

    row = only(rows(warehouse, "customers"))
    assert (row["street"], row["postal_code"], row["city"]) == ("Hafenstr. 4", "24103", "Kiel")
    assert (row["region"], row["country"]) == ("Schleswig-Holstein", "Germany")
    assert row["address"] == "Hafenstr. 4, Kiel"


def test_an_address_without_parts_fills_only_what_it_has(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Most addresses were typed and never recognised by a map."""
    cases: list[tuple[dict[str, str | None] | None, str | None, str | None]] = [
        ({"value": "Am Deich, hinten links"}, None, "Am Deich, hinten links"),
        ({"value": "X", "route": "Deich", "street_number": None}, "Deich", "X"),
        ({"value": "X", "route": "", "street_number": ""}, None, "X"),
        ({"value": None, "route": None}, None, None),
        ({}, None, None),
        (None, None, None),
    ]
    raw.load(
        organizations=[
            organization(key, address=address) for key, (address, _, _) in enumerate(cases)
        ]
    )

    built(warehouse)

    customers = rows(warehouse, "customers")
    assert [(row["street"], row["address"]) for row in customers] == [case[1:] for case in cases]
    assert {(row["city"], row["postal_code"], row["country"]) for row in customers} == {
        (None, None, None)
    }


def entry(value: Any, *, primary: Any = False) -> dict[str, Any]:
    return {"value": value, "primary": primary, "label": "work"}


def test_the_primary_address_and_number_are_chosen(warehouse: Warehouse, raw: RawTables) -> None:
    """The primary one, else the first; an empty value counts as missing and is not kept."""
    first, second = entry("a@x.de"), entry("b@x.de", primary=True)
    cases: list[tuple[Any, str | None, list[dict[str, Any]]]] = [
        ([], None, []),
        (None, None, []),
        ([first], "a@x.de", [first]),
        ([first, second], "b@x.de", [first, second]),
        ([first, entry("b@x.de")], "a@x.de", [first, entry("b@x.de")]),
        ([entry("", primary=True)], None, []),
        ([entry("  ", primary=True), first], "a@x.de", [first]),
        ([entry(None), first], "a@x.de", [first]),
        ([entry(" a@x.de ")], " a@x.de ", [entry(" a@x.de ")]),
        (
            [entry("a@x.de", primary="yes"), first],
            "a@x.de",
            [entry("a@x.de", primary="yes"), first],
        ),
        ([first, entry("b@x.de", primary=1)], "b@x.de", [first, second]),
        ([{"value": "a@x.de"}], "a@x.de", [{"value": "a@x.de"}]),
    ]
    raw.load(
        persons=[person(key, emails=sent, phones=sent) for key, (sent, _, _) in enumerate(cases)]
    )

    built(warehouse)

    contacts = rows(warehouse, "contacts")
    assert [(row["email"], row["emails"]) for row in contacts] == [case[1:] for case in cases]
    assert [(row["phone"], row["phones"]) for row in contacts] == [case[1:] for case in cases]


# --- contacts and their customers


def test_a_person_without_organization_is_kept(warehouse: Warehouse, raw: RawTables) -> None:
    """No organization, or one that nobody has seen."""
    raw.load(persons=[person(1), person(2, org_id=404)])

    built(warehouse)

    assert [row["customer_id"] for row in rows(warehouse, "contacts")] == [None, None]


def test_a_customer_that_comes_later_gets_its_contacts(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Persons may be synced before, or without, their organization; they are not sent again."""
    raw.load(organizations=[organization(1)], persons=[person(1, org_id=2), person(2, org_id=1)])
    built(warehouse)
    raw.load(organizations=[organization(2)])

    result = built(warehouse)

    assert (result.is_whole, result.counts["contacts"]) == (False, RowCounts(updated=1))
    assert rows(warehouse, "contacts")[0]["customer_id"] == rows(warehouse, "customers")[1]["id"]


def test_a_person_moves_to_another_organization(warehouse: Warehouse, raw: RawTables) -> None:
    """And away from any."""
    raw.load(
        organizations=[organization(1), organization(2)],
        persons=[person(1, org_id=1), person(2, org_id=1)],
    )
    built(warehouse)
    raw.load(persons=[person(1, org_id=2), person(2, org_id=None)])

    built(warehouse)

    moved, left = rows(warehouse, "contacts")
    assert moved["customer_id"] == rows(warehouse, "customers")[1]["id"]
    assert left["customer_id"] is None


# --- what is gone, merged, and back


@pytest.mark.slow
def test_a_deleted_record_is_marked_and_comes_back(warehouse: Warehouse, raw: RawTables) -> None:
    """Marked, never dropped; its contacts keep their customer; restored without a new version."""
    raw.load(organizations=[organization(1), organization(2)], persons=[person(1, org_id=1)])
    built(warehouse)
    identity = rows(warehouse, "customers")[0]["id"]
    raw.mark("organizations", 1)
    raw.mark("person_fields", 1)
    gone = built(warehouse)
    marked = rows(warehouse, "customers")[0]
    linked = only(rows(warehouse, "contacts"))
    raw.unmark("organizations", 1)
    back = built(warehouse)
    restored = rows(warehouse, "customers")[0]

    assert (gone.is_whole, gone.counts["customers"], gone.counts["contacts"]) == (
        False,
        RowCounts(deleted=1),
        NOTHING,
    )
    assert (marked["deletion_reason"], marked["deleted_at"] is None) == ("deleted", False)
    assert linked["customer_id"] == identity
    assert back.counts["customers"] == RowCounts(updated=1, unchanged=1)
    assert (restored["id"], restored["deleted_at"], restored["deletion_reason"]) == (
        identity,
        None,
        None,
    )


def test_a_marked_record_is_marked_once(warehouse: Warehouse, raw: RawTables) -> None:
    """A tombstone costs nothing in later builds."""
    raw.load(persons=[person(1)])
    raw.mark("persons", 1, "invisible")
    first = built(warehouse)
    before = rows(warehouse, "contacts")

    second = built(warehouse)

    assert (first.counts["contacts"], second.counts["contacts"]) == (RowCounts(created=1), NOTHING)
    assert rows(warehouse, "contacts") == before


def test_a_record_that_the_source_calls_deleted_is_marked(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Read by its id, a deleted record may come as such, before any sweep."""
    raw.load(organizations=[organization(1, is_deleted=True)])

    built(warehouse)

    row = only(rows(warehouse, "customers"))
    assert (row["deletion_reason"], row["deleted_at"]) == ("deleted", row["changed_at"])


@pytest.mark.slow
def test_contacts_follow_a_merged_customer(warehouse: Warehouse, raw: RawTables) -> None:
    """Through two merges; Pipedrive does not send the people again."""
    raw.load(
        organizations=[organization(1), organization(2), organization(3)],
        persons=[person(1, org_id=1)],
    )
    built(warehouse)
    customers = rows(warehouse, "customers")
    raw.mark("organizations", 1, "merged", merged_into=2)
    first = built(warehouse)
    after_first = only(rows(warehouse, "contacts"))["customer_id"]
    raw.mark("organizations", 2, "merged", merged_into=3)
    second = built(warehouse)
    after_second = only(rows(warehouse, "contacts"))["customer_id"]

    assert (first.counts["customers"], first.counts["contacts"]) == (
        RowCounts(deleted=1),
        RowCounts(updated=1),
    )
    assert (second.counts["customers"], second.counts["contacts"]) == (
        RowCounts(deleted=1),
        RowCounts(updated=1),
    )
    assert [after_first, after_second] == [customers[1]["id"], customers[2]["id"]]
    assert rows(warehouse, "customers")[0]["merged_into_remote_id"] == "2"


def test_contacts_wait_at_the_merged_customer_for_an_unknown_survivor(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """The survivor may be synced later; a ring of merges ends too."""
    raw.load(
        organizations=[organization(1), organization(5), organization(6)],
        persons=[person(1, org_id=1), person(5, org_id=5)],
    )
    raw.mark("organizations", 1, "merged", merged_into=2)
    raw.mark("organizations", 5, "merged", merged_into=6)
    raw.mark("organizations", 6, "merged", merged_into=5)
    built(warehouse)
    waiting = rows(warehouse, "contacts")[0]["customer_id"]
    at_first = rows(warehouse, "customers")[0]["id"]
    raw.load(organizations=[organization(2)])

    built(warehouse)

    assert waiting == at_first
    assert rows(warehouse, "contacts")[0]["customer_id"] == rows(warehouse, "customers")[1]["id"]


# --- others at work


@pytest.mark.slow
def test_a_row_locked_by_the_app_delays_the_build_only(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """The build waits at most the lock timeout, lets go, and tries again."""
    raw.load(organizations=[organization(1)])
    built(warehouse)
    raw.load(organizations=[organization(1, name="Neu GmbH")])
    with psycopg.connect(warehouse.url) as app:
        app.execute("select from crm.customers for update")
        release = threading.Timer(1.0, app.rollback)
        release.start()
        result = built(warehouse)
        release.join()

    assert result.counts["customers"] == RowCounts(updated=1)


def test_two_builds_at_once_take_turns(warehouse: Warehouse, raw: RawTables) -> None:
    """Each would count the other's rows as created by itself."""
    raw.load(organizations=[organization(key) for key in range(1, 50)])

    def build_under_the_lock(_: int) -> MartsBuilt:
        with build_lock(warehouse, ACME) as lock:
            return built(lock.warehouse)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(build_under_the_lock, range(2)))

    assert sorted(result.counts["customers"].created for result in results) == [0, 49]
    assert len(rows(warehouse, "customers")) == 49
