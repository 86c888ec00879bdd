"""Creates, updates, deletes and merges through the API, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, awkward_id, seeded, serve
from pipedrive_pipeline_tests.sandbox.client import SandboxClient

ORGANIZATIONS, PERSONS = "/api/v2/organizations", "/api/v2/persons"
VALUES: dict[str, Any] = {
    "varchar": "Text",
    "varchar_auto": "Vorschlag",
    "text": "lang\nund breit",
    "double": 1.5,
    "monetary": {"value": 12.5, "currency": "EUR"},
    "date": "2026-01-31",
    "user": 900,
    "org": 1,
    "people": 2,
    "phone": "+49 1",
    "time": {"value": "09:00:00"},
    "timerange": {"value": "09:00:00", "until": "10:00:00"},
    "daterange": {"value": "2026-01-01", "until": "2026-01-31"},
    "address": {"value": "Kai 1"},
}


def test_a_created_record_is_read_back_as_it_was_answered(client: SandboxClient) -> None:
    body = {"name": "Kleine GmbH", "address": {"value": "Kai 1, Kiel"}, "visible_to": 1}

    answer = client.http.post(ORGANIZATIONS, json=body)

    assert answer.status_code == 200
    created = answer.json()["data"]
    assert created["address"]["value"] == "Kai 1, Kiel"
    assert created["owner_id"] == 900
    assert client.data(f"{ORGANIZATIONS}/{created['id']}") == created


def test_every_type_of_custom_field_takes_its_value_and_null(
    client: SandboxClient, account: CrmAccount
) -> None:
    fields = [field for field in account.fields["organizations"] if field.is_custom]
    values = {field.code: VALUES[field.type] for field in fields if field.options is None}

    answer = client.http.patch(f"{ORGANIZATIONS}/3", json={"custom_fields": values})
    cleared = client.http.patch(f"{ORGANIZATIONS}/3", json={"custom_fields": dict.fromkeys(values)})

    assert answer.status_code == 200, answer.text
    assert values.items() <= answer.json()["data"]["custom_fields"].items()
    assert not any(cleared.json()["data"]["custom_fields"][code] for code in values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Region", "Nord"),
        ("Region", 999_999),
        ("Region", True),
        ("Produkte", []),
        ("Produkte", 5),
        ("Rabatt %", "12,5"),
        ("Kreditlimit", 12.5),
        ("Kreditlimit", {"value": "12"}),
        ("Erstkontakt", "31.01.2026"),
        ("Vertragslaufzeit", {"value": "2026-01-01"}),
        ("Anlieferung ab", "09:00"),
        ("Lieferadresse", "Kai 1"),
        ("Kundennummer", 5),
        ("Kundennummer", "x" * 256),
        ("Betreuer innen", "900"),
    ],
)
def test_a_custom_value_of_the_wrong_type_is_refused(
    client: SandboxClient, account: CrmAccount, name: str, value: Any
) -> None:
    code = account.fields["organizations"].named(name).code

    answer = client.http.patch(f"{ORGANIZATIONS}/3", json={"custom_fields": {code: value}})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Validation failed: custom_fields: Expected '")
    assert len(account.history) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": "A", "first_name": "B"},
        {"name": "A", "unknown": 1},
        {"name": "A", "emails": ["a@b.c"]},
        {"name": "A", "emails": [{"primary": True}]},
        {"name": "A", "owner_id": "900"},
        {"name": "A", "owner_id": 1},
        {"name": "A", "visible_to": 4},
        {"name": "A", "label_ids": [1.5]},
        {"name": "A", "org_id": 2**70},
        {"name": "A", "org_id": -1},
        {"name": "A", "label_ids": [0]},
        {"name": "A", "add_time": "2026-01-31T10:20:30.5Z"},
        {"name": "A", "custom_fields": {"title": "x"}},
        {"name": "A", "custom_fields": []},
        {"name": "A", "birthday": "heute"},
        {"name": "A", "birthday": None},
        {"name": "A", "notes": None},
        {"name": "A", "job_title": None},
        [],
        "A",
    ],
)
def test_an_ill_formed_person_is_refused(
    client: SandboxClient, account: CrmAccount, body: Any
) -> None:
    answer = client.http.post(PERSONS, json=body)

    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert len(account.history) == 0


def test_a_body_that_is_not_json_is_refused(client: SandboxClient) -> None:
    assert client.http.post(PERSONS, content=b"\xff{").status_code == 400


def test_a_name_and_its_parts_are_worked_out_from_each_other(client: SandboxClient) -> None:
    created = client.http.post(PERSONS, json={"first_name": "Zoë", "last_name": "Voß"}).json()
    renamed = client.http.patch(f"{PERSONS}/{created['data']['id']}", json={"last_name": "Weiß"})
    whole = client.http.post(PERSONS, json={"name": "Anna Maria Kühn"}).json()["data"]

    assert created["data"]["name"] == "Zoë Voß"
    assert renamed.json()["data"]["name"] == "Zoë Weiß"
    assert (whole["first_name"], whole["last_name"]) == ("Anna Maria", "Kühn")


def test_the_first_address_becomes_primary_and_updates_replace_the_whole_list(
    client: SandboxClient,
) -> None:
    two = [{"value": "a@x.example"}, {"value": "b@x.example", "label": "home"}]

    created = client.http.post(PERSONS, json={"name": "A B", "emails": two}).json()["data"]
    changed = client.http.patch(
        f"{PERSONS}/{created['id']}", json={"emails": [{"value": "c@x.example"}]}
    ).json()["data"]

    assert created["emails"] == [
        {"value": "a@x.example", "primary": True, "label": "work"},
        {"value": "b@x.example", "primary": False, "label": "home"},
    ]
    assert [row["value"] for row in changed["emails"]] == ["c@x.example"]


def test_the_marketing_status_is_stored_and_shown_only_on_request(client: SandboxClient) -> None:
    changed = client.http.patch(f"{PERSONS}/3", json={"marketing_status": "subscribed"})
    asked = client.data(f"{PERSONS}/3", include_fields="marketing_status")

    assert "marketing_status" not in changed.json()["data"]
    assert asked["marketing_status"] == "subscribed"
    assert client.http.patch(f"{PERSONS}/3", json={"marketing_status": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("path", "key"), [(f"{ORGANIZATIONS}/2", "address"), (f"{PERSONS}/2", "postal_address")]
)
def test_null_clears_an_address(client: SandboxClient, path: str, key: str) -> None:
    client.http.patch(path, json={key: {"value": "Kai 1"}})

    cleared = client.http.patch(path, json={key: None})

    assert cleared.json()["data"][key] is None


def test_an_update_cannot_move_the_time_of_creation(client: SandboxClient) -> None:
    answer = client.http.patch(f"{PERSONS}/1", json={"add_time": "2020-01-01T00:00:00Z"})

    assert answer.status_code == 400


def test_a_merge_moves_what_hangs_on_the_loser(client: SandboxClient, account: CrmAccount) -> None:
    moved = client.ids(PERSONS, org_id=20)
    stamps = {row_id: account.get("persons", row_id)["update_time"] for row_id in moved}

    answer = client.http.put("/v1/organizations/20/merge", json={"merge_with_id": 21})

    assert answer.json() == {"success": True, "data": {"id": 21}}
    assert moved
    assert set(moved) <= set(client.ids(PERSONS, org_id=21))
    assert 20 not in client.ids(ORGANIZATIONS, limit=500)
    assert {
        person_id: account.get("persons", person_id)["update_time"] for person_id in moved
    } == stamps
    edits = [edit for edit in account.history if edit.action == "merge"]
    assert [(edit.key, edit.merged_into) for edit in edits] == [(20, 21)]


@pytest.mark.parametrize("target", [20, 99_999, "21", None, True])
def test_a_merge_with_itself_or_an_unknown_record_is_refused(
    client: SandboxClient, target: Any
) -> None:
    answer = client.http.put("/v1/organizations/20/merge", json={"merge_with_id": target})

    assert answer.status_code in (400, 404)
    assert 20 in client.ids(ORGANIZATIONS, limit=500)


def test_a_search_finds_names_addresses_and_custom_texts(
    client: SandboxClient, account: CrmAccount
) -> None:
    code = account.fields["persons"].named("Personalnummer").code
    number = account.get("persons", 42)["custom_fields"][code]

    by_number = client.data(f"{PERSONS}/search", term=number, fields="custom_fields")["items"]
    by_email = client.data(f"{PERSONS}/search", term="NEU@moewe.example", exact_match=True)["items"]

    assert [result["item"]["id"] for result in by_number] == [42]
    assert by_email[0]["item"]["emails"] == ["alt@moewe.example", "neu@moewe.example"]
    assert client.refusal(f"{PERSONS}/search", term="a")[0] == 400
    assert client.refusal(f"{PERSONS}/search")[0] == 400


@pytest.mark.parametrize("shows_unset", [True, False])
def test_a_person_without_organization_is_found_without_one(*, shows_unset: bool) -> None:
    account = seeded(20, 40, shows_unset=shows_unset)
    with serve(account) as sandbox, SandboxClient(sandbox) as client:
        alone = client.data(f"{PERSONS}/{awkward_id('persons', 'no_organization')}")
        items = client.data(f"{PERSONS}/search", term=alone["name"])["items"]

    item = next(result["item"] for result in items if result["item"]["id"] == alone["id"])
    assert ("org_id" in alone, "organization" in item) == (shows_unset, shows_unset)
    assert (alone.get("org_id"), item.get("organization")) == (None, None)


def test_a_search_pages_by_cursor(client: SandboxClient) -> None:
    found_ids: list[int] = []
    query: dict[str, str | int] = {"term": "GmbH", "limit": 5}
    while True:
        body = client.get(f"{ORGANIZATIONS}/search", **query).json()
        found_ids += [result["item"]["id"] for result in body["data"]["items"]]
        if body["additional_data"]["next_cursor"] is None:
            break
        query["cursor"] = body["additional_data"]["next_cursor"]

    named = [row["id"] for row in client.sandbox.truth("organizations") if "GmbH" in row["name"]]
    assert set(named) <= set(found_ids)
    assert len(found_ids) == len(set(found_ids)) > 5
