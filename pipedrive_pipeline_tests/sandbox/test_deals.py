"""What an edit of a deal brings with it: stages, closing times, lines, archives, conversions."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, awkward_id, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.edits import Convert
from pipedrive_pipeline_tests.sandbox import entity_schemas, schemas
from pipedrive_pipeline_tests.sandbox.client import SandboxClient
from pipedrive_pipeline_tests.sandbox.schemas import check

DEALS = "/api/v2/deals"
CLOSING = ("won_time", "lost_time", "close_time", "lost_reason", "local_won_date")
Row = dict[str, Any]


def created(client: SandboxClient, path: str = DEALS, **body: Any) -> Row:
    """The data of an answer to a create."""
    answer = client.http.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    row: Row = answer.json()["data"]
    return row


def changed(client: SandboxClient, path: str, **body: Any) -> Row:
    """The data of an answer to an update."""
    answer = client.http.patch(path, json=body)
    assert answer.status_code == 200, answer.text
    row: Row = answer.json()["data"]
    return row


@pytest.fixture
def deal(client: SandboxClient) -> Row:
    """A new deal; the clock is frozen a minute later."""
    client.sandbox.clock.freeze()
    row = created(client, title="Neubau", value=100, currency="CHF", org_id=3)
    client.sandbox.clock.advance(60)
    return row


def test_a_new_deal_is_unmoved_open_and_without_an_edit_time_until_it_is_listed(
    client: SandboxClient, deal: Row
) -> None:
    """A write-back that stores the answer's `update_time` as the version seen must bear null."""
    listed = client.data(f"{DEALS}/{deal['id']}")

    assert deal["update_time"] is None
    assert listed["update_time"] == deal["add_time"]
    assert (listed["pipeline_id"], listed["stage_id"], listed["status"]) == (1, 1, "open")
    assert (listed["stage_change_time"], listed["origin"]) == (None, "API")
    assert deal["id"] in client.ids(DEALS, updated_since=deal["add_time"])


def test_a_stage_decides_on_the_pipeline_and_only_a_move_has_a_time(
    client: SandboxClient, deal: Row
) -> None:
    path = f"{DEALS}/{deal['id']}"
    now = client.sandbox.clock.stamp()

    renamed = changed(client, path, title="Umbau")
    moved = changed(client, path, stage_id=7, pipeline_id=1)
    back = changed(client, path, pipeline_id=1)

    assert renamed["stage_change_time"] is None
    assert (moved["pipeline_id"], moved["stage_id"]) == (2, 7)
    assert (back["pipeline_id"], back["stage_id"], back["stage_change_time"]) == (1, 1, now)
    stages = [
        (row["old_value"], row["new_value"])
        for row in client.data(f"/v1/deals/{deal['id']}/changelog")
        if row["field_key"] == "stage_id"
    ]
    assert stages == [("7", "1"), ("1", "7")]


def test_a_win_and_a_reopening_set_and_clear_their_times(client: SandboxClient, deal: Row) -> None:
    path = f"{DEALS}/{deal['id']}"
    first = client.sandbox.clock.stamp()
    won = changed(client, path, status="won")
    client.sandbox.clock.advance(60)

    reopened = changed(client, path, status="open")
    client.sandbox.clock.advance(60)
    lost = changed(client, path, status="lost", lost_reason="Preis")
    again = changed(client, path, status="won", won_time="2026-01-31T23:30:00Z")

    assert (won["won_time"], won["close_time"], won["stage_id"]) == (first, first, 1)
    assert [reopened[key] for key in CLOSING] == [None] * 5
    assert (lost["lost_reason"], lost["won_time"]) == ("Preis", None)
    assert lost["lost_time"] == lost["close_time"] == client.sandbox.clock.stamp()
    assert (again["lost_time"], again["lost_reason"]) == (None, None)
    assert (again["won_time"], again["local_won_date"]) == ("2026-01-31T23:30:00Z", "2026-02-01")
    detailed = client.data(path, include_fields="first_won_time")
    assert detailed["first_won_time"] == first


@pytest.mark.parametrize(
    "body",
    [
        {"won_time": "2026-01-31T10:00:00Z"},
        {"close_time": "2026-01-31T10:00:00Z"},
        {"status": "lost", "won_time": "2026-01-31T10:00:00Z"},
        {
            "status": "won",
            "won_time": "2026-01-31T10:00:00Z",
            "lost_time": "2026-01-31T10:00:00Z",
        },
        {"lost_reason": "Preis"},
        {"probability": None},
        {"probability": 101},
        {"value": "100"},
        {"currency": "Euro"},
        {"status": "deleted"},
        {"stage_id": 4_711},
        {"org_id": 4_711},
        {"add_time": "2026-01-31T10:00:00Z"},
        {"origin": "Import"},
        {"expected_close_date": None},
        {"a" * 40: "a custom field at the root"},
    ],
)
def test_what_a_deal_cannot_have_is_refused(company: SandboxClient, body: Row) -> None:
    deal_id = awkward_id("deals", "never_moved")

    answer = company.http.patch(f"{DEALS}/{deal_id}", json=body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "ERR_SCHEMA_VALIDATION_FAILED"


def test_an_archived_deal_changes_lists_and_cannot_be_edited(
    client: SandboxClient, deal: Row
) -> None:
    path, now = f"{DEALS}/{deal['id']}", client.sandbox.clock.stamp()

    archived = changed(client, path, is_archived=True)
    refused = client.http.patch(path, json={"title": "Nein"})
    in_lists = [deal["id"] in client.ids(f"{DEALS}{end}", limit=500) for end in ("", "/archived")]
    back = changed(client, path, is_archived=False)

    assert (archived["is_archived"], archived["archive_time"]) == (True, now)
    assert archived["update_time"] == now
    assert refused.status_code == 400
    assert in_lists == [False, True]
    assert (back["is_archived"], back["archive_time"]) == (False, None)
    assert deal["id"] in client.ids(DEALS, limit=500)
    given = changed(client, path, is_archived=True, archive_time="2026-01-31 10:20:30")
    assert given["archive_time"] == "2026-01-31T10:20:30Z"


def test_a_deleted_deal_is_listed_for_thirty_days_and_only_on_request(
    client: SandboxClient, deal: Row
) -> None:
    assert client.http.delete(f"{DEALS}/{deal['id']}").json()["data"] == {"id": deal["id"]}

    (row,) = [r for r in client.rows(DEALS, status="deleted") if r["id"] == deal["id"]]
    assert (row["status"], row["is_deleted"]) == ("deleted", True)
    assert row["update_time"] == client.sandbox.clock.stamp()
    assert deal["id"] not in client.ids(DEALS, limit=500)
    client.sandbox.clock.advance(30 * 86_400)
    assert deal["id"] not in client.ids(DEALS, status="open,won,lost,deleted", limit=500)
    assert client.get(f"{DEALS}/{deal['id']}").status_code == 404


def test_a_restored_deal_has_the_status_that_it_had(client: SandboxClient, deal: Row) -> None:
    changed(client, f"{DEALS}/{deal['id']}", status="won")
    client.sandbox.account.delete("deals", deal["id"])
    client.sandbox.account.restore("deals", deal["id"])

    assert client.data(f"{DEALS}/{deal['id']}")["status"] == "won"


def test_lines_make_the_value_of_a_deal_and_move_its_edit_time(
    client: SandboxClient, deal: Row
) -> None:
    path = f"{DEALS}/{deal['id']}"
    lines = f"{path}/products"
    created(client, lines, product_id=1, item_price=100, quantity=2)
    line = created(client, lines, product_id=2, item_price=10, quantity=1, discount=50)
    first = client.data(path)
    client.sandbox.clock.advance(60)

    changed(client, f"{lines}/{line['id']}", comments="Rabatt wie besprochen")
    commented = client.data(path)
    taxed = changed(client, f"{lines}/{line['id']}", tax=20, tax_method="exclusive")
    after_tax = client.data(path)
    changed(client, f"{lines}/{line['id']}", is_enabled=False)
    disabled = client.data(path)
    client.http.delete(f"{lines}/{line['id']}")

    assert (line["sum"], line["currency"], line["order_nr"]) == (5, "CHF", 2)
    assert first["value"] == 205
    assert commented["update_time"] == first["update_time"]
    assert taxed["sum"] == 6
    assert after_tax["value"] == 206
    assert after_tax["update_time"] == client.sandbox.clock.stamp()
    assert {row["tax_method"] for row in client.data(lines)} == {"exclusive"}
    assert disabled["value"] == 200
    assert [row["product_id"] for row in client.data(lines)] == [1]
    assert changed(client, path, value=7)["value"] == 200


def test_lines_are_added_all_or_none_and_deleted_in_bulk(client: SandboxClient, deal: Row) -> None:
    path = f"{DEALS}/{deal['id']}"
    right, wrong = {"product_id": 1, "item_price": 4, "quantity": 2}, {"product_id": 1}

    refused = client.http.post(f"{path}/products/bulk", json={"data": [right, wrong]})
    rows = client.http.post(f"{path}/products/bulk", json={"data": [right] * 3}).json()["data"]
    before = client.sandbox.requests.tokens_spent
    deleted = client.http.delete(f"{path}/products", params={"ids": rows[0]["id"]}).json()
    spent = client.sandbox.requests.tokens_spent - before

    assert refused.status_code == 400
    assert [row["sum"] for row in rows] == [8, 8, 8]
    assert (deleted["data"], spent) == ({"ids": [rows[0]["id"]]}, 15)
    assert client.data(path)["value"] == 16
    assert len(client.http.delete(f"{path}/products").json()["data"]["ids"]) == 2
    assert client.data(f"{path}/products") == []


@pytest.mark.parametrize(
    "body",
    [
        {"product_id": 1, "item_price": 1},
        {"product_id": 4_711, "item_price": 1, "quantity": 1},
        {"product_id": 1, "item_price": 1, "quantity": 1, "discount_type": "much"},
        {"product_id": 1, "item_price": 1, "quantity": 1, "billing_frequency": "daily"},
        {"product_id": 1, "item_price": 1, "quantity": 1, "billing_frequency_cycles": 209},
        {"product_id": 1, "item_price": 1, "quantity": 1, "deal_id": 5},
    ],
)
def test_what_a_line_cannot_have_is_refused(company: SandboxClient, body: Row) -> None:
    assert company.http.post(f"{DEALS}/3/products", json=body).status_code == 400


def test_a_line_is_addressed_under_its_own_deal_only(client: SandboxClient) -> None:
    (line, _) = client.data(f"{DEALS}/2/products")

    assert client.http.patch(f"{DEALS}/4/products/{line['id']}", json={}).status_code == 404
    assert client.http.delete(f"{DEALS}/4/products/{line['id']}").status_code == 404


def test_a_person_takes_part_in_a_deal_and_a_former_one_goes_on_to(
    client: SandboxClient, deal: Row
) -> None:
    path, people = f"{DEALS}/{deal['id']}", f"/v1/deals/{deal['id']}/participants"
    changed(client, path, person_id=20)
    changed(client, path, person_id=21)

    added = created(client, people, person_id=22)
    listed = [row["person_id"]["value"] for row in client.data(people)]
    client.http.delete(f"{people}/{added['id']}")

    assert listed == [20, 21, 22]
    assert client.ids("/api/v2/persons", deal_id=deal["id"]) == [20, 21]


def test_a_merged_deal_leaves_what_belongs_to_it_to_the_survivor(client: SandboxClient) -> None:
    account = client.sandbox.account
    activities = client.ids("/api/v2/activities", deal_id=20)
    account.edit("deals", 20, status="won")
    account.edit("deals", 22, status="open", is_archived=False)

    answer = client.http.put("/v1/deals/20/merge", json={"merge_with_id": 22})

    assert answer.json()["data"] == {"id": 22}
    assert set(activities) <= set(client.ids("/api/v2/activities", deal_id=22))
    lines = client.data(f"{DEALS}/22/products")
    survivor = client.data(f"{DEALS}/22")
    assert len(lines) == 4
    assert survivor["value"] == pytest.approx(sum(line["sum"] for line in lines))
    assert (survivor["status"], survivor["won_time"]) == ("open", None)
    assert 20 not in client.ids(DEALS, limit=500)


def test_the_deals_of_a_merged_organization_move(account: CrmAccount) -> None:
    before = account.records["deals"].children_of("org_id", 20)

    account.merge("organizations", 20, 21)

    assert before
    assert set(before) <= set(account.records["deals"].children_of("org_id", 21))


def test_a_new_stage_stamps_its_siblings_and_a_moved_one_shifts_them(
    client: SandboxClient,
) -> None:
    client.sandbox.clock.freeze()
    now = client.sandbox.clock.stamp()

    stage = created(client, "/api/v2/stages", name="Nachverhandlung", pipeline_id=1)
    stamped = {row["id"]: row["update_time"] for row in client.data("/api/v2/stages")}
    client.sandbox.account.edit("stages", stage["id"], order_nr=1)
    ordered = client.rows("/api/v2/stages", pipeline_id=1, sort_by="order_nr")

    assert {stamped[row_id] for row_id in range(1, 6)} == {now}
    assert stamped[6] is None  # of another pipeline
    assert [row["id"] for row in ordered] == [1, stage["id"], 2, 3, 4, 5]
    assert [row["order_nr"] for row in ordered] == [0, 1, 2, 3, 4, 5]


def test_a_pipeline_without_stages_takes_no_deal(client: SandboxClient, deal: Row) -> None:
    empty = created(client, "/api/v2/pipelines", name="Leer")

    row = changed(client, f"{DEALS}/{deal['id']}", pipeline_id=empty["id"])
    new = created(client, title="Neu", pipeline_id=empty["id"])

    assert empty["order_nr"] == 2
    assert (row["pipeline_id"], row["stage_id"]) == (1, 1)
    assert (new["pipeline_id"], new["stage_id"]) == (1, 1)


def test_a_deleted_pipeline_leaves_the_list_while_a_deal_is_in_it(client: SandboxClient) -> None:
    deal = client.data(f"{DEALS}/{awkward_id('deals', 'deleted_pipeline')}")

    assert deal["pipeline_id"] not in client.ids("/api/v2/pipelines")
    assert deal["stage_id"] not in client.ids("/api/v2/stages")
    assert client.get(f"/api/v2/stages/{deal['stage_id']}").status_code == 404


def test_a_lead_becomes_a_deal_after_its_conversion_said_so(client: SandboxClient) -> None:
    account = client.sandbox.account
    lead = created(
        client, "/v1/leads", title="Messekontakt", person_id=30,
        value={"amount": 5, "currency": "PLN"},
    )  # fmt: skip
    created(client, "/v1/notes", content="Ruft an", lead_id=lead["id"])
    path = f"/api/v2/leads/{lead['id']}/convert"

    begun = client.http.post(f"{path}/deal", json={"stage_id": 8}).json()
    steps = [client.get(f"{path}/status/{begun['data']['conversion_id']}").json() for _ in range(2)]

    for body in (begun, *steps):
        check(body, schemas.single(entity_schemas.CONVERSION))
    assert [step["data"]["status"] for step in steps] == ["running", "completed"]
    deal = client.data(f"{DEALS}/{steps[1]['data']['deal_id']}", include_fields="source_lead_id")
    assert deal["source_lead_id"] == lead["id"]
    assert (deal["stage_id"], deal["pipeline_id"]) == (8, 2)
    assert (deal["value"], deal["currency"], deal["person_id"]) == (5, "PLN", 30)
    assert client.get(f"/v1/leads/{lead['id']}").status_code == 404
    assert [row["content"] for row in client.data("/v1/notes", deal_id=deal["id"])] == ["Ruft an"]
    assert client.refusal(f"{path}/status/{'0' * 8}")[0] == 404
    assert account.get("leads", lead["id"])["is_deleted"]


def test_a_deal_becomes_a_lead_that_names_it(client: SandboxClient, deal: Row) -> None:
    path = f"{DEALS}/{deal['id']}/convert"

    job = client.http.post(f"{path}/lead").json()["data"]["conversion_id"]
    client.get(f"{path}/status/{job}")
    lead_id = client.data(f"{path}/status/{job}")["lead_id"]

    lead = client.data(f"/v1/leads/{lead_id}")
    assert lead["source_deal_id"] == deal["id"]
    assert lead["value"] == {"amount": 100, "currency": "CHF"}
    assert client.data(f"{DEALS}/{deal['id']}")["status"] == "deleted"


def test_a_conversion_by_a_test_has_its_message(sandbox: Sandbox) -> None:
    sandbox.account.create("leads", title="Anruf", person_id=4)
    lead = [*sandbox.truth("leads")][-1]

    deal = Convert(entity="leads", id=lead["id"], stage_id=2).run(sandbox)
    back = Convert(entity="deals", id=deal["id"]).run(sandbox)

    assert deal["source_lead_id"] == lead["id"]
    assert back["source_deal_id"] == deal["id"]
    with pytest.raises(ValueError, match="only deals and leads"):
        Convert(entity="persons", id=1).run(sandbox)


def test_custom_fields_are_null_where_a_live_company_has_them_null(client: SandboxClient) -> None:
    client.sandbox.account.plant("deals", 5, custom_fields=None)
    with (
        serve(seeded(8, 8, deal_fields=0), has_limits=False) as sandbox,
        SandboxClient(sandbox) as other,
    ):
        without_fields = other.data(f"{DEALS}/3", include_option_labels=True)

    assert client.data(f"{DEALS}/5")["custom_fields"] is None
    assert without_fields["custom_fields"] is None
