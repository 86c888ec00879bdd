"""The routes of an app's webhooks: who may use them, and what they show."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from pipedrive_pipeline.connect.api.crm.webhook_routes import router
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sync.events.webhooks import WEBHOOKS_MAX
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with

API = "/api/crm/v1/webhooks"
WANTED = {"url": "https://app.example.com/hook", "event_types": ["deal.*"]}
BODIES: dict[str, dict[str, Any]] = {
    "": WANTED,
    "/rotate-secret": {},
    "/replay": {"since": "2026-11-01T00:00:00Z"},
}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def made(client: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = client.post(API, json=WANTED | more)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def record_event(site: ConnectSite, tenant: str, webhook_id: str) -> None:
    """An event that waits for the webhook, and was tried once."""
    site.world.execute(
        "with event as (insert into integration.record_events"
        " (tenant_id, system, mart, row_id, type, record) values"
        " (%s, 'pipedrive', 'deals', gen_random_uuid(), 'deal.won', '{\"name\": \"Secret\"}')"
        " returning id, tenant_id, row_id)"
        " insert into integration.event_deliveries"
        " (webhook_id, event_id, tenant_id, row_id, attempts, tries)"
        ' select %s, id, tenant_id, row_id, 1, \'[{"at": "2026-11-30T08:00:00+00:00",'
        ' "status": 500, "error": "it answered 500", "milliseconds": 7}]\' from event',
        tenant,
        webhook_id,
    )


def test_a_webhook_is_made_changed_and_removed(site: ConnectSite) -> None:
    """Its secret is shown once, and again only as a new one."""
    admin = site.operator()

    new = made(admin, description="the shop")
    again = admin.post(f"{API}/{new['id']}/rotate-secret", json={"overlap_hours": 1})
    changed = admin.patch(f"{API}/{new['id']}", json={"event_types": ["*"], "state": "paused"})
    listed = admin.get(API).json()["data"]
    removed = admin.delete(f"{API}/{new['id']}")

    assert new["secret"].startswith("whsec_")
    assert new["secret"] != again.json()["data"]["secret"]
    assert again.json()["data"]["former_secret_until"] is not None
    shown = changed.json()["data"]
    assert (shown["event_types"], shown["state"], shown["description"]) == (
        ["*"],
        "paused",
        "the shop",
    )
    assert listed == [shown]
    assert "secret" not in shown
    assert removed.status_code == 200
    assert admin.get(f"{API}/{new['id']}").status_code == 404
    sealed = repr(site.world.rows("select * from integration.audit_log"))
    assert "whsec_" not in sealed
    assert "app.example.com" not in sealed


def test_secrets_are_sealed(site: ConnectSite) -> None:
    new = made(site.operator())

    (row,) = site.world.rows(
        "select to_jsonb(app_webhooks)::text as row from integration.app_webhooks"
    )

    assert new["secret"].removeprefix("whsec_") not in row["row"]


def test_the_same_call_makes_one_webhook(site: ConnectSite) -> None:
    """The answer comes again without the secret, which nobody stores."""
    admin = site.operator()
    headers = {"idempotency-key": "once"}

    first, second = (admin.post(API, json=WANTED, headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["data"] | {"secret": None} == second.json()["data"]
    assert len(admin.get(API).json()["data"]) == 1


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"url": "https://127.0.0.1/x"}, 400),
        ({"url": "https://2130706433/x"}, 400),
        ({"url": "http://app.example.com/x"}, 400),
        ({"event_types": ["deal.made"]}, 400),
        ({"event_types": []}, 422),
        ({"description": "\x00"}, 422),
        ({"secret": "whsec_mine"}, 422),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    site: ConnectSite, wanted: dict[str, Any], code: int
) -> None:
    """Also when a webhook is changed; nothing of it is stored."""
    admin = site.operator()
    new = made(admin)

    answers = [
        admin.post(API, json=WANTED | wanted),
        admin.patch(f"{API}/{new['id']}", json=wanted),
    ]

    assert [answer.status_code for answer in answers] == [code, code]
    assert all(next(iter(wanted)) in answer.text for answer in answers)
    assert len(admin.get(API).json()["data"]) == 1


def test_a_tenant_has_twenty_webhooks_at_most(site: ConnectSite) -> None:
    admin = site.operator()
    for _ in range(WEBHOOKS_MAX):
        made(admin)

    refused = admin.post(API, json=WANTED)

    assert refused.status_code == 400
    page = admin.get(API, params={"limit": 15}).json()
    rest = admin.get(API, params={"cursor": page["meta"]["pagination"]["next_cursor"]}).json()
    assert len({row["id"] for row in page["data"] + rest["data"]}) == WEBHOOKS_MAX


def test_the_log_shows_each_attempt_and_no_record(site: ConnectSite) -> None:
    admin = site.operator()
    new = made(admin)
    for _ in range(3):
        record_event(site, "acme", new["id"])

    page = admin.get(f"{API}/{new['id']}/deliveries", params={"limit": 2})
    cursor = page.json()["meta"]["pagination"]["next_cursor"]
    rest = admin.get(f"{API}/{new['id']}/deliveries", params={"cursor": cursor})
    none = admin.get(f"{API}/{new['id']}/deliveries", params={"state": "delivered"})

    shown = page.json()["data"] + rest.json()["data"]
    assert len({row["id"] for row in shown}) == 3
    assert (shown[0]["type"], shown[0]["state"], shown[0]["attempts"]) == ("deal.won", "waiting", 1)
    assert shown[0]["tries"][0]["error"] == "it answered 500"
    assert shown[0]["record_id"].startswith("deal_")
    assert "Secret" not in page.text
    assert none.json()["data"] == []
    assert admin.get(API).json()["data"][0]["waiting"] == 3


def test_a_replay_says_how_many_events_it_delivers_again(site: ConnectSite) -> None:
    admin = site.operator()
    new = made(admin)
    record_event(site, "acme", new["id"])

    replayed = admin.post(f"{API}/{new['id']}/replay", json={"since": "2026-11-01T00:00:00Z"})
    vague = admin.post(f"{API}/{new['id']}/replay", json={"since": "2026-11-01T00:00:00"})

    assert (replayed.status_code, replayed.json()["data"]) == (202, {"events": 1})
    assert vague.status_code == 422


def test_a_test_says_what_the_receiver_answered(site: ConnectSite) -> None:
    """An address that was allowed once is checked again when it is sent to."""
    admin = site.operator()
    new = made(admin)
    site.world.execute("update integration.app_webhooks set url = 'https://127.0.0.1:1/x'")

    tried = admin.post(f"{API}/{new['id']}/test")

    assert tried.status_code == 200
    assert tried.json()["data"]["status"] is None
    assert tried.json()["data"]["error"]


@pytest.mark.slow
def test_only_an_admin_of_the_tenant_opens_a_webhook(site: ConnectSite) -> None:
    """Every route × keys of each role, of another tenant, and of a user of the CRM."""
    webhook = made(site.operator("acme"))
    made(site.operator("bravo"))
    record_event(site, "acme", webhook["id"])
    clients: dict[str, httpx.Client] = {"nobody": site.client()}
    for slug in ("acme", "bravo"):
        with site.world.vault.warehouse.as_app(Tenant(slug)) as connection:
            for role in Role:
                key = keys.add(connection, Tenant(slug), role, "a key", who="a test")
                clients[f"{slug} {role}"] = client_with(site, key.text)
    before = site.world.rows("select * from integration.app_webhooks order by id")
    for name, client in clients.items():
        for route in router.routes:
            assert isinstance(route, APIRoute)
            method = next(iter(route.methods or ()))
            ending = route.path.removeprefix(API).replace("/{webhook_id}", "")
            has_id = "{webhook_id}" in route.path
            for webhook_id in (webhook["id"], UNKNOWN) if has_id else ("",):
                if name == "acme admin" and (method == "DELETE" or webhook_id != UNKNOWN):
                    continue
                answer = client.request(
                    method,
                    route.path.replace("{webhook_id}", webhook_id),
                    json=BODIES.get(ending, {}) if method in {"POST", "PATCH"} else None,
                )
                if name == "bravo admin" and not has_id:
                    assert webhook["id"] not in answer.text
                elif name == "nobody":
                    assert answer.status_code == 401, (name, route.path)
                elif name.endswith("admin"):
                    assert answer.status_code == 404, (name, route.path)
                else:
                    assert answer.status_code == 403, (name, route.path)
    after = site.world.rows("select * from integration.app_webhooks order by id")
    acme = [row for row in before if row["tenant_id"] == "acme"]
    assert [row for row in after if row["tenant_id"] == "acme"] == acme


def test_a_key_of_a_user_of_the_crm_opens_no_webhook(site: ConnectSite) -> None:
    """A webhook is sent every record, also those that the user may not see."""
    site.world.execute(
        "insert into crm.users (tenant_id, system, remote_id) values ('acme', 'pipedrive', '7')"
    )
    (user,) = site.world.rows("select id from crm.users")
    with site.world.vault.warehouse.as_app(Tenant("acme")) as connection:
        key = keys.add(
            connection, Tenant("acme"), Role.ADMIN, "bound", who="a test", crm_user_id=user["id"]
        )

    answer = client_with(site, key.text).get(API)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_of_crm_user")
