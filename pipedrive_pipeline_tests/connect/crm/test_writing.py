"""Writes by the CRM API: names, headers, statuses; what the engine does is in scenarios."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.store import receive
from pipedrive_pipeline_tests.connect.crm.installation import (
    Installed,
    data,
    error,
    map_customer_number,
    unmap,
)
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World
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


def test_a_fraction_that_is_sent_as_text_is_a_fraction(admin: httpx.Client) -> None:
    """A probability of "0.25" was stored as a quarter of a percent."""
    product = data(admin.post(f"{API}/products", json={"name": "Mutter"}), 201)
    deal = data(admin.post(f"{API}/deals", json={"title": "Text", "probability": "0.25"}), 201)
    line = {"product_id": product["id"], "quantity": "2", "unit_price": "5", "discount": "0.5"}
    added = data(admin.post(f"{API}/deals/{deal['id']}/products", json=line), 201)
    refused = admin.patch(f"{API}/deals/{deal['id']}", json={"probability": "1_0", "value": "१२"})

    assert deal["probability"] == 0.25
    assert (added["discount"], added["total"]) == (0.5, 5)
    assert {each["field"] for each in error(refused, 422)["details"]} == {"probability", "value"}


def test_a_time_with_an_offset_is_refused_by_name(admin: httpx.Client) -> None:
    """Without its offset it was another time, and often another day."""
    activity = {"subject": "Anruf", "due_date": "2026-12-24", "due_time": "23:30-05:00"}
    refused = error(admin.post(f"{API}/activities", json=activity), 422)

    assert [each["field"] for each in refused["details"]] == ["due_time"]
    assert "without an offset" in refused["details"][0]["issue"]


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


def test_the_call_that_is_shown_is_the_one_that_is_sent(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """A lead's amount goes with its currency, also where only one of them is sent."""
    org = data(admin.post(f"{API}/organizations", json={"name": "Lead"}), 201)
    lead = {"external_key": "shown", "title": "x", "org_id": org["id"]}
    place = f"{API}/leads/try?match=external_key"
    made = data(admin.post(place, json={**lead, "value": 100, "currency": "EUR"}))
    change = {"external_key": "shown", "currency": "USD", "title": "y"}
    dry = data(admin.post(f"{place}&policy=update_only&dry_run=true", json=change))["request"]
    real = data(admin.post(f"{place}&policy=update_only", json=change))
    sent = [each for each in sandbox.requests if each.method == "PATCH"][-1]

    assert made["answer"]["status"] == 201
    assert made["request"]["body"]["origin_id"] == "<id of the write>"
    assert dry["body"]["value"] == {"amount": 100, "currency": "USD"}
    assert dry == real["request"]
    assert (dry["method"], dry["path"]) == (sent.method, sent.path)
    assert (real["answer"]["data"]["value"], real["answer"]["data"]["currency"]) == (100, "USD")


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


def test_a_key_gets_its_answer_again_once_a_record_that_the_request_names_is_gone(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """The caller asks what became of the write, not whether it could be done now."""
    org = data(admin.post(f"{API}/organizations", json={"name": "Bald weg"}), 201)
    deal = data(admin.post(f"{API}/deals", json={"title": "Bald weg"}), 201)
    product = data(admin.post(f"{API}/products", json={"name": "Bleibt"}), 201)
    body = {"name": "Bleibt", "org_id": org["id"]}
    line = {"product_id": product["id"], "quantity": 1, "unit_price": 5}
    sent: list[tuple[str, Any]] = [
        ("persons", body),
        ("persons/batch", [body]),
        (f"deals/{deal['id']}/products", line),
    ]

    def answers() -> list[httpx.Response]:
        return [
            admin.post(f"{API}/{path}", json=json, headers={"idempotency-key": f"gone-{place}"})
            for place, (path, json) in enumerate(sent)
        ]

    first = answers()
    admin.delete(f"{API}/organizations/{org['id']}")
    admin.delete(f"{API}/deals/{deal['id']}")
    calls = len(sandbox.requests)
    again = answers()
    other = admin.post(
        f"{API}/persons",
        json={**body, "name": "Anders"},
        headers={"idempotency-key": "gone-0"},
    )

    assert [each.status_code for each in first] == [201, 200, 201]
    assert [each.status_code for each in again] == [201, 200, 201], again[1].text
    made, repeated = (each[1].json()["data"][0] for each in (first, again))
    assert (made["status"], repeated["status"]) == (201, 201)
    assert [data(again[0], 201)["id"], repeated["data"]["id"], data(again[2], 201)["id"]] == [
        data(first[0], 201)["id"],
        made["data"]["id"],
        data(first[2], 201)["id"],
    ]
    assert error(other, 422)["code"] == "idempotency_key_reused"
    assert len(sandbox.requests) == calls


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


def test_a_key_of_a_user_knows_and_decides_its_own_writes_only(
    admin: httpx.Client, installed: Installed
) -> None:
    """It saw everybody's, and wrote what others had sent over records that are hidden from it."""
    headers = {"prefer": "respond-async"}
    theirs = data(admin.post(f"{API}/organizations", json={"name": "a"}, headers=headers), 202)
    users: Any = data(admin.get(f"{API}/users"))
    bound = installed.client(
        Role.ADMIN, "of a user", crm_user_id=UUID(users[0]["id"].partition("_")[2])
    )
    own = data(bound.post(f"{API}/organizations", json={"name": "b"}, headers=headers), 202)
    seen: Any = data(bound.get(f"{API}/writes"))
    decision = {"decision": "discard"}

    assert [each["id"] for each in seen] == [own["write_id"]]
    error(bound.get(f"{API}/writes/{theirs['write_id']}"), 404)
    error(bound.post(f"{API}/writes/{theirs['write_id']}/decision", json=decision), 404)
    assert data(bound.get(f"{API}/writes/{own['write_id']}"))["id"] == own["write_id"]


def test_a_row_that_the_app_made_is_read_by_its_id(
    admin: httpx.Client, installed: Installed
) -> None:
    """It has no system, and so no custom fields of one."""
    with installed.world.warehouse.transaction(tenant=ACME) as connection:
        row_id = uuid4()
        connection.execute(
            "insert into crm.customers (id, tenant_id, name) values (%s, 'acme', 'Von der App')",
            [row_id],
        )
    answer = admin.get(f"{API}/organizations/org_{row_id.hex}")

    assert data(answer)["name"] == "Von der App"
    assert answer.headers["etag"]


def test_a_bound_key_does_not_follow_a_merge_to_a_record_that_it_may_not_see(
    admin: httpx.Client, installed: Installed, sandbox: Sandbox
) -> None:
    """The merge is noticed only when the record is read again before the write."""
    users: Any = data(admin.get(f"{API}/users"))
    sent = {"name": "Verborgen", "visible_to": "1", "owner_id": users[0]["id"]}
    hidden = data(admin.post(f"{API}/organizations", json=sent), 201)
    bound = installed.client(
        Role.ADMIN, "of another", crm_user_id=UUID(users[1]["id"].partition("_")[2])
    )
    place, body = f"{API}/organizations?match=external_key", {"external_key": "followed"}
    data(bound.post(place, json={**body, "name": "Eigen"}), 201)
    own = data(bound.post(place, json={**body, "name": "Eigen"}))
    sandbox.account.merge("organizations", int(own["remote_id"]), int(hidden["remote_id"]))
    stone = Tombstone(own["remote_id"], "merged", hidden["remote_id"])
    notice = Notice("merge", "organizations", own["remote_id"], datetime.now(UTC), tombstone=stone)
    receive(installed.world.warehouse, Scope(ACME, SYSTEM), "hook", [notice])
    refused = error(bound.post(place, json={**body, "name": "Fremd"}), 409)

    assert refused["code"] == "duplicate"
    assert sandbox.account.get("organizations", int(hidden["remote_id"]))["name"] == "Verborgen"


def test_a_stored_write_speaks_of_fields_as_the_api_does(admin: httpx.Client) -> None:
    made = data(admin.post(f"{API}/organizations", json={"name": "Gespeichert"}), 201)
    place = f"{API}/organizations/{made['id']}"
    data(admin.patch(place, json={"address": "Unter den Linden 1, Berlin"}))
    writes: Any = data(admin.get(f"{API}/writes?limit=1"))
    newest = writes[0]
    fields = data(admin.get(place)).keys()

    assert newest["fields"] == ["address"]
    assert {*newest["changed_by_system"]} <= fields


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


MATCHES: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    # what is sent besides the name: resource, query, body, and emails, phones or website then
    "match_value": (
        "persons",
        "email",
        {"match_value": "Wert@treffer.example"},
        ["Wert@treffer.example"],
    ),
    "email": ("persons", "email", {"email": "feld@treffer.example"}, ["feld@treffer.example"]),
    "phone": ("persons", "phone", {"phone": "+49 30 5550177"}, ["+49 30 5550177"]),
    "emails": (
        "persons",
        "email",
        {"emails": [{"value": "liste@treffer.example", "label": "home"}]},
        ["liste@treffer.example"],
    ),
    "another entry": (
        "persons",
        "email",
        {"emails": ["erste@treffer.example"], "match_value": "zweite@treffer.example"},
        ["erste@treffer.example", "zweite@treffer.example"],
    ),
    "domain": ("organizations", "domain", {"domain": "treffer.example"}, "treffer.example"),
    "website": (
        "organizations",
        "domain",
        {"website": "https://www.seite.example/x", "match_value": "seite.example"},
        "https://www.seite.example/x",
    ),
}


@pytest.mark.parametrize("case", MATCHES)
def test_a_record_that_is_made_by_a_match_is_found_by_it_the_next_time(
    admin: httpx.Client, sandbox: Sandbox, case: str
) -> None:
    """The value was not written, so that every call made another record."""
    resource, by, body, expected = MATCHES[case]
    place = f"{API}/{resource}?match={by}"
    made = data(admin.post(place, json={"name": f"Treffer {case}", **body}), 201)
    last = sandbox.account.records[resource].last_id
    again = admin.post(place, json={"name": f"Getroffen {case}", **body})

    field = {"email": "emails", "phone": "phones", "domain": "website"}[by]
    assert made[field] == expected
    assert (data(again)["id"], data(again)["name"]) == (made["id"], f"Getroffen {case}")
    assert field not in {each["field"] for each in again.json()["meta"]["warnings"]}
    assert sandbox.account.records[resource].last_id == last


def test_a_match_that_finds_another_record_by_the_apps_key_does_not_change_its_value(
    admin: httpx.Client,
) -> None:
    place = f"{API}/organizations?match=domain"
    sent = {"name": "Alt", "external_key": "kept-site", "match_value": "alt.example"}
    made = data(admin.post(place, json=sent), 201)
    kept = data(admin.post(place, json={**sent, "match_value": "neu.example"}))

    assert (kept["id"], kept["website"]) == (made["id"], "alt.example")


def test_a_customer_number_is_written_to_the_field_that_a_mapping_reads(
    admin: httpx.Client, installed: Installed, sandbox: Sandbox
) -> None:
    place, body = (
        f"{API}/organizations?match=customer_number",
        {"name": "CM", "match_value": "CM-1"},
    )
    calls = len(sandbox.requests)
    unmapped = error(admin.post(place, json=body), 422)
    absent = error(admin.post(f"{place}&policy=update_only", json=body), 404)
    assert len(sandbox.requests) == calls
    name = map_customer_number(installed)
    dry = data(admin.post(f"{API}/organizations/try?match=customer_number&dry_run=true", json=body))
    made = data(admin.post(place, json=body), 201)
    again = data(admin.post(place, json={"name": "CM", "customer_number": "CM-1"}))
    other = error(
        admin.post(place, json={**body, "match_value": "CM-2", "custom_fields": {name: "CM-3"}}),
        422,
    )
    unmap(installed)

    assert "no field mapping fills customer_number" in unmapped["message"]
    assert "field-mapping" in unmapped["message"]
    assert absent["code"] == "no_match"
    assert list(dry["request"]["body"]["custom_fields"].values()) == ["CM-1"]
    assert (made["customer_number"], again["id"]) == ("CM-1", made["id"])
    assert [each["field"] for each in other["details"]] == [f"custom_fields.{name}"]


@pytest.mark.parametrize(
    ("resource", "by", "body", "field"),
    [
        ("organizations", "domain", {"website": "https://eine.example"}, "website"),
        ("persons", "domain", {"emails": ["a@andere.example"]}, "match"),
        ("organizations", "email", {}, "match"),
        ("persons", "email", {"email": "zwei@werte.example"}, "match"),
    ],
)
def test_a_match_that_would_not_find_the_new_record_is_refused_before_any_call(
    admin: httpx.Client, sandbox: Sandbox, *, resource: str, by: str, body: Any, field: str
) -> None:
    value = "doppelt@doppelt.example" if by == "email" else "doppelt.example"
    sent = {"name": "Doppelt", "match_value": value, **body}
    calls = len(sandbox.requests)
    refused = error(admin.post(f"{API}/{resource}?match={by}", json=sent), 422)

    assert [each["field"] for each in refused["details"]] == [field]
    assert len(sandbox.requests) == calls


# What is sent to which route, and the field of the refusal.
WITHOUT_EFFECT: list[tuple[str, str, dict[str, str], str]] = [
    ("POST", "persons/batch?match=email", {}, "query.match"),
    ("POST", "persons/batch?policy=create_only", {}, "query.policy"),
    ("POST", "persons?dry_run=true", {}, "query.dry_run"),
    ("POST", "persons?policy=create_only", {}, "query.policy"),
    ("POST", "persons/try?policy=create_only", {}, "query.policy"),
    ("POST", "persons?match=email&match=phone", {}, "query.match"),
    ("POST", "persons", {"if-match": "x"}, "header.if-match"),
    ("POST", "persons/batch", {"if-match": "x"}, "header.if-match"),
    ("POST", "persons/try", {"idempotency-key": "x"}, "header.idempotency-key"),
    ("PATCH", "persons/pipedrive:1?match=email", {}, "query.match"),
    ("PATCH", "persons/pipedrive:1?dry_run=true", {}, "query.dry_run"),
    ("DELETE", "persons/pipedrive:1?dry_run=true", {}, "query.dry_run"),
    ("POST", "deals/pipedrive:1/products?match=email", {}, "query.match"),
    ("POST", "deals/pipedrive:1/won?dry_run=true", {}, "query.dry_run"),
    ("GET", "writes?status=done", {}, "query.status"),
    ("GET", "writes?state=done&state=refused", {}, "query.state"),
    ("GET", "deals?status=open&status=won", {}, "query.status"),
    ("GET", "deals?colour=red", {}, "query.colour"),
    ("GET", "deals/pipedrive:1?colour=red", {}, "query.colour"),
    ("GET", "webhooks?colour=red", {}, "query.colour"),
]


@pytest.mark.parametrize(("method", "path", "headers", "field"), WITHOUT_EFFECT)
def test_what_would_have_no_effect_is_refused_by_name(
    admin: httpx.Client,
    sandbox: Sandbox,
    *,
    method: str,
    path: str,
    headers: dict[str, str],
    field: str,
) -> None:
    """A caller who believed in a dry run would have written."""
    body: Any = {"name": "x", "email": "x@x.example"}
    calls = len(sandbox.requests)
    sent: dict[str, Any] = {"json": [body] if "batch" in path else body}
    answer = admin.request(
        method, f"{API}/{path}", headers=headers, **(sent if method in {"POST", "PATCH"} else {})
    )

    assert [each["field"] for each in error(answer, 422)["details"]] == [field]
    assert len(sandbox.requests) == calls


def test_the_refusal_of_a_parameter_names_those_that_there_are(admin: httpx.Client) -> None:
    refused = admin.post(f"{API}/persons/batch?match=email&system=pipedrive", json=[{"name": "x"}])
    alone = admin.patch(f"{API}/persons/pipedrive:1?match=email", json={"name": "x"})

    assert error(refused, 422)["details"][0]["issue"] == (
        "is no parameter of this route; there are system"
    )
    assert error(alone, 422)["details"][0]["issue"] == (
        "is no parameter of this route; there are none"
    )


def test_a_version_holds_for_the_record_that_matches(admin: httpx.Client, sandbox: Sandbox) -> None:
    place = f"{API}/organizations?match=external_key"
    sent = {"external_key": "versioned", "name": "Erste"}
    early = error(admin.post(place, json=sent, headers={"if-match": '"x"'}), 412)
    made = data(admin.post(place, json=sent), 201)
    etag = admin.get(f"{API}/organizations/{made['id']}").headers["etag"]
    changed = data(admin.post(place, json={**sent, "name": "Zweite"}, headers={"if-match": etag}))
    stale = error(admin.post(place, json={**sent, "name": "x"}, headers={"if-match": etag}), 412)
    row: Any = data(
        admin.post(f"{API}/organizations/batch", json=[{"name": "x", "if_match": etag}])
    )

    assert (early["code"], stale["code"]) == ("record_moved", "record_moved")
    assert (changed["id"], changed["name"]) == (made["id"], "Zweite")
    assert sandbox.account.get("organizations", int(made["remote_id"]))["name"] == "Zweite"
    assert (row[0]["status"], row[0]["error"]["details"][0]["field"]) == (422, "if_match")


@pytest.mark.parametrize("prefer", ["Respond-Async", "wait=10, RESPOND-ASYNC", "respond-async; x"])
def test_a_caller_who_does_not_wait_is_answered_at_once_however_it_is_spelt(
    admin: httpx.Client, sandbox: Sandbox, prefer: str
) -> None:
    calls = len(sandbox.requests)
    answer = admin.post(f"{API}/organizations", json={"name": "x"}, headers={"prefer": prefer})

    assert data(answer, 202)["state"] == "intended"
    assert len(sandbox.requests) == calls


def test_each_write_is_listed_once_over_all_pages(admin: httpx.Client, world: World) -> None:
    """A list that ended after 200 hid the older ones."""
    for number in range(3):
        data(admin.post(f"{API}/organizations", json={"name": f"Liste {number}"}), 201)
    with world.warehouse.transaction() as connection:  # several of one transaction, at one time
        connection.execute(
            "update integration.outbox set created_at = date_trunc('hour', created_at)"
        )
        stored = connection.execute("select id::text from integration.outbox").fetchall()
    seen, cursor = [], ""
    while cursor is not None:
        query = f"&cursor={cursor}" if cursor else ""
        page = admin.get(f"{API}/writes?limit=2{query}")
        assert len(data(page)) <= 2
        seen += [each["id"] for each in page.json()["data"]]
        cursor = page.json()["meta"]["pagination"]["next_cursor"]

    assert len(seen) == len(set(seen))
    assert set(seen) == {row[0] for row in stored}
    assert error(admin.get(f"{API}/writes?cursor=nonsense"), 400)["code"] == "bad_input"


@pytest.mark.parametrize("resource", ["organizations", "persons", "deals", "leads", "products"])
def test_custom_fields_that_were_read_are_sent_back_and_change_nothing(
    admin: httpx.Client, sandbox: Sandbox, resource: str
) -> None:
    """Of the names under which they are read, most were refused, and some meant another field."""
    listed: Any = data(admin.get(f"{API}/{resource}?limit=40"))
    records = [each for each in listed if each["custom_fields"] and not each.get("is_archived")][:6]
    for record in records:
        key: Any = record["remote_id"]
        key = key if resource == "leads" else int(key)
        stored = sandbox.account.get(resource, key)
        answer = admin.patch(
            f"{API}/{resource}/{record['id']}", json={"custom_fields": record["custom_fields"]}
        )

        assert data(answer)["custom_fields"] == record["custom_fields"]
        assert sandbox.account.get(resource, key)["custom_fields"] == stored["custom_fields"]
    assert records or resource == "products"


def _issues(answer: httpx.Response) -> dict[str, str]:
    return {each["field"]: each["issue"] for each in error(answer, 422)["details"]}


def test_a_custom_field_is_written_by_the_name_under_which_it_is_read(
    admin: httpx.Client,
) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Felder"}), 201)
    users: Any = data(admin.get(f"{API}/users"))
    person = data(admin.post(f"{API}/persons", json={"name": "Eva Feld"}), 201)
    sent = {
        "bemerkung_2": "zweite",
        "foo_bar_2": "unten",
        "rabatt_percent": 12.5,
        "kreditlimit_amount": 5000,
        "kreditlimit_currency": "EUR",
        "vertragslaufzeit_from": "2026-01-01",
        "vertragslaufzeit_until": "2026-12-31",
        "betreuer_innen_id": users[0]["id"],
        "ansprechperson_technik_id": f"pipedrive:{person['remote_id']}",
        "region_2": "nord",
    }
    place = f"{API}/organizations/{org['id']}"
    changed = data(admin.patch(place, json={"custom_fields": sent}))["custom_fields"]

    assert {name: changed[name] for name in sent if not name.endswith("_id")} == {
        **{name: value for name, value in sent.items() if not name.endswith("_id")},
        "region_2": "Nord",
    }
    assert changed["betreuer_innen_id"] == int(users[0]["remote_id"])
    assert changed["ansprechperson_technik_id"] == int(person["remote_id"])
    by_id = data(
        admin.patch(place, json={"custom_fields": {"region_2_id": changed["region_2_id"]}})
    )
    assert by_id["custom_fields"] == changed


def test_a_custom_field_that_is_not_meant_clearly_is_refused_with_the_choices(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Unklar"}), 201)
    place, changes = f"{API}/organizations/{org['id']}", len(sandbox.account.history)

    def refused(**sent: Any) -> dict[str, str]:
        return _issues(admin.patch(place, json={"custom_fields": sent}))

    assert (
        "kreditlimit_currency" in refused(kreditlimit_amount=5)["custom_fields.kreditlimit_amount"]
    )
    assert "bemerkung, bemerkung_2" in refused(Bemerkung="x")["custom_fields.Bemerkung"]
    south = refused(region_2="Süd")["custom_fields.region_2"]
    assert south.startswith("is the label of several options; use the id: ")
    for value in (["Nord"], "-nord-", "Nord!", {"label": "Nord"}):
        assert "custom_fields.region" in refused(region=value)
    assert (
        "lieferadresse" in refused(lieferadresse_route="Weg")["custom_fields.lieferadresse_route"]
    )
    assert "255" in refused(foo_bar="x" * 256)["custom_fields.foo_bar"]
    assert "custom_fields.betreuer_innen" in refused(betreuer_innen=999_999)
    (twice,) = refused(Kundennummer="1", kundennummer="2").values()
    assert "Kundennummer and kundennummer" in twice
    assert len(sandbox.account.history) == changes


@pytest.mark.parametrize(
    ("resource", "sent", "named"),
    [
        ("deals", {"title": "x", "value": 1, "amount": 2}, ("value", "amount")),
        ("deals", {"title": "x", "name": "y"}, ("title", "name")),
        (
            "persons",
            {"name": "x", "emails": ["a@b.de"], "email_entries": [{"value": "c@d.de"}]},
            ("emails", "email_entries"),
        ),
        (
            "activities",
            {"subject": "x", "type": "call", "system_type": "email"},
            ("type", "system_type"),
        ),
        (
            "deals",
            {"title": "x", "org_id": "pipedrive:1", "customer_id": "pipedrive:2"},
            ("org_id", "customer_id"),
        ),
    ],
)
def test_two_names_of_one_field_with_two_values_are_refused(
    admin: httpx.Client, resource: str, sent: dict[str, Any], named: tuple[str, str]
) -> None:
    """The last one won without a word."""
    ((field, issue),) = _issues(admin.post(f"{API}/{resource}", json=sent)).items()

    assert field in named
    assert f"two values: {' and '.join(named)};" in issue


def test_two_names_of_one_field_with_the_same_value_are_one(admin: httpx.Client) -> None:
    entries = [{"value": "a@b.de", "label": "home", "primary": True}]
    sent = {"name": "Zwei Namen", "email_entries": entries, "emails": ["a@b.de"]}
    person = data(admin.post(f"{API}/persons", json=sent), 201)
    product = data(admin.post(f"{API}/products", json={"name": "Öl"}), 201)
    deal = data(admin.post(f"{API}/deals", json={"title": "x", "value": 1, "amount": 1}), 201)
    line = {"product_id": product["id"], "quantity": 1, "unit_price": 8}
    place = f"{API}/deals/{deal['id']}/products"
    added = data(admin.post(place, json={**line, "discount": 0.5, "discount_amount": None}), 201)

    assert person["email_entries"] == entries
    assert (deal["value"], added["discount"], added["discount_amount"]) == (1, 0.5, None)
    assert "discount" in _issues(admin.post(place, json={**line, "discount": 25}))
    both = _issues(admin.post(place, json={**line, "discount": 0.5, "discount_amount": 3}))
    assert "discount" in both["discount_amount"]


def test_an_empty_list_empties_a_field_of_several_options(admin: httpx.Client) -> None:
    sent = {"name": "Mengen", "custom_fields": {"messe": ["Köln", "hannover"]}}
    org = data(admin.post(f"{API}/organizations", json=sent), 201)
    emptied = admin.patch(f"{API}/organizations/{org['id']}", json={"custom_fields": {"messe": []}})

    assert sorted(org["custom_fields"]["messe"]) == ["Hannover", "Köln"]
    assert "messe" not in data(emptied)["custom_fields"]


def test_a_bound_key_links_no_record_that_its_user_may_not_see(
    admin: httpx.Client, installed: Installed
) -> None:
    """By a custom field neither; the answer is that of a record that does not exist."""
    hidden = data(
        admin.post(f"{API}/organizations", json={"name": "Geheim", "visible_to": "1"}), 201
    )
    users: Any = data(admin.get(f"{API}/users"))
    stranger = next(each for each in users if each["id"] != hidden["owner_id"])
    bound = installed.client(
        Role.MANAGER, "a linker", crm_user_id=UUID(stranger["id"].partition("_")[2])
    )

    def linked(remote_id: str) -> str:
        sent = {"name": "Tochter", "custom_fields": {"muttergesellschaft": remote_id}}
        (issue,) = _issues(bound.post(f"{API}/organizations", json=sent)).values()
        return issue.replace(remote_id, "?")

    assert linked(f"pipedrive:{hidden['remote_id']}") == linked("pipedrive:999999")
    assert linked(hidden["remote_id"]).startswith("refers to nothing")
    for name in ("org_id", "customer_id"):  # the name of the column, too
        sent = {"title": "x", name: f"pipedrive:{hidden['remote_id']}"}
        assert "org_id" in _issues(bound.post(f"{API}/deals", json=sent))
        sent = {"title": "x", name: hidden["remote_id"]}
        assert "org_id" in _issues(bound.post(f"{API}/deals", json=sent))


def test_an_amount_of_a_lead_and_its_currency_come_together(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """The source refuses one without the other, or drops it."""
    org = data(admin.post(f"{API}/organizations", json={"name": "Geld"}), 201)
    sent = {"title": "Anfrage", "org_id": org["id"]}
    calls = len(sandbox.requests)
    without = _issues(admin.post(f"{API}/leads", json={**sent, "value": 7}))
    assert len(sandbox.requests) == calls
    lead = data(admin.post(f"{API}/leads", json=sent), 201)
    place = f"{API}/leads/{lead['id']}"
    alone = _issues(admin.patch(place, json={"currency": "CHF"}))
    both = data(admin.patch(place, json={"value": 7, "currency": "CHF"}))
    dearer = data(admin.patch(place, json={"value": 8}))
    emptied = data(admin.patch(place, json={"value": None}))

    assert without == {"currency": "is required with value"}
    assert alone == {"value": "is required with currency"}
    assert [(each["value"], each["currency"]) for each in (both, dearer)] == [
        (7, "CHF"),
        (8, "CHF"),
    ]
    assert emptied["value"] is None


def test_the_type_of_an_activity_is_sent_back_as_it_was_read(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """A type that the company made itself is shown as another one, which is none of its types."""
    made = data(admin.post(f"{API}/activities", json={"subject": "Besuch", "type": "lunch"}), 201)
    again = admin.patch(f"{API}/activities/{made['id']}", json={"type": made["type"]})

    assert (made["type"], made["system_type"]) == ("meeting", "lunch")
    assert (data(again)["type"], data(again)["system_type"]) == ("meeting", "lunch")
    assert sandbox.account.get("activities", int(made["remote_id"]))["type"] == "lunch"


def test_another_person_of_an_activity_leaves_its_other_participants(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """They were removed without a word."""
    names = ("Eins", "Zwei", "Drei")
    people = [data(admin.post(f"{API}/persons", json={"name": name}), 201) for name in names]
    first, second, third = (int(each["remote_id"]) for each in people)
    sent = {"subject": "Runde", "person_id": people[0]["id"]}
    made = data(admin.post(f"{API}/activities", json=sent), 201)
    both = [{"person_id": first, "primary": True}, {"person_id": second, "primary": False}]
    sandbox.account.edit("activities", int(made["remote_id"]), participants=both)
    changed = admin.patch(f"{API}/activities/{made['id']}", json={"person_id": people[2]["id"]})

    assert data(changed)["person_id"] == people[2]["id"]
    assert sandbox.account.get("activities", int(made["remote_id"]))["participants"] == [
        {"person_id": third, "primary": True},
        {"person_id": second, "primary": False},
    ]


def test_the_expected_day_of_a_deal_cannot_be_emptied(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """The source refuses null."""
    sent = {"title": "Termin", "expected_close_date": "2026-12-01"}
    deal = data(admin.post(f"{API}/deals", json=sent), 201)
    calls = len(sandbox.requests)
    issues = _issues(admin.patch(f"{API}/deals/{deal['id']}", json={"expected_close_date": None}))

    assert issues == {"expected_close_date": "cannot be empty"}
    assert len(sandbox.requests) == calls


def test_refusals_speak_in_the_names_and_units_of_the_api(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    org = data(admin.post(f"{API}/organizations", json={"name": "Wort"}), 201)
    other = data(admin.post(f"{API}/organizations", json={"name": "Andere"}), 201)
    deal = data(
        admin.post(f"{API}/deals", json={"title": "x", "probability": 0.25, "org_id": org["id"]}),
        201,
    )
    place = f"{API}/deals/{deal['id']}"
    etag = admin.get(place).headers["etag"]
    range_ = error(admin.patch(place, json={"probability": 25}), 422)
    number = error(admin.patch(place, json={"value": "viel"}), 422)
    unknown = _issues(admin.patch(place, json={"farbe": 1}))["farbe"]
    note = error(admin.post(f"{API}/notes", json={"content": "x"}), 422)
    sandbox.account.edit("deals", int(deal["remote_id"]), title="y", probability=50)
    sent = {"probability": 0.75, "org_id": other["id"]}
    moved = error(admin.patch(place, json=sent, headers={"if-match": etag}), 412)
    values = {each["field"]: (each["yours"], each["current"]) for each in moved["details"]}

    assert range_["message"] == "probability must be between 0 and 1. No call was made."
    assert number["message"] == "value must be a number. No call was made."
    assert "org_id" in unknown
    assert "customer_id" not in unknown
    assert note["details"] == [
        {"field": "org_id", "issue": "is required, or another one of person_id, deal_id, lead_id"}
    ]
    assert moved["message"].startswith(f"pipedrive:{deal['remote_id']}: ")
    assert values == {
        "probability": ("0.75", "0.5"),
        "org_id": (f"pipedrive:{other['remote_id']}", f"pipedrive:{org['remote_id']}"),
    }


def test_warnings_name_every_other_field_that_changed_and_nothing_that_was_stored(
    admin: httpx.Client,
) -> None:
    """What a note takes over from its deal was not named; each time and each price was."""
    activity = {"subject": "x", "due_date": "2026-12-01", "due_time": "10:00"}
    made = admin.post(f"{API}/activities", json=activity)
    later = admin.patch(f"{API}/activities/{data(made, 201)['id']}", json={"due_time": "11:00"})
    price = {"name": "Preis", "prices": [{"currency": "EUR", "price": 2}]}
    product = admin.post(f"{API}/products", json=price)
    org = data(admin.post(f"{API}/organizations", json={"name": "Über"}), 201)
    deal = data(admin.post(f"{API}/deals", json={"title": "x", "org_id": org["id"]}), 201)
    person = data(admin.post(f"{API}/persons", json={"name": "Eva"}), 201)
    note = data(admin.post(f"{API}/notes", json={"content": "x", "person_id": person["id"]}), 201)
    stages: Any = data(admin.get(f"{API}/stages"))
    stage = next(each for each in stages if each["pipeline_id"] != deal["pipeline_id"])

    not_named = {"deal_id", "pipeline_id", "updated_at", "changed_at"}  # sent, or our own

    def changed(answer: httpx.Response, before: dict[str, Any]) -> set[str]:
        after = data(answer)
        warnings = answer.json()["meta"]["warnings"]
        assert {each["code"] for each in warnings} <= {"changed_by_system"}
        for each in warnings:
            assert (each["before"], each["after"]) == (before[each["field"]], after[each["field"]])
        assert {each["field"] for each in warnings} >= {
            name for name in before if before[name] != after[name] and name not in not_named
        }
        return {each["field"] for each in warnings}

    noted = admin.patch(f"{API}/notes/{note['id']}", json={"deal_id": deal["id"]})
    moved = admin.patch(f"{API}/deals/{deal['id']}", json={"pipeline_id": stage["pipeline_id"]})

    assert made.json()["meta"]["warnings"] == product.json()["meta"]["warnings"] == []
    assert [each["field"] for each in later.json()["meta"]["warnings"]] == ["starts_at"]
    assert "org_id" in changed(noted, note)
    assert "stage_id" in changed(moved, deal)
