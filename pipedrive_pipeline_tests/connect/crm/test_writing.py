"""Writes by the CRM API: names, headers, statuses; what the engine does is in scenarios."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.connect.crm.installation import Installed, data, error
from pipedrive_pipeline_tests.scenarios.world import World
from pipedrive_pipeline_tests.scenarios.writing import allow_writes

pytestmark = pytest.mark.slow

API = "/api/crm/v1"


def test_an_organization_is_made_changed_and_deleted(admin: httpx.Client, sandbox: Sandbox) -> None:
    made = admin.post(f"{API}/organizations", json={"name": "Neu", "address": "Weg 1, Berlin"})
    org = data(made, 201)
    read = admin.get(f"{API}/organizations/{org['id']}")
    changed = admin.patch(
        f"{API}/organizations/{org['id']}",
        json={"name": "Neuer"},
        headers={"if-match": read.headers["etag"]},
    )
    gone = admin.delete(f"{API}/organizations/{org['id']}")

    assert data(read) == org
    assert read.headers["etag"] == made.headers["etag"] != changed.headers["etag"]
    assert (data(changed)["name"], changed.json()["meta"]["warnings"]) == ("Neuer", [])
    assert data(gone)["deletion_reason"] == "deleted"
    assert sandbox.account.get("organizations", int(org["remote_id"]))["is_deleted"]
    assert admin.get(f"{API}/organizations/{org['id']}").status_code == 404


def test_a_stale_etag_is_refused_with_both_values(admin: httpx.Client, sandbox: Sandbox) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Meins"}), 201)
    etag = admin.get(f"{API}/organizations/{org['id']}").headers["etag"]
    sandbox.account.edit("organizations", int(org["remote_id"]), name="Deins")
    refused = admin.patch(
        f"{API}/organizations/{org['id']}", json={"name": "Unsers"}, headers={"if-match": etag}
    )

    moved = error(refused, 412)
    assert moved["code"] == "record_moved"
    assert moved["details"] == [
        {
            "field": "name",
            "issue": "the record has another value",
            "yours": "Unsers",
            "current": "Deins",
        }
    ]
    assert sandbox.account.get("organizations", int(org["remote_id"]))["name"] == "Deins"


def test_values_are_checked_before_any_call_and_named_as_the_api_names_them(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    calls = len(sandbox.requests)
    refused = admin.post(
        f"{API}/deals",
        json={
            "value": "much",
            "org_id": "org_" + 32 * "0",
            "probability": 1.5,
            "won_at": "2026-01-01",
            "nonsense": 1,
        },
    )
    linked = error(refused, 422)
    refused = admin.post(
        f"{API}/deals", json={"value": "much", "probability": 1.5, "won_at": "x", "nonsense": 1}
    )

    issues = {each["field"]: each["issue"] for each in error(refused, 422)["details"]}
    assert [each["field"] for each in linked["details"]] == ["org_id"]
    assert set(issues) == {"value", "probability", "won_at", "nonsense", "title"}
    assert "read-only" in issues["won_at"]
    assert len(sandbox.requests) == calls


def test_each_resource_says_which_operations_the_system_lacks(admin: httpx.Client) -> None:
    refused = admin.post(f"{API}/users", json={"name": "Ada"})

    assert error(refused, 405)["code"] == "not_supported_by_system"


def test_a_program_asks_what_can_be_written(admin: httpx.Client) -> None:
    systems: Any = data(admin.get(f"{API}/systems"))
    pipedrive = next(each for each in systems if each["system"] == "pipedrive")
    resources = {each["resource"]: each["operations"] for each in pipedrive["resources"]}
    deals = {each["operation"]: each for each in resources["deals"]}

    assert resources["users"] == []
    assert set(deals) == {"create", "update", "delete", "win", "lose", "reopen"}
    required = [each["name"] for each in deals["create"]["fields"] if each["is_required"]]
    assert required == ["title"]
    assert [each["name"] for each in deals["lose"]["fields"]] == ["lost_reason", "lost_at"]


def test_a_row_is_tried_out_and_shows_its_call(admin: httpx.Client, sandbox: Sandbox) -> None:
    calls = len(sandbox.requests)
    place = f"{API}/organizations/try"
    dry = data(admin.post(f"{place}?dry_run=true", json={"name": "Probe"}))
    assert len(sandbox.requests) == calls
    sent = data(admin.post(place, json={"name": "Probe"}))

    assert dry["request"]["method"] == "POST"
    assert dry["request"]["body"] == {"name": "Probe"}
    assert dry["answer"] is None
    assert sent["answer"]["status"] == 201
    assert sent["answer"]["data"]["name"] == "Probe"


def test_writing_is_forbidden_unless_the_tenant_allows_it(
    admin: httpx.Client, world: World, sandbox: Sandbox
) -> None:
    calls = len(sandbox.requests)
    allow_writes(world, "contacts")
    refused = admin.post(f"{API}/organizations", json={"name": "Neu"})
    allowed = admin.post(f"{API}/persons", json={"name": "Ada Neu", "emails": ["ada@neu.de"]})

    assert error(refused, 403)["code"] == "writing_forbidden"
    assert data(allowed, 201)["emails"] == ["ada@neu.de"]
    assert len(sandbox.requests) > calls


def test_a_deal_is_won_lost_and_reopened_and_has_lines(admin: httpx.Client) -> None:
    product = data(admin.post(f"{API}/products", json={"name": "Schraube", "tax": 19}), 201)
    deal = data(
        admin.post(f"{API}/deals", json={"title": "Groß", "value": 100, "probability": 0.25}), 201
    )
    place = f"{API}/deals/{deal['id']}"
    line = data(
        admin.post(
            f"{place}/products",
            json={"product_id": product["id"], "quantity": 2, "unit_price": 5, "discount": 0.1},
        ),
        201,
    )
    won = data(admin.post(f"{place}/won"))
    lost = data(admin.post(f"{place}/lost", json={"lost_reason": "Preis"}))
    reopened = data(admin.post(f"{place}/reopen"))
    changed = data(admin.patch(f"{API}/deal-products/{line['id']}", json={"quantity": 3}))
    gone = data(admin.delete(f"{API}/deal-products/{line['id']}"))

    assert (deal["value"], deal["probability"]) == (100, 0.25)
    assert (line["deal_id"], line["product_id"]) == (deal["id"], product["id"])
    assert (line["discount"], line["total"]) == (0.1, 9)
    assert [each["status"] for each in (won, lost, reopened)] == ["won", "lost", "open"]
    assert lost["lost_reason"] == "Preis"
    assert changed["total"] == 13.5
    assert gone["deletion_reason"] == "deleted"


def test_activities_notes_leads_stages_are_written_in_their_own_forms(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Firma"}), 201)
    person = data(admin.post(f"{API}/persons", json={"name": "Bob Bau", "org_id": org["id"]}), 201)
    activity = data(
        admin.post(
            f"{API}/activities",
            json={
                "subject": "Anruf",
                "type": "call",
                "due_date": "2026-12-01",
                "due_time": "09:30",
                "person_id": person["id"],
                "done": False,
            },
        ),
        201,
    )
    done = data(admin.patch(f"{API}/activities/{activity['id']}", json={"done": True}))
    note = data(
        admin.post(f"{API}/notes", json={"content": "<p>Hallo</p>", "person_id": person["id"]}),
        201,
    )
    noted = data(admin.patch(f"{API}/notes/{note['id']}", json={"content": "<p>Neu</p>"}))
    lead = data(
        admin.post(
            f"{API}/leads",
            json={"title": "Anfrage", "org_id": org["id"], "value": 10, "currency": "EUR"},
        ),
        201,
    )
    dearer = data(admin.patch(f"{API}/leads/{lead['id']}", json={"value": 20}))
    pipeline = data(admin.post(f"{API}/pipelines", json={"name": "Neu"}), 201)
    stage = data(
        admin.post(
            f"{API}/stages",
            json={"name": "Erst", "pipeline_id": pipeline["id"], "probability": 0.5},
        ),
        201,
    )

    assert (activity["type"], activity["due_time"], activity["person_id"]) == (
        "call",
        "09:30",
        person["id"],
    )
    assert (done["done"], done["subject"]) == (True, "Anruf")
    assert noted["content"] == "<p>Neu</p>"
    assert (dearer["value"], dearer["currency"]) == (20, "EUR")
    assert stage["probability"] == 0.5
    origin = sandbox.account.get("leads", lead["remote_id"])["origin_id"]
    assert len(origin) == 36, "the id of the write marks the lead"


def test_a_key_that_comes_again_writes_once_and_gets_the_same_answer(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    made = sandbox.account.records["organizations"].last_id
    headers = {"idempotency-key": "customer-4711"}
    first = admin.post(f"{API}/organizations", json={"name": "Einmal"}, headers=headers)
    again = admin.post(f"{API}/organizations", json={"name": "Einmal"}, headers=headers)
    other = admin.post(f"{API}/organizations", json={"name": "Anders"}, headers=headers)

    assert data(again, 201) == data(first, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert error(other, 422)["code"] == "idempotency_key_reused"
    assert sandbox.account.records["organizations"].last_id == made + 1


def test_a_batch_reports_each_row_and_never_fails_whole(admin: httpx.Client) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Vorher"}), 201)
    rows = [
        {"name": "Erste"},
        {"website": "https://ohne.name"},
        {"id": org["id"], "name": "Nachher"},
        {"id": "org_" + 32 * "0", "name": "Niemand"},
        {"name": "Letzte", "labels": ["gibt es nicht"]},
    ]
    answer: Any = data(admin.post(f"{API}/organizations/batch", json=rows))

    assert [each["status"] for each in answer] == [201, 422, 200, 404, 422]
    assert answer[2]["data"]["name"] == "Nachher"


def test_a_key_without_the_right_writes_nothing(installed: Installed, sandbox: Sandbox) -> None:
    user, manager = installed.client(Role.USER, "u"), installed.client(Role.MANAGER, "m")
    calls = len(sandbox.requests)
    refused = user.post(f"{API}/organizations", json={"name": "Neu"})
    kept = manager.delete(f"{API}/organizations/pipedrive:1")

    assert error(refused, 403)["code"] == "role_too_low"
    assert error(kept, 403)["code"] == "role_too_low"
    assert len(sandbox.requests) == calls


def test_a_key_of_a_user_changes_no_record_that_the_user_may_not_see(
    admin: httpx.Client, installed: Installed, sandbox: Sandbox
) -> None:
    """Neither by its id nor by a match; nor is a second record made of it."""
    sent = {"name": "Verborgen", "website": "https://verborgen.example", "visible_to": "1"}
    made = data(admin.post(f"{API}/organizations", json=sent), 201)
    users: Any = data(admin.get(f"{API}/users"))
    stranger = next(each for each in users if each["id"] != made["owner_id"])
    bound = installed.client(
        Role.MANAGER, "a stranger", crm_user_id=UUID(stranger["id"].partition("_")[2])
    )
    last = sandbox.account.records["organizations"].last_id
    change = {"name": "Entdeckt", "match_value": "verborgen.example"}
    by_match = error(bound.post(f"{API}/organizations?match=domain", json=change), 409)
    by_id = error(bound.patch(f"{API}/organizations/{made['id']}", json={"name": "x"}), 404)

    assert (by_match["code"], by_id["code"]) == ("duplicate", "not_found")
    assert made["remote_id"] not in by_match["message"]
    assert sandbox.account.get("organizations", int(made["remote_id"]))["name"] == "Verborgen"
    assert sandbox.account.records["organizations"].last_id == last


REFUSED = {  # a fault of the source: status and code of the answer
    "scope_403": (409, "scope_missing"),
    "unauthorized_401": (409, "needs_reauth"),
    "daily_429": (503, "budget_spent"),
    "cloudflare_403": (409, "source_blocked"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_source_refuses_has_the_documented_answer_and_changes_nothing(
    admin: httpx.Client, sandbox: Sandbox, world: World, fault: str
) -> None:
    """The same request with the same key again, once it is allowed, is done."""
    headers = {"idempotency-key": f"refused {fault}".replace(" ", "-")}
    sandbox.faults.add(fault, path="/api/v2/organizations", times=2)
    changes = len(sandbox.account.history)
    answer = admin.post(f"{API}/organizations", json={"name": fault}, headers=headers)
    sandbox.faults.clear()
    assert len(sandbox.account.history) == changes
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.connections set state = 'connected'")
        connection.execute("delete from integration.budget_statements")
    again = admin.post(f"{API}/organizations", json={"name": fault}, headers=headers)

    status, code = REFUSED[fault]
    assert error(answer, status)["code"] == code
    assert ("retry-after" in answer.headers) == (status == 503)
    assert data(again, 201)["name"] == fault


def test_an_archived_deal_and_a_refusal_by_the_source_have_the_documented_answers(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    deal = data(admin.post(f"{API}/deals", json={"title": "Alt"}), 201)
    sandbox.account.edit("deals", int(deal["remote_id"]), is_archived=True)
    archived = error(admin.patch(f"{API}/deals/{deal['id']}", json={"title": "x"}), 409)
    early = error(admin.post(f"{API}/deals", json={"title": "x", "lost_reason": "zu früh"}), 422)

    assert archived["code"] == "record_not_writable"
    assert early["code"] == "refused_by_source"
    assert [each["field"] for each in early["details"]] == ["lost_reason"]


def test_each_resource_of_the_api_has_its_writing_routes() -> None:
    from pipedrive_pipeline.connect.api.crm.write_routes import ROUTERS

    paths = {
        (method, route.path)  # type: ignore[attr-defined]
        for router in ROUTERS
        for route in router.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    resources = [declared.api.path for declared in MARTS if declared.api]
    assert {("POST", f"{API}/{path}") for path in resources} <= paths
    assert {("PATCH", f"{API}/{path}/{{record_id}}") for path in resources} <= paths
    assert ("POST", f"{API}/deals/{{record_id}}/products") in paths
    assert ("POST", f"{API}/deals/{{record_id}}/won") in paths
