"""Raw and marts against the source, value by value, after full and incremental reads."""

from __future__ import annotations

import msgspec
import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, awkward_id
from pipedrive_pipeline_tests.scenarios.oracle import (
    assert_all_equals_source,
    assert_marts_equal_source,
    assert_raw_equals_source,
    mart,
)
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_a_full_read_holds_every_value_of_every_entity(world: World, sandbox: Sandbox) -> None:
    """Promise 1, with umlauts, emoji, "", null, 0 and all types of custom fields."""
    world.first_sync()

    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_edits_of_every_kind_arrive_with_an_incremental_read(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    region = account.fields["organizations"].named("Region")
    assert region.options
    account.create("organizations", name="Neu & Söhne", website="", employee_count=0)
    account.create("persons", name="Neu", org_id=121, emails=[], phones=[])
    account.edit("persons", 30, name="", org_id=5, job_title="")
    account.edit("persons", 31, org_id=None, first_name=None)
    account.edit("organizations", 40, custom_fields={region.code: region.options[0].id})
    account.edit("organizations", 41, address=None, annual_revenue=0)
    account.edit("organizations", 42, name="x" * 10_000)
    account.edit_many("persons", range(100, 160), owner_id=account.users[1]["id"])
    account.fields["organizations"].change(region.code, name="Gebiet")
    account.fields["organizations"].rename_options(region.code, {region.options[0].id: "Süd-Ost"})

    world.sync()

    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("account", [{"shows_unset": False}], indirect=True)
def test_a_key_that_is_left_out_once_it_is_unset_becomes_null(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Pipedrive's own document has no null for these; a value that has gone must not stay."""
    world.first_sync()
    account.edit("persons", 31, org_id=None, first_name=None, last_name=None, job_title=None)

    world.sync()

    person = next(row for row in world.raw(ACME, "persons") if row["id"] == 31)
    keys = ("org_id", "first_name", "last_name", "job_title")
    assert not set(keys) & next(row for row in sandbox.truth("persons") if row["id"] == 31).keys()
    assert [person[key] for key in keys] == [None] * 4
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_a_second_full_read_finds_edits_without_an_edit_time(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Counters and restored rows change without a new update_time."""
    world.first_sync()
    account.plant("persons", 50, name="leise geändert")
    account.plant("organizations", 50, name="auch leise")

    world.sync(sync_type="full")

    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_empty_text_null_and_absent_stay_what_they_are(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Postgres's COPY would make null of "", which an analyst cannot tell from unknown."""
    account.plant("organizations", 20, name="", website="", linkedin=None)
    account.plant("persons", 20, first_name="", last_name=None, notes="null", job_title="\\N")

    world.sync(sync_type="full")

    organization = world.raw(ACME, "organizations")[19]
    person = world.raw(ACME, "persons")[19]
    assert (organization["name"], organization["website"], organization["linkedin"]) == (
        "",
        "",
        None,
    )
    assert [person[name] for name in ("first_name", "last_name", "notes", "job_title")] == [
        "",
        None,
        "null",
        "\\N",
    ]
    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_text_that_means_something_to_copy_arrives_as_text(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    for row_id, name in enumerate(
        ['"', '""', "\\.", "a\n\\.\nb", "a,b;c\td", "\r\n", "\\", "'", "NULL", "{}", " "], start=60
    ):
        account.edit("persons", row_id, name=name, custom_fields={})

    world.sync(sync_type="full")

    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_numbers_beyond_sixty_four_bits_and_nan_stay_readable(
    world: World, account: CrmAccount
) -> None:
    """What Postgres refuses would wedge the tenant; what dlt swallows would be lost in silence."""
    account.plant("organizations", 20, employee_count=2**63, annual_revenue=msgspec.Raw(b"NaN"))
    account.plant("organizations", 21, employee_count=msgspec.Raw(b"1e400"), owner_id="zwölf")
    account.plant("organizations", 22, name="a\x00b", update_time="0000-00-00 00:00:00")
    account.plant("organizations", 23, name=msgspec.Raw(b'"\\ud83d"'), add_time="10000-01-01")

    synced = world.sync(sync_type="full")

    rows = {row["id"]: row for row in world.raw(ACME, "organizations")}
    assert rows[20]["extra"]["employee_count"] == 2**63
    assert rows[20]["extra"]["annual_revenue"] == "NaN"
    assert rows[21]["extra"] == {"employee_count": 10**400, "owner_id": "zwölf"}
    assert rows[22]["name"] == "a\ufffdb"
    assert rows[22]["extra"] == {"update_time": "0000-00-00 00:00:00"}
    assert rows[23]["name"] == "\ufffd"
    assert rows[23]["extra"] == {"add_time": "10000-01-01"}
    assert synced.reads["organizations"].fetched == 120
    assert world.sync().reads["organizations"].is_complete


@pytest.mark.slow
def test_a_key_that_nobody_declared_lands_in_extra(world: World, account: CrmAccount) -> None:
    account.plant("persons", 5, brand_new={"a": [1, None, ""]}, also_new=None)

    synced = world.sync(sync_type="full")

    person = world.raw(ACME, "persons")[4]
    assert person["extra"] == {"brand_new": {"a": [1, None, ""]}, "also_new": None}
    assert synced.reads["persons"].undeclared["brand_new"] == 1


@pytest.mark.slow
def test_a_person_arrives_before_the_organization_and_is_linked_when_it_comes(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """An index that lags shows the organization later than its people."""
    world.first_sync()
    late = account.create("organizations", name="Spät GmbH", visible_after_seconds=60)
    person = account.create("persons", name="Früh", org_id=late["id"])
    world.sync()
    assert {row["pipedrive_id"]: row for row in mart(world, "contacts")}[person["id"]][
        "customer_id"
    ] is None
    sandbox.clock.advance(61)

    world.sync()

    customers = {row["pipedrive_id"]: row["id"] for row in mart(world, "customers")}
    contacts = {row["pipedrive_id"]: row["customer_id"] for row in mart(world, "contacts")}
    assert contacts[person["id"]] == customers[late["id"]]
    assert_marts_equal_source(world, sandbox)


@pytest.mark.slow
def test_the_awkward_people_are_who_a_reader_expects(world: World) -> None:
    """Written out by hand, so that no rule is checked against itself."""
    world.first_sync()

    contacts = {row["pipedrive_id"]: row for row in mart(world, "contacts")}

    def email(name: str) -> str | None:
        value: str | None = contacts[awkward_id("persons", name)]["email"]
        return value

    assert email("no_email") is None
    assert email("two_emails_second_primary") == "neu@moewe.example"
    assert email("two_emails_none_primary") == "erste@moewe.example"
    assert email("two_emails_both_primary") == "a@moewe.example"
    assert email("empty_email") is None
    assert email("hundred_emails") == "n70@moewe.example"
    assert email("upper_case_email") == " Max.Mustermann@ZWILLING.example "
    assert contacts[awkward_id("persons", "no_phone")]["phone"] is None
    assert contacts[awkward_id("persons", "no_organization")]["customer_id"] is None
    assert contacts[awkward_id("persons", "invisible_organization")]["customer_id"] is None
    assert contacts[awkward_id("persons", "name_without_parts")]["first_name"] is None


@pytest.mark.slow
def test_the_awkward_organizations_are_what_a_reader_expects(world: World) -> None:
    world.first_sync()

    customers = {row["pipedrive_id"]: row for row in mart(world, "customers")}
    typed = customers[awkward_id("organizations", "address_only_typed")]

    assert customers[awkward_id("organizations", "address_missing")]["address"] is None
    assert typed["address"] == "Hof Süd, hinter der Kirche"
    assert [typed[part] for part in ("street", "city", "postal_code", "region", "country")] == [
        None
    ] * 5
    unowned = customers[awkward_id("organizations", "unknown_owner")]
    assert (unowned["owner_id"], unowned["owner_name"]) == (None, None)
    assert unowned["owner_remote_id"] == "999999"
    assert customers[awkward_id("organizations", "no_labels_no_owner_group")]["labels"] == []
    assert customers[awkward_id("organizations", "line_break")]["name"] == (
        "Zeile eins\nZeile zwei\tTab"
    )
