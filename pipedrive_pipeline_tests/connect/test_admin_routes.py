"""What an admin needs besides keys: links, the audit log, next times, a test of the alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pipedrive_pipeline.connect.api.cursors import encoded
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, client_with, filled_tenant
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup

LINKS = f"{ROUTES}/connect-links"


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    """Acme, connected, with something in every table, and one link."""
    return filled_tenant(site, "acme", 1)


@pytest.fixture
def admin(site: ConnectSite, tenant: FilledTenant) -> httpx.Client:
    return client_with(site, tenant.keys[Role.ADMIN])


def test_a_link_may_be_valid_for_a_week_and_not_longer(admin: httpx.Client) -> None:
    """Who gets a link by e-mail does not open it within ten minutes."""
    week = 7 * 24 * 60
    link = admin.post(f"{ROUTES}/connect-link", json={"validMinutes": week}).json()["data"]
    longer = admin.post(f"{ROUTES}/connect-link", json={"validMinutes": week + 1})

    left = datetime.fromisoformat(link["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert longer.status_code == 422


def test_a_withdrawn_link_opens_nothing_and_both_are_in_the_audit_log(
    site: ConnectSite, tenant: FilledTenant, admin: httpx.Client
) -> None:
    """A link that was sent to the wrong person must not connect their company."""
    link = admin.post(f"{ROUTES}/connect-link", json={}).json()["data"]
    opened = site.browser().get(link["url"]).status_code
    listed = admin.get(LINKS).json()["data"]

    withdrawn = admin.delete(f"{LINKS}/{link['id']}")

    assert (opened, withdrawn.status_code) == (302, 200)
    assert [row["id"] for row in listed] == [link["id"], tenant.ids["link_id"]]
    assert [row["openedAt"] is None for row in listed] == [False, True]
    assert link["url"].rpartition("/")[2] not in str(listed)
    assert site.browser().get(link["url"]).status_code == 400
    assert admin.delete(f"{LINKS}/{link['id']}").status_code == 404
    log = admin.get("/api/audit").json()["data"]
    assert [row["action"] for row in log[:2]] == ["link.withdraw", "link.add"]
    assert all(row["who"].startswith("key word_of_acme") for row in log[:2])


def test_the_audit_log_is_read_page_by_page_newest_first(admin: httpx.Client) -> None:
    """Every entry once, in the order of its time."""
    everything = admin.get("/api/audit", params={"limit": 200}).json()["data"]
    pages, cursor = [], None
    while True:
        answer = admin.get(
            "/api/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        pages += answer.json()["data"]
        cursor = answer.json()["meta"]["pagination"]["next_cursor"]
        if cursor is None:
            break

    assert pages == everything
    assert len(everything) >= 5
    assert everything == sorted(everything, key=lambda row: (row["at"], row["id"]), reverse=True)


def test_next_times_are_those_of_the_settings(admin: httpx.Client) -> None:
    """Once a day in the zone of the settings; none when the tenant is not synced by itself."""
    saved = {"everyHours": None, "syncTime": "02:30", "timeZone": "Asia/Kolkata"}
    admin.put(f"{ROUTES}/sync-config", json=saved)
    times = admin.get(f"{ROUTES}/sync-config/next").json()["data"]["at"]
    admin.put(f"{ROUTES}/sync-config", json={"autoSync": False})
    none = admin.get(f"{ROUTES}/sync-config/next").json()["data"]

    instants = [datetime.fromisoformat(text) for text in times]
    assert [(at.hour, at.minute) for at in instants] == [(21, 0)] * 3
    assert instants[0] > datetime.now(UTC)
    assert instants[2] - instants[0] == timedelta(days=2)
    assert none == {"at": [], "skippedOn": None}


def test_a_test_of_the_alerts_says_that_there_is_no_address(admin: httpx.Client) -> None:
    answer = admin.post(f"{ROUTES}/sync-config/test-alert")

    assert answer.json()["data"] == {"addresses": 0, "isComplete": True}


def test_proposals_and_changes_of_versions_come_with_their_reason(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A page shows what a version changed without loading every mapping."""
    site.world.execute(
        "insert into integration.fields"
        " (tenant_id, system, entity, field_key, field_name, field_type, is_custom)"
        " values ('acme', 'pipedrive', 'organizations', 'bbb', 'USt-IdNr.', 'varchar', true)"
    )
    offered = admin.get(f"{ROUTES}/field-mapping/proposals").json()["data"]
    versions = admin.get(f"{ROUTES}/field-mapping/versions").json()["data"]

    assert offered == [
        {
            "entity": "organizations",
            "source": "bbb",
            "fieldName": "USt-IdNr.",
            "target": "vat_id",
            "as": None,
            "basis": "name",
            "reason": "its name is a word for vat_id",
        }
    ]
    assert [row["changes"] for row in versions] == [
        [
            {
                "source": "organizations.aaa",
                "before": None,
                "after": "attributes.word_of_acme",
            }
        ]
    ]


def test_a_link_for_reconnecting_refuses_another_company(
    site: ConnectSite, tenant: FilledTenant, admin: httpx.Client
) -> None:
    """A customer who gets it again and again must not replace the company by a slip."""
    facts = {"reconnectsOnly": True}
    answers = {}
    for name, company in (("same", OAuthCompany(id=1)), ("other", OAuthCompany(id=2))):
        link = admin.post(f"{ROUTES}/connect-link", json=facts).json()["data"]["url"]
        browser = site.browser()
        state = site.state_of(browser.get(link))
        params = {"state": state, "code": site.world.oauth.consent(company)}
        answers[name] = browser.get(f"{ROUTES}/callback", params=params)

    assert answers["same"].status_code == 303
    assert answers["other"].status_code == 409
    assert "This is another company" in answers["other"].text
    waiting = site.world.rows("select company_id from integration.pending_grants")
    assert waiting == [{"company_id": "1"}]
    assert site.world.row(tenant.tenant)["company_id"] == "1"


def test_a_link_for_reconnecting_connects_no_company_for_the_first_time(
    site: ConnectSite, acme: VaultSetup
) -> None:
    made = links.make(acme.vault, Scope(ACME, PIPEDRIVE), who="a test", reconnects_only=True)
    browser = site.browser()
    params = {"state": site.state_of(browser.get(made.url)), "code": acme.oauth.consent(None)}

    answer = browser.get(f"{ROUTES}/callback", params=params)

    assert answer.status_code == 409
    assert acme.rows("select from integration.pending_grants") == []


@pytest.mark.parametrize("place", [-1, 0, 2**63, 10**30])
def test_a_made_up_cursor_of_the_audit_log_is_refused(admin: httpx.Client, place: int) -> None:
    answer = admin.get("/api/audit", params={"cursor": encoded(place)})

    assert answer.status_code == 400


def test_a_mapping_that_was_never_saved_has_no_versions(
    site: ConnectSite, acme: VaultSetup
) -> None:
    """It was answered with 500."""
    answer = site.operator().get(f"{ROUTES}/field-mapping/versions")

    assert (answer.status_code, answer.json()["data"]) == (200, [])
    assert acme.rows("select from integration.field_mappings") == []
