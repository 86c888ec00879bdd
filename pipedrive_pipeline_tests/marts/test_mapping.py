"""A tenant's fields where its app wants them: saved, built, looked at before; no call is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import build, mapping
from pipedrive_pipeline.marts.mapping import BadMapping, MappingOutdated
from pipedrive_pipeline.marts.mapping.preview import RefusedValue
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of
from pipedrive_pipeline_tests.marts.raw_tables import (
    SYSTEM,
    RawTables,
    deal,
    lead,
    organization,
    person,
)
from pipedrive_pipeline_tests.warehouse.databases import ACME

# By its name, because the package has a function of that name.
BUILDING = import_module("pipedrive_pipeline.marts.build")
NUMBER, BRANCH, STAFF, LIMIT = (
    key_of(name) for name in ("Kundennummer", "Branche", "Mitarbeiter", "Limit")
)
BIRTHDAY = key_of("Geburtstag")


@pytest.fixture
def synced(raw: RawTables) -> RawTables:
    """Two customers and a contact with custom fields, built without a mapping."""
    raw.load(
        organization_fields=[
            custom("Kundennummer"),
            custom("Branche", "enum", {1: "Handel", 2: "Bau"}),
            custom("Mitarbeiter"),
            custom("Limit", "monetary"),
            {"field_code": "website", "field_name": "Website", "field_type": "varchar"},
        ],
        person_fields=[custom("Geburtstag", "date")],
        organizations=[
            organization(
                1,
                website="https://acme.example",
                custom_fields={
                    NUMBER: "K-1",
                    BRANCH: 2,
                    STAFF: "120",
                    LIMIT: {"value": 5, "currency": "EUR"},
                },
            ),
            organization(2, custom_fields={STAFF: "viele"}),
        ],
        persons=[person(1, org_id=1, custom_fields={BIRTHDAY: "1990-02-03"})],
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))
    return raw


def save(raw: RawTables, organizations: dict[str, Any], **more: Any) -> mapping.Version:
    """A mapping saved, by a test."""
    text = {"organizations": organizations, **more}
    return mapping.save(raw.warehouse, Scope(ACME, SYSTEM), text, who="a test")


def issues_of(raw: RawTables, organizations: dict[str, Any]) -> dict[str, str]:
    """What is said against a mapping, by field."""
    with pytest.raises(BadMapping) as refused:
        save(raw, organizations)
    return {issue.field.partition(".")[2]: issue.issue for issue in refused.value.issues}


def rows(warehouse: Warehouse, mart: str = "customers") -> list[dict[str, Any]]:
    with warehouse.transaction() as connection:
        query = f"select * from crm.{mart} order by remote_id::bigint".encode()
        return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def test_mapped_fields_fill_their_columns(synced: RawTables) -> None:
    """Label, not id; the amount of money; text read as a number where that was said."""
    save(
        synced,
        {
            NUMBER: "customer_number",
            BRANCH: "industry",
            STAFF: {"target": "employee_count", "as": "number"},
            LIMIT: "attributes.limit",
            f"{LIMIT}.currency": "attributes.limit_currency",
            "website": "attributes.site",
        },
        persons={BIRTHDAY: "attributes.birthday"},
    )

    built = build(synced.warehouse, Scope(ACME, SYSTEM))

    first, second = rows(synced.warehouse)
    assert (first["customer_number"], first["industry"]) == ("K-1", "Bau")
    assert (first["employee_count"], second["employee_count"]) == (120, None)
    assert first["attributes"] == {
        "limit": 5,
        "limit_currency": "EUR",
        "site": "https://acme.example",
    }
    assert rows(synced.warehouse, "contacts")[0]["attributes"] == {"birthday": "1990-02-03"}
    assert (built.counts["customers"].updated, built.counts["contacts"].updated) == (1, 1)


@pytest.mark.slow
def test_unmapped_columns_are_not_touched(synced: RawTables) -> None:
    """The app's own columns and attributes stay; a column without a value keeps the select's."""
    with synced.warehouse.transaction() as connection:
        connection.execute(
            """update crm.customers set vat_id = 'DE1', attributes = '{"own": 1, "limit": 0}'"""
        )
    save(synced, {LIMIT: "attributes.limit", NUMBER: "website"})

    build(synced.warehouse, Scope(ACME, SYSTEM))

    first, second = rows(synced.warehouse)
    assert (first["vat_id"], first["website"]) == ("DE1", "K-1")
    assert first["attributes"] == {"own": 1, "limit": 5}
    assert second["attributes"] == {"own": 1}


def test_the_first_source_that_has_a_value_wins(synced: RawTables) -> None:
    """Several sources of one target, in the order of their precedence."""
    save(
        synced,
        {
            NUMBER: {"target": "customer_number", "precedence": 1},
            STAFF: {"target": "customer_number", "precedence": 2},
        },
    )

    build(synced.warehouse, Scope(ACME, SYSTEM))

    assert [row["customer_number"] for row in rows(synced.warehouse)] == ["K-1", "viele"]


@pytest.mark.slow
def test_a_mapping_that_cannot_be_used_is_refused_by_field(synced: RawTables) -> None:
    """Each culprit with its reason; the version before stays active."""
    save(synced, {NUMBER: "customer_number"})

    issues = issues_of(
        synced,
        {
            "nobody": "customer_number",
            NUMBER: "tenant_id",
            f"{BRANCH}.color": "industry",
            STAFF: "employee_count",
            LIMIT: {"target": "attributes.a b"},
            "website": {"target": "phone", "as": "song"},
        },
    )

    assert set(issues) == {"nobody", NUMBER, f"{BRANCH}.color", STAFF, LIMIT, "website"}
    assert issues["nobody"] == "no field has this key"
    assert "may not be mapped" in issues[NUMBER]
    assert "has no part 'color'; it has id" in issues[f"{BRANCH}.color"]
    assert '"as": "number"' in issues[STAFF]
    assert "2 sources" in issues_of(synced, {NUMBER: "vat_id", STAFF: "vat_id"})[STAFF]
    with synced.warehouse.transaction() as connection:
        version = mapping.active(connection, Scope(ACME, SYSTEM))
    assert (version.number, version.saved_by) == (1, "a test")


@pytest.mark.parametrize(
    "text", [None, [], "x", {"users": {}}, {"persons": []}, {"persons": {"a": 1}}]
)
def test_an_invalid_mapping_is_refused(synced: RawTables, text: Any) -> None:
    """Faults that a file or a request may contain."""
    with pytest.raises(BadMapping):
        mapping.save(synced.warehouse, Scope(ACME, SYSTEM), text, who="a test")


def test_an_edit_of_an_older_version_is_refused(synced: RawTables) -> None:
    """Two people edit: the second one looks again."""
    save(synced, {NUMBER: "customer_number"})
    save(synced, {NUMBER: "vat_id"})

    with pytest.raises(MappingOutdated):
        mapping.save(synced.warehouse, Scope(ACME, SYSTEM), {}, who="a test", based_on=1)


def proposed(raw: RawTables, active: mapping.Mapping | None = None) -> list[mapping.Proposal]:
    """What is proposed to acme in addition to a mapping."""
    fields = list(mapping.catalogue(raw.warehouse, Scope(ACME, SYSTEM)).fields)
    with raw.warehouse.transaction(ACME) as connection:
        return mapping.proposals(
            connection, Scope(ACME, SYSTEM), active or mapping.Mapping(), fields
        )


@pytest.mark.slow
def test_a_vanished_field_keeps_its_last_values_and_its_successor_is_proposed(
    synced: RawTables,
) -> None:
    """A deleted field must not empty what an app relies on."""
    version = save(synced, {NUMBER: "customer_number", LIMIT: "attributes.limit"})
    build(synced.warehouse, Scope(ACME, SYSTEM))

    synced.mark("organization_fields", NUMBER)
    synced.mark("organization_fields", LIMIT)
    synced.load(
        organization_fields=[custom("Kundennummer", key="Kundennummer again")],
        organizations=[organization(1, custom_fields={BRANCH: 1})],
    )
    build(synced.warehouse, Scope(ACME, SYSTEM))

    first = rows(synced.warehouse)[0]
    fields = list(mapping.catalogue(synced.warehouse, Scope(ACME, SYSTEM)).fields)
    gone = mapping.vanished(version.mapping, fields)
    offered = proposed(synced, version.mapping)
    assert (first["customer_number"], first["attributes"]) == ("K-1", {"limit": 5})
    assert {entry.field_key for entry in gone} == {NUMBER, LIMIT}
    assert offered[0].entry.field_key == key_of("Kundennummer again")
    assert offered[0].entry.target == "customer_number"


def test_proposals_know_german_and_english_words(raw: RawTables) -> None:
    """By name and type; what needs a conversion says so; nothing is applied."""
    raw.load(
        organization_fields=[
            custom("Kunden-Nr."),
            custom("USt-IdNr."),
            custom("Branche", "enum", {1: "Bau"}),
            custom("Telefon", "phone"),
            custom("Homepage"),
            custom("Annual Revenue", "monetary"),
            custom("Mitarbeiter", "double"),
            custom("E-Mail", "set", {1: "x"}),
            custom("Etwas"),
        ]
    )

    offered = proposed(raw)

    written = {(offer.field_name, offer.entry.part): offer.entry.written() for offer in offered}
    assert written == {
        ("Kunden-Nr.", None): "customer_number",
        ("USt-IdNr.", None): "vat_id",
        ("Branche", None): "industry",
        ("Telefon", None): "phone",
        ("Homepage", None): "website",
        ("Annual Revenue", None): "annual_revenue",
        ("Annual Revenue", "currency"): "attributes.annual_revenue_currency",
        ("Mitarbeiter", None): {"target": "employee_count", "as": "number"},
        ("E-Mail", None): {"target": "email", "as": "text"},
    }


def test_deals_leads_products_and_activities_have_proposals(raw: RawTables) -> None:
    """Leads have the fields of deals; an amount is proposed with its currency or not at all."""
    raw.load(
        deal_fields=[
            custom("Verlustgrund", "enum", {1: "Preis"}),
            custom("Betrag", "monetary"),
            custom("Dealvalue", "double"),
            custom("Abschlussdatum", "date"),
        ],
        product_fields=[custom("Warengruppe", "enum", {1: "Holz"})],
        activity_fields=[custom("Treffpunkt")],
    )

    offered = proposed(raw)

    assert {(offer.entry.entity, offer.entry.source, offer.entry.target) for offer in offered} == {
        ("activities", key_of("Treffpunkt"), "location"),
        ("deals", key_of("Verlustgrund"), "lost_reason"),
        ("deals", key_of("Betrag"), "amount"),
        ("deals", f"{key_of('Betrag')}.currency", "currency"),
        ("deals", key_of("Abschlussdatum"), "expected_close_date"),
        ("leads", key_of("Betrag"), "amount"),
        ("leads", f"{key_of('Betrag')}.currency", "currency"),
        ("leads", key_of("Abschlussdatum"), "expected_close_date"),
        ("products", key_of("Warengruppe"), "category"),
    }


def test_a_column_that_has_a_value_is_not_proposed(raw: RawTables) -> None:
    """A mapping would put a field's values before those that the select gives."""
    raw.load(
        organization_fields=[custom("Homepage"), custom("Telefon")],
        organizations=[organization(1), organization(2, website="https://acme.example")],
        deal_fields=[custom("Betrag", "monetary")],
        deals=[deal(40)],
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))

    offered = proposed(raw)

    assert {(offer.entry.entity, offer.entry.target) for offer in offered} == {
        ("organizations", "phone"),
        ("leads", "amount"),
        ("leads", "currency"),
    }


def test_custom_fields_of_deals_and_leads_fill_columns_and_attributes(raw: RawTables) -> None:
    """A lead sends them beside its other keys, in the form of the older API."""
    category, note, budget = (key_of(name) for name in ("Prognose", "Notiz", "Budget"))
    raw.load(
        deal_fields=[
            custom("Prognose", "enum", {1: "Commit"}),
            custom("Notiz"),
            custom("Budget", "monetary"),
        ],
        deals=[
            deal(
                40,
                custom_fields={
                    category: 1,
                    note: "a",
                    budget: {"value": 5, "currency": "EUR"},
                },
            )
        ],
        leads=[lead(extra={note: "b", budget: "7.5", f"{budget}_currency": "USD"})],
    )

    mapping.save(
        raw.warehouse,
        Scope(ACME, SYSTEM),
        {
            "deals": {category: "forecast_category", note: "attributes.note"},
            "leads": {
                note: "company_name",
                budget: "attributes.budget",
                f"{budget}.currency": "attributes.budget_currency",
            },
        },
        who="a test",
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))

    with raw.warehouse.transaction() as connection:
        deals = connection.execute("select forecast_category, attributes from crm.deals").fetchall()
        leads = connection.execute("select company_name, attributes from crm.leads").fetchall()
    assert deals == [("Commit", {"note": "a"})]
    assert leads == [("b", {"budget": 7.5, "budget_currency": "USD"})]


def test_a_preview_shows_before_and_after_and_writes_nothing(synced: RawTables) -> None:
    """Ten rows, coverage, and what would be refused."""
    before = rows(synced.warehouse)

    preview = mapping.preview(
        synced.warehouse,
        Scope(ACME, SYSTEM),
        {
            "organizations": {
                NUMBER: "customer_number",
                STAFF: {"target": "employee_count", "as": "number"},
            }
        },
    )

    assert preview.rows["customers"][0] == {
        "remote_id": "1",
        "name": "Firma 1",
        "before": {"customer_number": None, "employee_count": None},
        "after": {"customer_number": "K-1", "employee_count": 120},
    }
    coverage = {column.target: column for column in preview.coverage}
    assert coverage["customer_number"].percent == 50.0
    assert coverage["employee_count"].refused_examples == (
        RefusedValue("2", '"viele"', "is no whole number of 64 bits"),
    )
    assert rows(synced.warehouse) == before


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [{}, {STAFF: "customer_number"}])
def test_a_preview_shows_what_a_removed_entry_gives_back(
    synced: RawTables, wanted: dict[str, str]
) -> None:
    """Website returns to its own value; customer_number, which has none, keeps what it has."""
    save(synced, {NUMBER: "website", BRANCH: "customer_number"})
    build(synced.warehouse, Scope(ACME, SYSTEM))

    preview = mapping.preview(synced.warehouse, Scope(ACME, SYSTEM), {"organizations": wanted})
    save(synced, wanted)
    build(synced.warehouse, Scope(ACME, SYSTEM))

    first = preview.rows["customers"][0]
    assert first["before"]["website"] == "K-1"
    assert first["after"]["website"] == "https://acme.example"
    assert first["after"].items() <= rows(synced.warehouse)[0].items()
    assert rows(synced.warehouse)[0]["customer_number"] == ("120" if wanted else "Bau")


@pytest.mark.slow
def test_a_preview_counts_no_value_of_a_field_that_is_gone(synced: RawTables) -> None:
    """Raw has its last values, and a build does not read them."""
    other = key_of("Nummer")
    wanted = {
        NUMBER: {"target": "customer_number", "precedence": 2},
        other: {"target": "customer_number", "precedence": 1},
    }
    synced.load(organization_fields=[custom("Nummer")])
    synced.mark("organization_fields", NUMBER)
    build(synced.warehouse, Scope(ACME, SYSTEM))

    preview = mapping.preview(synced.warehouse, Scope(ACME, SYSTEM), {"organizations": wanted})

    assert {entry.source: entry.filled for entry in preview.coverage} == {NUMBER: 0, other: 0}


@pytest.mark.slow
def test_a_renamed_option_of_a_mapped_field_arrives(synced: RawTables) -> None:
    """It bumps no record; the definitions alone say so."""
    save(synced, {BRANCH: "industry"})
    build(synced.warehouse, Scope(ACME, SYSTEM))

    synced.load(organization_fields=[custom("Branche", "enum", {2: "Bauwesen"})])
    build(synced.warehouse, Scope(ACME, SYSTEM))

    assert rows(synced.warehouse)[0]["industry"] == "Bauwesen"


@pytest.mark.slow
def test_an_unusable_entry_leaves_its_column_as_it_is(synced: RawTables) -> None:
    """A retyped field no longer fits; the column must not fall back to something else."""
    version = save(synced, {NUMBER: "website", LIMIT: "annual_revenue"})
    build(synced.warehouse, Scope(ACME, SYSTEM))

    synced.load(organization_fields=[custom("Kundennummer", "date"), custom("Limit", "text")])
    build(synced.warehouse, Scope(ACME, SYSTEM))

    first = rows(synced.warehouse)[0]
    fields = list(mapping.catalogue(synced.warehouse, Scope(ACME, SYSTEM)).fields)
    resting = mapping.unusable_entries(Scope(ACME, SYSTEM), version.mapping, fields)
    assert (first["website"], first["annual_revenue"]) == ("K-1", 5)
    assert resting.keys() == {f"organizations.{NUMBER}", f"organizations.{LIMIT}"}
    assert "is date, website is text" in resting[f"organizations.{NUMBER}"]


BLANKS = ["", " ", "\t\n", "\u00a0", "\u200b\u200d", "\u3000", "\ufeff"]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_blank_text_fills_no_column(synced: RawTables, blank: str) -> None:
    """Forms send it for a field that nobody filled in; a good value must not give way to it."""
    save(
        synced,
        {
            NUMBER: {"target": "customer_number", "precedence": 1},
            STAFF: {"target": "customer_number", "precedence": 2},
            f"{LIMIT}.currency": "website",
            "website": "attributes.site",
        },
    )
    synced.load(
        organizations=[
            organization(
                1,
                website="https://acme.example",
                custom_fields={NUMBER: blank, STAFF: "K-17", LIMIT: {"currency": blank}},
            ),
            organization(2, website=blank, custom_fields={NUMBER: blank}),
        ]
    )

    build(synced.warehouse, Scope(ACME, SYSTEM))

    first, second = rows(synced.warehouse)
    assert (first["customer_number"], first["website"]) == ("K-17", "https://acme.example")
    assert first["attributes"] == {"site": "https://acme.example"}
    assert (second["customer_number"], second["attributes"]) == (None, {})


@pytest.mark.slow
def test_blank_text_that_is_to_be_a_number_is_no_value(synced: RawTables) -> None:
    """It is neither converted nor listed as refused; an empty list of options is none either."""
    tags = key_of("Tags")
    save(synced, {STAFF: {"target": "employee_count", "as": "number"}})
    synced.load(
        organization_fields=[custom("Tags", "set", {1: "A"})],
        organizations=[
            organization(number, custom_fields={STAFF: "", tags: []}) for number in (1, 2)
        ],
    )
    built = build(synced.warehouse, Scope(ACME, SYSTEM))
    save(synced, {tags: {"target": "industry", "as": "text"}})
    build(synced.warehouse, Scope(ACME, SYSTEM))

    assert (built.values.refused, built.values.rejected) == (0, 0)
    assert [row["industry"] for row in rows(synced.warehouse)] == [None, None]


def test_who_looks_at_the_fields_amid_a_build_does_not_wait_for_its_end(
    raw: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both added the new field: the page waited for the build, and failed after five seconds."""
    raw.load(organizations=[organization(1)])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    raw.load(organization_fields=[custom("Branche")], organizations=[organization(1)])
    original = BUILDING.mapped_sources
    seen: list[int] = []

    def look_at_the_fields(*args: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(mapping.catalogue, raw.warehouse, Scope(ACME, SYSTEM))
            seen.append(len(looking.result().fields))
            previewing = pool.submit(mapping.preview, raw.warehouse, Scope(ACME, SYSTEM), {})
            assert previewing.result().coverage == ()
        return original(*args)

    monkeypatch.setattr(BUILDING, "mapped_sources", look_at_the_fields)

    with raw.warehouse.lock_session(ACME.marts_lock) as session:
        locks.take(session, ACME.marts_lock)
        build(raw.warehouse, Scope(ACME, SYSTEM))

    assert seen == [0]
    assert len(mapping.catalogue(raw.warehouse, Scope(ACME, SYSTEM)).fields) == 1
