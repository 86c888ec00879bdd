"""Writes of activities, notes, leads and products, and what each brings with it."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount
from pipedrive_pipeline_tests.sandbox.client import SandboxClient

ACTIVITIES, NOTES, LEADS, PRODUCTS = (
    "/api/v2/activities",
    "/v1/notes",
    "/v1/leads",
    "/api/v2/products",
)
Row = dict[str, Any]


def written(client: SandboxClient, method: str, path: str, body: Row) -> Row:
    """The data of an answer to a write."""
    answer = client.http.request(method, path, json=body)
    assert answer.status_code in (200, 201), answer.text
    row: Row = answer.json()["data"]
    return row


def test_an_activity_without_a_word_is_of_the_first_type_and_has_its_name(
    client: SandboxClient,
) -> None:
    row = written(client, "POST", ACTIVITIES, {})

    assert (row["type"], row["subject"], row["done"]) == ("call", "Anruf", False)
    assert (row["due_time"], row["duration"], row["participants"]) == (None, None, [])
    assert row["owner_id"] == 900


def test_the_person_of_an_activity_is_its_primary_participant(client: SandboxClient) -> None:
    people = [{"person_id": 20, "primary": False}, {"person_id": 21, "primary": True}]

    row = written(client, "POST", ACTIVITIES, {"participants": people, "due_time": "14:00"})
    replaced = written(client, "PATCH", f"{ACTIVITIES}/{row['id']}", {"person_id": 22})

    assert (row["person_id"], row["due_time"]) == (21, "14:00:00")
    assert replaced["participants"] == [{"person_id": 22, "primary": True}]


def test_a_done_activity_says_when_and_an_undone_one_forgets(client: SandboxClient) -> None:
    client.sandbox.clock.freeze()
    row = written(client, "POST", ACTIVITIES, {"subject": "Anruf"})
    path = f"{ACTIVITIES}/{row['id']}"

    done = written(client, "PATCH", path, {"done": True})
    undone = written(client, "PATCH", path, {"done": False})

    assert done["marked_as_done_time"] == client.sandbox.clock.stamp()
    assert undone["marked_as_done_time"] is None


def test_attendees_come_only_on_request(client: SandboxClient) -> None:
    body = {"attendees": [{"email": "ida@acme.example"}]}

    row = written(client, "POST", ACTIVITIES, body)

    detailed = client.data(f"{ACTIVITIES}/{row['id']}", include_fields="attendees")
    assert "attendees" not in row
    assert detailed["attendees"] == body["attendees"]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "seance"},
        {"done": "yes"},
        {"deal_id": 4_711},
        {"lead_id": "00000001-dead-11ef-9a5d-0242ac120002"},
        {"participants": [{"primary": True}]},
        {"attendees": [{"name": "Ida"}]},
        {"location": "Kiel"},
        {"custom_fields": {}},
    ],
)
def test_what_an_activity_cannot_have_is_refused(company: SandboxClient, body: Row) -> None:
    assert company.http.post(ACTIVITIES, json=body).status_code == 400


def test_a_note_on_a_deal_takes_over_its_person_and_organization(
    client: SandboxClient, account: CrmAccount
) -> None:
    account.edit("deals", 20, person_id=33, org_id=4)

    note = written(client, "POST", NOTES, {"content": "<p>Neu</p>", "deal_id": 20})
    own = written(client, "POST", NOTES, {"content": "x", "deal_id": 20, "person_id": 34})

    assert (note["person_id"], note["org_id"]) == (33, 4)
    assert note["deal"] == {"title": account.get("deals", 20)["title"]}
    assert note["person"] == {"name": account.get("persons", 33)["name"]}
    assert (own["person_id"], own["org_id"]) == (34, 4)
    assert note["last_update_user_id"] is None


def test_a_deleted_note_leaves_the_list_and_says_so_by_id(client: SandboxClient) -> None:
    note = written(client, "POST", NOTES, {"content": "x", "org_id": 3})
    path = f"{NOTES}/{note['id']}"
    pinned = written(client, "PUT", path, {"pinned_to_organization_flag": 1})

    answer = client.http.delete(path)

    assert pinned["pinned_to_organization_flag"] is True
    assert pinned["last_update_user_id"] == 900
    assert answer.json() == {"success": True, "data": True}
    assert client.data(path)["active_flag"] is False
    assert note["id"] not in [row["id"] for row in client.data(NOTES, org_id=3, limit=500)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOTES, {"content": "x"}),
        (NOTES, {"deal_id": 3}),
        (NOTES, {"content": "x", "deal_id": 3, "pinned_to_deal_flag": True}),
        (LEADS, {"title": "x"}),
        (LEADS, {"person_id": 3}),
        (LEADS, {"title": "x", "person_id": 3, "value": {"amount": 5}}),
        (LEADS, {"title": "x", "person_id": 3, "label_ids": ["x"]}),
        (LEADS, {"title": "x", "person_id": 3, "visible_to": 3}),
        ("/v1/leadLabels", {"name": "x", "color": "mauve"}),
        ("/v1/activityTypes", {"name": "x"}),
        (PRODUCTS, {"name": "x", "prices": [{"price": 3}]}),
        (PRODUCTS, {"name": "x", "prices": [{"currency": "EUR"}, {"currency": "EUR"}]}),
        (PRODUCTS, {"code": "x"}),
        ("/api/v2/stages", {"name": "x"}),
        ("/api/v2/stages", {"name": "x", "pipeline_id": 3}),
        ("/api/v2/pipelines", {"name": " "}),
    ],
)
def test_a_record_without_what_it_needs_is_refused(
    company: SandboxClient, path: str, body: Row
) -> None:
    answer = company.http.post(path, json=body)

    assert answer.status_code == 400, answer.text
    assert len(company.sandbox.account.history) == 0


def test_custom_fields_of_a_lead_lie_at_its_root_as_v1_writes_them(
    client: SandboxClient, account: CrmAccount
) -> None:
    book = account.fields["deals"]
    enum, several = book.named("Sparte"), book.named("Beteiligte Gewerke")
    money, span = book.named("Anschaffungskosten").code, book.named("Bauzeit").code
    assert enum.options
    assert several.options
    values = {
        enum.code: str(enum.options[1].id),
        several.code: ",".join(str(option.id) for option in several.options[:2]),
        money: 12.5,
        f"{money}_currency": "EUR",
        span: "2026-01-01",
        f"{span}_until": "2026-01-31",
    }

    lead = written(client, "POST", LEADS, {"title": "x", "person_id": 3, **values})
    cleared = written(client, "PATCH", f"{LEADS}/{lead['id']}", {enum.code: None})

    assert values.items() <= lead.items()
    assert enum.code not in cleared
    assert cleared[money] == 12.5
    stored = account.get("leads", lead["id"])["custom_fields"]
    assert stored[money] == {"value": 12.5, "currency": "EUR"}
    assert stored[several.code] == [option.id for option in several.options[:2]]


def test_a_new_field_of_deals_is_one_of_leads_at_once(client: SandboxClient) -> None:
    body = {"field_name": "Dringlichkeit", "field_type": "enum", "options": [{"label": "hoch"}]}

    field = written(client, "POST", "/api/v2/dealFields", body)
    code, option = field["field_code"], field["options"][0]["id"]
    lead = written(client, "POST", LEADS, {"title": "x", "person_id": 3, code: str(option)})
    job = written(client, "POST", f"/api/v2/leads/{lead['id']}/convert/deal", {})
    client.get(f"/api/v2/leads/{lead['id']}/convert/status/{job['conversion_id']}")
    status = client.data(f"/api/v2/leads/{lead['id']}/convert/status/{job['conversion_id']}")

    deal = client.data(f"/api/v2/deals/{status['deal_id']}", include_option_labels=True)
    assert lead[code] == str(option)
    assert deal["custom_fields"][code] == {"id": option, "label": "hoch"}
    assert client.data("/api/v2/deals/3")["custom_fields"][code] is None
    assert code in [row["key"] for row in client.data("/v1/leadFields", limit=500)]
    assert client.http.post("/api/v2/activityFields", json=body).status_code == 405


def test_a_lead_unsets_with_null_and_keeps_one_party(client: SandboxClient) -> None:
    lead = written(
        client, "POST", LEADS,
        {"title": "x", "person_id": 3, "organization_id": 4, "origin_id": "o-1"},
    )  # fmt: skip
    path = f"{LEADS}/{lead['id']}"

    alone = written(client, "PATCH", path, {"person_id": None})
    refused = client.http.patch(path, json={"organization_id": None})
    archived = written(client, "PATCH", path, {"is_archived": True})

    assert (lead["origin"], lead["source_name"], lead["origin_id"]) == ("API", "API", "o-1")
    assert alone["person_id"] is None
    assert refused.status_code == 400
    assert archived["archive_time"].endswith(".000Z")
    assert client.http.patch(path, json={"title": "y"}).status_code == 400
    assert client.http.patch(path, json={"origin_id": "o-2"}).status_code == 400
    assert client.http.delete(path).json()["data"] == {"id": lead["id"]}


def test_prices_of_a_product_are_replaced_wholesale(client: SandboxClient) -> None:
    plain = written(client, "POST", PRODUCTS, {"name": "Pumpe", "category": 2})
    path = f"{PRODUCTS}/{plain['id']}"
    prices = [{"currency": "CHF", "price": 7.5, "cost": 2, "notes": "Messe"}]

    priced = written(client, "PATCH", path, {"prices": prices})

    first, second = plain["prices"][0], priced["prices"][0]
    assert (first["price"], first["currency"], plain["category"]) == (0, "EUR", "2")
    assert len(priced["prices"]) == 1
    assert (second["price"], second["cost"], second["notes"]) == (7.5, 2, "Messe")
    assert second["product_id"] == plain["id"]


def test_a_variation_has_prices_of_its_own(client: SandboxClient) -> None:
    path = f"{PRODUCTS}/8/variations"

    row = written(client, "POST", path, {"name": "XL", "prices": [{"currency": "EUR", "price": 9}]})
    renamed = written(client, "PATCH", f"{path}/{row['id']}", {"name": "XXL"})

    assert renamed["prices"][0]["product_variation_id"] == row["id"]
    assert [r["name"] for r in client.data(path)][-1] == "XXL"
    client.http.delete(f"{path}/{row['id']}")
    assert row["id"] not in [r["id"] for r in client.data(path)]


def test_types_and_labels_are_made_and_retired(client: SandboxClient) -> None:
    kind = written(
        client, "POST", "/v1/activityTypes", {"name": "Video Anruf", "icon_key": "camera"}
    )
    label = written(client, "POST", "/v1/leadLabels", {"name": "Neu", "color": "red"})

    client.http.delete(f"/v1/activityTypes/{kind['id']}")
    client.http.delete(f"/v1/leadLabels/{label['id']}")

    assert kind["key_string"] == "video_anruf"
    assert label["id"] not in [row["id"] for row in client.data("/v1/leadLabels")]
    refused = client.http.post(ACTIVITIES, json={"type": "video_anruf"})
    assert refused.status_code == 400
