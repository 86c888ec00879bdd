"""The look-up answers from crm: the caller's record with what a colleague wants to see at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts.contact_points.upkeep import update_points
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.marts.mart_rows import MartRows
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE

BRAVO = Tenant("bravo")
LOOKUP = "/api/crm/lookup"


def client(site: ConnectSite, tenant: Tenant = ACME) -> httpx.Client:
    with site.world.vault.warehouse.as_app(tenant) as connection:
        new = keys.add(connection, tenant, Role.USER, "phone system", who="a test")
    return site.client({"x-api-key": new.text})


def fill(site: ConnectSite, tenant: Tenant = ACME, word: str = "Acme") -> dict[str, UUID]:
    """A company with two people, two open deals and a call; its contact points."""
    with site.world.vault.warehouse.transaction(tenant) as connection:
        connection.execute("set constraints all deferred")
        connection.execute("update integration.tenants set country = 'DE'")
        rows = MartRows(connection, tenant)
        owner = rows.add("users", name="Bea Seller", email="bea@seller.example")
        customer = rows.add(
            "customers",
            name=word,
            website="https://www.acme.example",
            phone="030 1000",
            owner_id=owner,
            owner_name="Bea Seller",
        )
        contact = rows.add(
            "contacts",
            name=f"Ann of {word}",
            phone="030 1234567 ext. 12",
            email="Ann@Acme.example",
            customer_id=customer,
            changed_at=datetime(2026, 11, 2, tzinfo=UTC),
        )
        other = rows.add(
            "contacts",
            name="Otto",
            phone="+49 30 1234567",
            email="otto@gmail.com",
            changed_at=datetime(2026, 11, 3, tzinfo=UTC),
        )
        for status in ("open", "open", "won"):
            rows.add("deals", name=f"{status} deal", status=status, amount=12.5, contact_id=contact)
        for day in (1, 2):
            rows.add(
                "activities",
                kind="call",
                subject=f"call {day}",
                done=True,
                starts_at=datetime(2026, 11, day, tzinfo=UTC),
                customer_id=customer,
            )
        for mart in (CUSTOMERS, CONTACTS):
            update_points(connection, tenant, mart, system=PIPEDRIVE, ids=None)
    return {"customer": customer, "contact": contact, "other": other}


def ask(site: ConnectSite, **question: str) -> dict[str, Any]:
    answer = client(site).get(LOOKUP, params=question)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_a_call_is_answered_with_person_company_owner_deals_and_last_activity(
    site: ConnectSite,
) -> None:
    ids = fill(site)

    found = ask(site, phone="(030) 123 45 67 ext. 12")

    match = found["matches"][0]
    assert found["value"] == "+49301234567"
    assert (match["contact"]["id"], match["contact"]["name"]) == (
        str(ids["contact"]),
        "Ann of Acme",
    )
    assert match["customer"]["id"] == str(ids["customer"])
    assert match["owner"]["email"] == "bea@seller.example"
    assert match["openDealsCount"] == 2
    assert [deal["amount"] for deal in match["openDeals"]] == [12.5, 12.5]
    assert match["lastActivity"]["subject"] == "call 2"
    assert match["lastActivity"]["at"].startswith("2026-11-02")


def test_of_those_who_share_a_number_the_one_with_the_extension_comes_first(
    site: ConnectSite,
) -> None:
    """Otto changed last, so that he is first where no extension was dialled."""
    ids = fill(site)

    with_extension, without = (
        ask(site, phone="+49301234567;ext=12"),
        ask(site, phone="+49301234567"),
    )

    assert [match["contact"]["id"] for match in with_extension["matches"]] == [
        str(ids["contact"]),
        str(ids["other"]),
    ]
    assert without["matches"][0]["contact"]["id"] == str(ids["other"])


@pytest.mark.parametrize("written", [" 49301234567", "0049301234567", "tel:+49-30-1234567"])
def test_a_number_is_found_however_it_is_written(site: ConnectSite, written: str) -> None:
    """A plus sign that was not escaped arrives as a space."""
    fill(site)

    assert len(ask(site, phone=written)["matches"]) == 2


def test_a_companys_own_number_and_domain_find_it_without_a_person(site: ConnectSite) -> None:
    ids = fill(site)

    by_phone, by_domain = ask(site, phone="030 1000"), ask(site, domain="https://ACME.example/de")

    for found in (by_phone, by_domain):
        (match,) = found["matches"]
        assert match["contact"] is None
        assert match["customer"]["id"] == str(ids["customer"])
    assert by_domain["value"] == "acme.example"


def test_an_address_ignores_case_and_a_free_mail_domain_answers_nothing(
    site: ConnectSite,
) -> None:
    """Who asks for gmail.com must not get the company of some stranger with an address there."""
    ids = fill(site)

    address, domain = ask(site, email="OTTO@gmail.com"), ask(site, domain="gmail.com")

    assert [match["contact"]["id"] for match in address["matches"]] == [str(ids["other"])]
    assert (domain["matches"], domain["value"], domain["reason"]) == ([], None, "free_mail")


def test_deleted_records_are_not_found(site: ConnectSite) -> None:
    ids = fill(site)
    site.world.execute(
        "update crm.contacts set deleted_at = now(), deletion_reason = 'merged' where id = %s",
        ids["other"],
    )

    found = ask(site, phone="+49301234567")

    assert [match["contact"]["id"] for match in found["matches"]] == [str(ids["contact"])]


def test_a_hundred_questions_are_answered_in_their_order(site: ConnectSite) -> None:
    fill(site)
    asked = [{"phone": f"030 99{number:05}"} for number in range(98)]
    asked += [{"email": "ann@acme.example"}, {"phone": "who?"}]

    answer = client(site).post(LOOKUP, json={"lookUps": asked}).json()["data"]

    assert len(answer) == 100
    assert [len(found["matches"]) for found in answer] == [0] * 98 + [1, 0]
    assert (answer[99]["text"], answer[99]["reason"]) == ("who?", "unreadable")


def test_another_tenants_number_is_answered_as_one_that_nobody_has(site: ConnectSite) -> None:
    """Word for word: a difference would tell that it exists there."""
    fill(site)
    fill(site, BRAVO, "Bravo")
    site.world.execute("delete from crm.contacts where tenant_id = 'acme'")
    asking = client(site)

    theirs = asking.get(LOOKUP, params={"phone": "+49301234567"})
    nobodys = asking.get(LOOKUP, params={"phone": "+49301234568"})

    assert (
        theirs.text.split('"meta"')[0].replace("234567", "234568")
        == (nobodys.text.split('"meta"')[0])
    )
    assert (
        client(site, BRAVO).get(LOOKUP, params={"phone": "+49301234567"}).json()["data"]["matches"]
    )


def test_a_key_of_a_user_finds_what_that_user_may_see(site: ConnectSite) -> None:
    """Word for word as a number that nobody has, until the record may be seen."""
    ids = fill(site)
    (bea,) = site.world.rows("select id from crm.users")
    with site.world.vault.warehouse.as_app(ACME) as connection:
        new = keys.add(
            connection, ACME, Role.USER, "phone of Bea", who="a test", crm_user_id=bea["id"]
        )
    bound = site.client({"x-api-key": new.text})

    def matches(**question: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = bound.get(LOOKUP, params=question).json()["data"]["matches"]
        return found

    hidden = matches(phone="+49301234567")
    own = matches(phone="030 1000")
    nobodys = matches(phone="+49301234568")
    many = bound.post(LOOKUP, json={"lookUps": [{"email": "ann@acme.example"}]}).json()["data"]
    site.world.execute("update crm.contacts set visible_to = '7' where id = %s", ids["contact"])
    shown = matches(phone="+49301234567")

    assert hidden == nobodys == many[0]["matches"] == []
    assert [match["customer"]["id"] for match in own] == [str(ids["customer"])]
    assert own[0]["openDealsCount"] == 0, "the deals are nobody's"
    assert [match["contact"]["id"] for match in shown] == [str(ids["contact"])]
    assert shown[0]["openDeals"] == []


def test_a_key_of_a_user_lists_unreadable_texts_of_records_that_the_user_may_see(
    site: ConnectSite,
) -> None:
    with site.world.vault.warehouse.transaction(ACME) as connection:
        rows = MartRows(connection, ACME)
        bea = rows.add("users", name="Bea Seller")
        rows.add("contacts", name="Ann", phone="call me", visible_to="7")
        rows.add("contacts", name="Otto", phone="call nobody")
        update_points(connection, ACME, CONTACTS, system=PIPEDRIVE, ids=None)
    with site.world.vault.warehouse.as_app(ACME) as connection:
        new = keys.add(connection, ACME, Role.USER, "of Bea", who="a test", crm_user_id=bea)

    listed = site.client({"x-api-key": new.text}).get(f"{LOOKUP}/unreadable").json()["data"]

    assert [row["entered"] for row in listed] == ["call me"]


@pytest.mark.parametrize("asked", [{}, {"phone": "1", "email": "a@b.example"}])
def test_a_question_names_one_thing(site: ConnectSite, asked: dict[str, str]) -> None:
    answer = client(site).get(LOOKUP, params=asked)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")
    assert "exactly one of phone, email and domain" in answer.json()["error"]["message"]


def test_unreadable_texts_are_listed_page_by_page(site: ConnectSite) -> None:
    with site.world.vault.warehouse.transaction(ACME) as connection:
        rows = MartRows(connection, ACME)
        for number in range(3):
            rows.add("contacts", name="Ann", phone=f"call me {number}")
        update_points(connection, ACME, CONTACTS, system=PIPEDRIVE, ids=None)
    asking = client(site)

    first = asking.get(f"{LOOKUP}/unreadable", params={"limit": 2}).json()
    cursor = first["meta"]["pagination"]["next_cursor"]
    second = asking.get(f"{LOOKUP}/unreadable", params={"cursor": cursor}).json()

    listed = [row["entered"] for row in [*first["data"], *second["data"]]]
    assert sorted(listed) == ["call me 0", "call me 1", "call me 2"]
    assert second["meta"]["pagination"]["next_cursor"] is None
