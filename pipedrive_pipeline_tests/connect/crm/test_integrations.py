"""The integration routes: an app's customers, leads and appointments, kept in step with a CRM."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.connect.crm.installation import (
    Installed,
    data,
    error,
    map_customer_number,
    unmap,
)
from pipedrive_pipeline_tests.scenarios.world import World
from pipedrive_pipeline_tests.scenarios.writing import allow_writes

pytestmark = pytest.mark.slow

ROUTES = "/api/v1/integrations/crm"


def count(sandbox: Sandbox, entity: str) -> int:
    """How many records of an entity were ever made at the source."""
    return sandbox.account.records[entity].last_id


def test_each_platform_says_what_it_supports(admin: httpx.Client, world: World) -> None:
    allow_writes(world, "customers", "leads")
    platforms: Any = data(admin.get(f"{ROUTES}/platforms"))
    pipedrive = next(each for each in platforms if each["platform"] == "pipedrive")

    assert pipedrive["state"] == "connected"
    assert pipedrive["writes_allowed"] == ["leads", "organizations"]
    assert {name: each["is_supported"] for name, each in pipedrive["operations"].items()} == {
        "sync_customer": True,
        "sync_lead": True,
        "sync_appointment": True,
    }
    assert pipedrive["matches"]["customer"] == [
        "external_key", "email", "phone", "domain", "customer_number",
    ]  # fmt: skip
    assert pipedrive["matches"]["lead"] == ["external_key"]
    assert pipedrive["sends_invitations"] is False


def test_a_customer_and_its_contact_are_made_once_and_then_changed(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """Found by e-mail or domain the first time, by the app's own key ever after."""
    sent: dict[str, Any] = {
        "customer": {
            "external_key": "c-1",
            "match": "domain",
            "match_value": "abgleich.example",
            "fields": {"name": "Abgleich AG", "website": "https://abgleich.example"},
        },
        "contact": {
            "external_key": "p-1",
            "match": "email",
            "fields": {"name": "Ada Abgleich", "emails": ["ada@abgleich.example"]},
        },
    }
    first = data(admin.post(f"{ROUTES}/sync-customer", json=sent), 201)
    made = count(sandbox, "organizations"), count(sandbox, "persons")
    sent["customer"]["fields"]["name"] = "Abgleich SE"
    sent["customer"]["match_value"] = "anders.example"
    second = data(admin.post(f"{ROUTES}/sync-customer", json=sent))

    assert [first[name]["action"] for name in ("customer", "contact")] == ["created", "created"]
    assert [second[name]["action"] for name in ("customer", "contact")] == ["updated", "updated"]
    assert first["customer"]["id"] == second["customer"]["id"]
    assert second["customer"]["data"]["name"] == "Abgleich SE"
    assert second["contact"]["data"]["org_id"] == second["customer"]["data"]["id"]
    assert (count(sandbox, "organizations"), count(sandbox, "persons")) == made
    assert first["invitation"] is None


@pytest.mark.parametrize("by", ["domain", "email", "phone", "customer_number"])
def test_policies_hold_for_every_key(
    admin: httpx.Client, installed: Installed, sandbox: Sandbox, by: str
) -> None:
    """`update_only` makes none, and changes a field without naming what a new record needs."""
    value = {
        "domain": "policies.example",
        "email": "info@policies.example",
        "phone": "+49 30 5550100",
        "customer_number": "K-77",
    }[by]
    part = "customer" if by in {"domain", "customer_number"} else "contact"
    field = "website" if part == "customer" else "job_title"

    def sent(policy: str, **fields: Any) -> httpx.Response:
        record = {"match": by, "match_value": value, "policy": policy, "fields": fields}
        return admin.post(f"{ROUTES}/sync-customer", json={part: record})

    named = {"name": f"Policies {by}"}
    map_customer_number(installed)
    absent = error(sent("update_only", **{field: "x"}), 404)
    made = data(sent("create_only", **named), 201)[part]
    before = count(sandbox, "organizations"), count(sandbox, "persons")
    twice = error(sent("create_only", **named), 409)
    changed = data(sent("update_only", **{field: "https://neu.example"}))[part]
    unmap(installed)

    assert (absent["code"], twice["code"]) == ("no_match", "duplicate")
    assert changed["id"] == made["id"]
    assert changed["data"][field] == "https://neu.example"
    assert (count(sandbox, "organizations"), count(sandbox, "persons")) == before


def test_a_record_that_is_gone_at_the_source_is_made_again(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """The key names a record that somebody has deleted since the last sync."""
    sent = {"customer": {"external_key": "gone", "fields": {"name": "Wieder da"}}}
    first = data(admin.post(f"{ROUTES}/sync-customer", json=sent), 201)["customer"]
    sandbox.account.delete("organizations", int(first["data"]["remote_id"]))
    second = data(admin.post(f"{ROUTES}/sync-customer", json=sent), 201)["customer"]
    third = data(admin.post(f"{ROUTES}/sync-customer", json=sent))["customer"]

    assert second["id"] != first["id"]
    assert third["id"] == second["id"]


def test_a_record_that_is_named_by_its_id_is_known_by_the_apps_key_from_then_on(
    admin: httpx.Client,
) -> None:
    org = data(admin.post("/api/crm/v1/organizations", json={"name": "Schon da"}), 201)
    named = {"id": org["id"], "external_key": "known", "fields": {"name": "Bekannt"}}
    by_id = data(admin.post(f"{ROUTES}/sync-customer", json={"customer": named}))
    by_key = data(
        admin.post(f"{ROUTES}/get-customer", json={"customer": {"external_key": "known"}})
    )

    assert by_id["customer"]["action"] == "updated"
    assert by_key["customer"]["id"] == org["id"]
    assert by_key["customer"]["name"] == "Bekannt"


def test_the_value_of_a_match_may_be_the_field_of_its_name(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """Also next to an id, which finds the record before the match does."""
    fields = {"name": "Feld", "email": "feld@match.example"}
    sent = {"match": "email", "fields": fields}
    made = data(admin.post(f"{ROUTES}/sync-customer", json={"contact": sent}), 201)["contact"]
    last = count(sandbox, "persons")
    again = data(admin.post(f"{ROUTES}/sync-customer", json={"contact": sent}))["contact"]
    by_id = {"contact": {**sent, "id": made["id"]}}
    named = data(admin.post(f"{ROUTES}/sync-customer", json=by_id))["contact"]

    assert made["data"]["emails"] == ["feld@match.example"]
    assert again["id"] == named["id"] == made["id"]
    assert count(sandbox, "persons") == last


def test_a_lead_is_linked_to_its_customer_and_contact(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    sent = {
        "customer": {"external_key": "lc-1", "fields": {"name": "Lead GmbH"}},
        "contact": {
            "match": "email",
            "fields": {"name": "Lea Lead", "emails": ["lea@lead.example"]},
        },
        "lead": {
            "external_key": "l-1",
            "fields": {"title": "Anfrage", "value": 1200, "currency": "EUR"},
        },
    }
    headers = {"idempotency-key": "lead-1"}
    first = data(admin.post(f"{ROUTES}/sync-lead", json=sent, headers=headers), 201)
    calls = len(sandbox.requests)
    again = data(admin.post(f"{ROUTES}/sync-lead", json=sent, headers=headers), 201)

    assert again == first
    assert len(sandbox.requests) == calls, "the same key again makes no call"
    lead = first["lead"]["data"]
    assert lead["org_id"] == first["customer"]["data"]["id"]
    assert lead["person_id"] == first["contact"]["data"]["id"]
    assert (lead["title"], lead["value"]) == ("Anfrage", 1200)


def test_a_request_gets_its_answer_again_once_a_record_that_it_names_is_gone(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    org = data(admin.post("/api/crm/v1/organizations", json={"name": "Bald weg"}), 201)
    sent = {
        "contact": {
            "external_key": "stays",
            "fields": {"name": "Bleibt", "org_id": org["id"]},
        },
        "lead": {"external_key": "stays", "fields": {"title": "Bleibt", "org_id": org["id"]}},
    }
    headers = {"idempotency-key": "gone-1"}
    first = data(admin.post(f"{ROUTES}/sync-lead", json=sent, headers=headers), 201)
    admin.delete(f"/api/crm/v1/organizations/{org['id']}")
    calls = len(sandbox.requests)
    again = data(admin.post(f"{ROUTES}/sync-lead", json=sent, headers=headers), 201)

    assert [again[name]["id"] for name in ("contact", "lead")] == [
        first[name]["id"] for name in ("contact", "lead")
    ]
    assert len(sandbox.requests) == calls


def test_an_appointment_says_whether_an_invitation_went_out(admin: httpx.Client) -> None:
    sent: dict[str, Any] = {
        "appointment": {
            "external_key": "a-1",
            "fields": {"subject": "Besuch", "type": "meeting", "due_date": "2026-12-01"},
        },
    }
    quiet = data(admin.post(f"{ROUTES}/sync-appointment", json=sent), 201)
    loud = data(admin.post(f"{ROUTES}/sync-appointment", json={**sent, "notify": True}))

    assert quiet["appointment"]["data"]["subject"] == "Besuch"
    assert quiet["invitation"]["was_sent"] is loud["invitation"]["was_sent"] is False
    assert "did not ask" in quiet["invitation"]["reason"]
    assert "invites nobody" in loud["invitation"]["reason"]


def test_all_records_are_checked_before_the_first_is_written(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    calls = len(sandbox.requests)
    sent = {
        "customer": {"external_key": "never", "fields": {"name": "Nie"}},
        "lead": {"external_key": "never", "fields": {"title": "", "value": "viel"}},
    }
    refused = error(admin.post(f"{ROUTES}/sync-lead", json=sent), 422)

    assert {each["field"] for each in refused["details"]} == {"lead.title", "lead.value"}
    assert len(sandbox.requests) == calls


def test_a_refusal_by_the_source_names_what_was_written_before(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add("payment_402", path="/v1/leads")
    sent = {
        "customer": {"external_key": "half", "fields": {"name": "Halb"}},
        "lead": {"external_key": "half", "fields": {"title": "Ganz"}},
    }
    refused = error(admin.post(f"{ROUTES}/sync-lead", json=sent), 409)
    done = data(admin.post(f"{ROUTES}/sync-lead", json=sent), 201)

    assert refused["code"] == "refused_by_source"
    assert {"field": "customer", "issue": f"was written: {done['customer']['id']}"} in (
        refused["details"]
    )
    assert done["customer"]["action"] == "updated"


def test_a_request_is_tried_out_and_shows_its_calls(admin: httpx.Client, sandbox: Sandbox) -> None:
    sent = {
        "customer": {"external_key": "try", "fields": {"name": "Probe"}},
        "lead": {"external_key": "try", "fields": {"title": "Probe"}},
    }
    calls = len(sandbox.requests)
    dry = data(admin.post(f"{ROUTES}/sync-lead/try?dry_run=true", json=sent))["records"]
    assert len(sandbox.requests) == calls
    real = data(admin.post(f"{ROUTES}/sync-lead/try", json=sent))["records"]

    assert [dry[name]["request"]["method"] for name in ("customer", "lead")] == ["POST", "POST"]
    assert dry["lead"]["request"]["body"] == {
        "title": "Probe",
        "organization_id": "<customer_id>",
        "origin_id": "<id of the write>",
    }
    assert (dry["customer"]["answer"], dry["lead"]["answer"]) == (None, None)
    remote_id = real["customer"]["answer"]["data"]["remote_id"]
    assert real["lead"]["request"]["body"]["organization_id"] == int(remote_id)
    assert real["lead"]["answer"]["status"] == 201


def test_a_customer_is_read_by_each_key_and_fresh_where_asked(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    sent = {
        "customer": {
            "external_key": "read",
            "fields": {"name": "Lesen", "website": "https://lesen.example"},
        }
    }
    made = data(admin.post(f"{ROUTES}/sync-customer", json=sent), 201)["customer"]

    def read(status: int = 200, **body: Any) -> dict[str, Any]:
        answer = admin.post(f"{ROUTES}/get-customer", json=body)
        return data(answer) if status == 200 else error(answer, status)

    calls = len(sandbox.requests)
    found = [
        read(customer={"id": made["id"]}),
        read(customer={"external_key": "read"}),
        read(customer={"match": "domain", "match_value": "lesen.example"}),
    ]
    nobody = read(404, customer={"external_key": "nobody's"})
    assert len(sandbox.requests) == calls, "answers from the tables cost nothing"
    sandbox.account.edit("organizations", int(made["data"]["remote_id"]), name="Gelesen")
    fresh = read(customer={"external_key": "read"}, fresh=True)

    assert [each["customer"] for each in found] == [made["data"]] * 3
    assert nobody["code"] == "no_match"
    assert (fresh["is_fresh"], fresh["customer"]["name"]) == (True, "Gelesen")


def test_credentials_of_the_request_are_used_once_and_leave_no_trace(
    admin: httpx.Client, installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user's token of the same account signs the call, and is nowhere afterwards."""
    sandbox, world = installed.sandbox, installed.world
    user_id = next(
        row["id"] for row in sandbox.account.users if row["id"] != sandbox.account.admin_id
    )
    token = sandbox.grants.new_api_token(user_id)
    credentials = {"token": token, "api_url": sandbox.url}
    sent = {
        "credentials": credentials,
        "customer": {"external_key": "mine", "fields": {"name": "Mit eigenem Schlüssel"}},
    }
    with caplog.at_level(logging.DEBUG):
        tested = data(admin.post(f"{ROUTES}/test-connection", json={"credentials": credentials}))
        stored = data(admin.post(f"{ROUTES}/test-connection", json={}))
        made = data(admin.post(f"{ROUTES}/sync-customer", json=sent), 201)["customer"]
        read = data(
            admin.post(
                f"{ROUTES}/get-customer",
                json={"credentials": credentials, "customer": {"id": made["id"]}},
            )
        )

    assert (tested["credentials"], tested["is_connected_account"]) == ("request", True)
    assert (stored["credentials"], stored["account_id"]) == ("stored", tested["account_id"])
    assert tested["user_name"] != stored["user_name"]
    writer = [each for each in sandbox.requests if each.method == "POST"][-1]
    assert writer.user_id == user_id
    assert read["is_fresh"] is True
    assert token not in caplog.text
    with world.warehouse.connect() as connection:
        tables = connection.execute(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables"
            " where table_type = 'BASE TABLE'"
            " and table_schema not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            query = f"select count(*) from {table} as held where held::text like %s"
            row = connection.execute(query.encode(), [f"%{token}%"]).fetchone()
            assert row == (0,), table


def test_credentials_go_to_allowed_hosts_and_to_the_connected_account_only(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    customer = {"external_key": "x", "fields": {"name": "x"}}
    before = count(sandbox, "organizations")

    def refused(status: int, **credentials: str) -> str:
        body = {"credentials": credentials, "customer": customer}
        refusal = error(admin.post(f"{ROUTES}/sync-customer", json=body), status)
        assert credentials["token"] not in refusal["message"]
        return str(refusal["code"])

    elsewhere = refused(422, token=sandbox.api_token, api_url="https://evil.example")
    wrong = refused(422, token="0" * 40, api_url=sandbox.url)
    unknown_kind = refused(422, token="1" * 40, api_url=sandbox.url, kind="password")
    stranger = seeded(1, 1)
    stranger.company_id = 4711
    with serve(stranger) as other:
        foreign = refused(409, token=other.api_token, api_url=other.url)
        assert [each for each in other.requests if each.method != "GET"] == []

    assert (elsewhere, wrong) == ("host_not_allowed", "token_refused")
    assert (unknown_kind, foreign) == ("bad_input", "other_account")
    assert count(sandbox, "organizations") == before


def test_who_may_not_write_and_what_is_not_allowed_makes_no_call(
    installed: Installed, admin: httpx.Client, world: World, sandbox: Sandbox
) -> None:
    sent = {"customer": {"external_key": "x", "fields": {"name": "x"}}}
    calls = len(sandbox.requests)
    user = installed.client(Role.USER, "reader")
    by_user = error(user.post(f"{ROUTES}/sync-customer", json=sent), 403)
    lost = error(admin.post(f"{ROUTES}/sync-customer", json={"customer": {"fields": {}}}), 422)
    empty = error(admin.post(f"{ROUTES}/sync-customer", json={}), 422)
    elsewhere = error(admin.post(f"{ROUTES}/sync-lead", json={**sent, "platform": "nowhere"}), 422)
    allow_writes(world, "deals")
    forbidden = error(admin.post(f"{ROUTES}/sync-customer", json=sent), 403)

    assert (by_user["code"], forbidden["code"]) == ("role_too_low", "writing_forbidden")
    assert "external_key or match" in lost["details"][0]["issue"]
    assert "a customer, a contact, or both" in empty["details"][0]["issue"]
    assert elsewhere["code"] == "bad_input"
    assert len(sandbox.requests) == calls


@pytest.mark.parametrize(
    ("operation", "name", "fields"),
    [
        ("sync-customer", "customer", {"name": "Anders"}),
        ("sync-lead", "lead", {"title": "Anders"}),
        ("sync-appointment", "appointment", {"subject": "Anders"}),
    ],
)
@pytest.mark.parametrize("more", [{}, {"external_key": "create-only"}], ids=["id", "key"])
@pytest.mark.parametrize("path", ["", "/try", "/try?dry_run=true"])
def test_create_only_changes_no_record_that_is_named_by_its_id(
    admin: httpx.Client,
    sandbox: Sandbox,
    *,
    operation: str,
    name: str,
    fields: dict[str, str],
    more: dict[str, str],
    path: str,
) -> None:
    resource = {"customer": "organizations", "lead": "leads", "appointment": "activities"}[name]
    there: Any = data(admin.get(f"/api/crm/v1/{resource}?limit=1"))
    sent = {"id": there[0]["id"], "policy": "create_only", "fields": fields, **more}
    calls = len(sandbox.requests)
    refused = error(admin.post(f"{ROUTES}/{operation}{path}", json={name: sent}), 409)

    assert (refused["code"], refused["details"][0]["field"]) == ("duplicate", f"{name}.id")
    assert len(sandbox.requests) == calls


def test_a_parameter_that_a_route_does_not_have_is_refused(
    admin: httpx.Client, sandbox: Sandbox
) -> None:
    """Such as a dry run of a route that writes, or a key that `try` would not regard."""
    sent = {"customer": {"external_key": "nothing", "fields": {"name": "x"}}}
    calls = len(sandbox.requests)
    place = f"{ROUTES}/sync-customer"
    dry = error(admin.post(f"{place}?dry_run=true", json=sent), 422)
    key = error(admin.post(f"{place}/try", json=sent, headers={"idempotency-key": "x"}), 422)

    assert [each["field"] for each in dry["details"]] == ["query.dry_run"]
    assert [each["field"] for each in key["details"]] == ["header.idempotency-key"]
    assert len(sandbox.requests) == calls
