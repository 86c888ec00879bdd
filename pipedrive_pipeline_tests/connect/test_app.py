"""The way of an honest tenant and an honest operator through the app, by HTTP alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import AuthScheme, System
from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, ROUTES, ConnectSite
from pipedrive_pipeline_tests.connectors.ledger import LEDGER
from pipedrive_pipeline_tests.vault.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthCompany


def connected(site: ConnectSite, company: OAuthCompany | None = None) -> httpx.Response:
    """A tenant walks the whole way; the last page."""
    browser = site.browser()
    site.consented(browser, company)
    browser.post(f"{ROUTES}/confirm", data=site.form(browser))
    return browser.get(CONFIRM_PAGE)


def state(site: ConnectSite) -> dict[str, object]:
    shown: dict[str, object] = site.operator().get(f"{ROUTES}/status").json()["data"]
    return shown


def test_a_link_a_consent_and_a_click_connect_a_tenant(site: ConnectSite) -> None:
    """Link, consent, confirm: nothing more is needed, and a full sync is queued."""
    browser = site.browser()
    away = browser.get(site.link())
    assert away.status_code == 302
    back = browser.get(away.headers["location"])  # the source, consenting at once
    landed = browser.get(back.headers["location"])
    assert (landed.status_code, landed.headers["location"]) == (303, CONFIRM_PAGE)
    page = browser.get(CONFIRM_PAGE)
    assert "Müller &amp; Söhne" in page.text
    assert state(site)["state"] == "pending"

    confirmed = browser.post(f"{ROUTES}/confirm", data=site.form(browser))

    assert (confirmed.status_code, confirmed.headers["location"]) == (303, CONFIRM_PAGE)
    assert "is connected" in browser.get(CONFIRM_PAGE).text
    assert state(site)["state"] == "connected"
    assert site.world.rows(
        "select tenant_id, sync_type, trigger, state from integration.sync_requests"
    ) == [{"tenant_id": "acme", "sync_type": "full", "trigger": "connect", "state": "queued"}]


def test_a_browser_that_names_no_origin_to_its_own_site_may_confirm(site: ConnectSite) -> None:
    """Chromium under `Referrer-Policy: no-referrer` sends just these two; it was refused once."""
    browser = site.browser()
    site.consented(browser)
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}

    answer = browser.post(f"{ROUTES}/confirm", data=site.form(browser), headers=headers)

    assert answer.status_code == 303
    assert state(site)["state"] == "connected"


def test_the_operator_begins_and_confirms_with_a_key(site: ConnectSite) -> None:
    """The same way for a script, in JSON."""
    operator = site.operator()
    away = operator.get(f"{ROUTES}/auth")
    back = site.client().get(away.headers["location"]).headers["location"]
    operator.get(back)

    answer = operator.post(f"{ROUTES}/confirm", json={})

    assert answer.status_code == 200
    assert answer.json()["data"]["state"] == "connected"
    assert answer.json()["data"]["company"]["name"] == "Müller & Söhne"


def test_status_shows_the_connection_and_no_token(site: ConnectSite) -> None:
    connected(site)
    row = site.world.row()

    answer = site.operator().get(f"{ROUTES}/status")

    shown = answer.json()["data"]
    assert shown["state"] == "connected"
    assert shown["company"] == {"id": "7654321", "name": "Müller & Söhne", "domain": "mueller"}
    assert shown["scopes"] == ["base", "contacts:read", "users:read"]
    assert shown["user"] == {"name": "Ada Admin", "isAdmin": True}
    assert row["access_token"] not in answer.text
    assert answer.json()["meta"]["request_id"] == answer.headers["x-request-id"]
    assert int(answer.headers["x-ratelimit-remaining"]) < int(answer.headers["x-ratelimit-limit"])


@pytest.mark.parametrize("name", ["", "a\x00b", "\ud800", "x" * 10_000, "\u202egnp.exe"])
def test_any_name_of_a_company_can_be_confirmed(site: ConnectSite, name: str) -> None:
    """Postgres refuses NUL, UTF-8 half a character; neither may wedge a consent."""
    shown = connected(site, OAuthCompany(name=name, user_name=name))

    assert shown.status_code == 200
    assert state(site)["state"] == "connected"


def test_a_tenant_that_never_connected_is_shown_as_disconnected(site: ConnectSite) -> None:
    assert state(site)["state"] == "disconnected"
    listed = site.operator().get("/api/integrations").json()["data"]
    assert [(row["system"], row["state"]) for row in listed] == [
        (system, "disconnected") for system in system_keys()
    ]


def test_a_connection_test_names_its_user_and_the_limits_of_that_user(site: ConnectSite) -> None:
    """A user who is no administrator reads less, without any error at the source."""
    site.world.oauth.scope = "base,contacts:read"
    connected(site, OAuthCompany(user_name="Bo", is_admin=False))

    result = site.operator().post(f"{ROUTES}/test").json()["data"]

    assert result["works"] is True
    assert result["user"] == {"id": "11", "name": "Bo", "isAdmin": False}
    assert result["missingScopes"] == ["users:read"]
    assert "Bo is no administrator" in result["limits"][0]


def test_a_test_of_a_withdrawn_consent_says_who_must_act(site: ConnectSite) -> None:
    connected(site)
    site.world.oauth.grants[0].is_revoked = True

    answer = site.operator().post(f"{ROUTES}/test")

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "needs_reauth"
    assert state(site)["stateReason"] == "invalid_grant"
    alert_rows = site.world.rows(
        "select tenant_id, code from integration.alerts where healed_at is null"
    )
    assert alert_rows == [{"tenant_id": "acme", "code": "needs_reauth"}]


def test_disconnect_revokes_forgets_the_tokens_and_keeps_the_rows(site: ConnectSite) -> None:
    connected(site)
    site.world.execute(
        "insert into crm.customers (tenant_id, system, remote_id, name)"
        " values ('acme', 'pipedrive', '1', 'Kept')"
    )

    answer = site.operator().delete(f"{ROUTES}/disconnect")

    assert answer.json()["data"]["state"] == "disconnected"
    assert answer.json()["data"]["isRevoked"] is True
    assert site.world.oauth.grants[0].is_revoked
    row = site.world.row()
    assert (row["access_token"], row["refresh_token"]) == (None, None)
    assert len(site.world.rows("select customers.id from crm.customers")) == 1
    again = site.operator().delete(f"{ROUTES}/disconnect")
    assert again.status_code == 200
    assert site.world.oauth.count("revoke") == 1


def test_a_source_that_is_down_does_not_keep_a_tenant_connected(site: ConnectSite) -> None:
    connected(site)
    site.world.execute("update integration.connections set updated_at = now()")
    site.world.oauth.faults_of_revoke = ["503"]

    ended = site.operator().delete(f"{ROUTES}/disconnect").json()["data"]

    assert ended["state"] == "disconnected"
    assert ended["isRevoked"] is False
    assert "uninstall the app" in ended["note"]


def test_connecting_again_keeps_the_connection_and_asks_for_what_changed(site: ConnectSite) -> None:
    """The same company: watermarks and mapping stay, so that an incremental sync is enough."""
    connected(site)
    before = site.world.row()["id"]
    site.world.execute("update integration.sync_requests set state = 'done', settled_at = now()")
    site.operator().delete(f"{ROUTES}/disconnect")

    connected(site)

    assert site.world.row()["id"] == before
    assert site.world.rows(
        "select sync_type from integration.sync_requests where state = 'queued'"
    ) == [{"sync_type": "incremental"}]


def test_another_company_is_named_and_needs_a_second_yes(site: ConnectSite) -> None:
    connected(site)
    browser = site.browser()
    site.consented(browser, OAuthCompany(id=99, name="Other Ltd"))
    page = browser.get(CONFIRM_PAGE).text
    assert "This is another company." in page
    assert "Müller &amp; Söhne" in page

    first = browser.post(f"{ROUTES}/confirm", data=site.form(browser))
    second = browser.post(f"{ROUTES}/confirm", data={**site.form(browser), "other_company": "yes"})

    assert first.status_code == 409
    assert second.status_code == 303
    assert site.world.row()["company_id"] == "99"


@pytest.mark.parametrize(
    ("user_id", "ends"), [(11, True), (None, True), (12, False)], ids=["its", "none", "another's"]
)
def test_an_uninstall_notice_has_the_effect_of_a_disconnect(
    site: ConnectSite, user_id: int | None, *, ends: bool
) -> None:
    """Installations are per user: another user's removal leaves this consent standing."""
    connected(site)
    notice = {"client_id": CLIENT_ID, "company_id": 7654321, "user_id": user_id, "timestamp": "x"}

    answer = site.client().request(
        "DELETE", f"{ROUTES}/callback", json=notice, auth=(CLIENT_ID, CLIENT_SECRET)
    )

    assert answer.status_code == 200
    assert site.world.row()["state"] == ("disconnected" if ends else "connected")
    assert site.world.oauth.count("revoke") == 0


@pytest.fixture
def ledger(site: ConnectSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A second system with an OAuth app of its own, beside Pipedrive."""
    scheme = AuthScheme(kind="oauth", token_path="/t", sends_uninstall_notice=True)
    system = replace(LEDGER, auth=(scheme,))
    monkeypatch.setitem(registry._registered, system.key, system)
    services = site.app.state.services
    settings = services.vault.settings.with_system(
        system.key, client_id="ledger-app", client_secret=SecretStr("ledger-secret")
    )
    vault = replace(services.vault, settings=settings)
    site.app.state.services = replace(services, vault=vault)
    yield system
    site.app.state.services = services


def test_a_notice_counts_with_the_secret_of_its_own_system_only(
    site: ConnectSite, ledger: System
) -> None:
    """Each system's app has its own secret: one that leaks must not end another's connections."""
    connected(site)
    notice = {"client_id": CLIENT_ID, "company_id": 7654321, "user_id": None}

    statuses = [
        site.client()
        .request("DELETE", f"/api/integrations/{system}/callback", json=notice, auth=auth)
        .status_code
        for system, auth in [
            ("pipedrive", ("ledger-app", "ledger-secret")),
            (ledger.key, (CLIENT_ID, CLIENT_SECRET)),
        ]
    ]

    assert statuses == [401, 401]
    assert site.world.row()["state"] == "connected"


def test_routes_answer_for_every_registered_system(site: ConnectSite, ledger: System) -> None:
    """And for no other: the answer names those that there are."""
    operator = site.operator()

    listed = [row["system"] for row in operator.get("/api/integrations").json()["data"]]
    unknown = operator.get("/api/integrations/hubspot/status")

    assert {"pipedrive", ledger.key} <= set(listed)
    assert operator.get(f"/api/integrations/{ledger.key}/status").status_code == 200
    assert unknown.status_code == 404
    assert ledger.key in unknown.json()["error"]["message"]


def test_a_system_without_notices_takes_none(
    site: ConnectSite, ledger: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The route is Pipedrive's; a stranger learns nothing from that of another system."""
    silent = replace(ledger, auth=(AuthScheme(kind="oauth"),))
    monkeypatch.setitem(registry._registered, silent.key, silent)

    answer = site.client().request(
        "DELETE", f"/api/integrations/{silent.key}/callback", auth=("ledger-app", "ledger-secret")
    )

    assert answer.status_code == 404


def test_healthz_answers_while_the_database_does(site: ConnectSite) -> None:
    assert site.client().get("/healthz").json()["data"] == {"status": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/login", "/api/integrations"])
def test_an_unreachable_database_is_not_named_to_strangers(site: ConnectSite, path: str) -> None:
    """Its host and name help an attacker; the operator has them in the log."""
    services = site.app.state.services
    elsewhere = Warehouse("postgresql://canary_user@127.0.0.1:1/canary_database")
    site.app.state.services = replace(services, warehouse=elsewhere)
    method, headers = ("POST", {"origin": site.url}) if path == "/login" else ("GET", {})

    answer = site.client({"x-api-key": "key_acme.x", **headers}).request(
        method, path, data={"key": "key_acme.x"} if method == "POST" else None
    )
    site.app.state.services = services

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "database_unavailable"
    assert answer.headers["retry-after"]
    for secret in ("canary", "127.0.0.1", "DATABASE_URL"):
        assert secret not in answer.text


def test_a_static_file_is_kept_by_browsers_until_its_content_changes(site: ConnectSite) -> None:
    """Its address has a digest of the content; every page loads the stylesheet otherwise."""
    browser = site.browser()
    address = re.findall(r'href="(/static/connect.css[^"]*)"', browser.get("/login").text)[0]

    kept, plain = browser.get(address), browser.get("/static/connect.css")

    assert kept.headers.get_list("cache-control") == ["public, max-age=31536000, immutable"]
    assert plain.headers.get_list("cache-control") == ["no-store"]


def test_each_answer_has_strict_headers(site: ConnectSite) -> None:
    """No frame, no referrer with a code in it, no cache, no foreign script."""
    browser = site.browser()
    answers = [
        site.consented(browser),
        browser.get(CONFIRM_PAGE),
        browser.get("/no/such/page"),
        browser.get("/static/connect.css"),
        site.operator().get(f"{ROUTES}/status"),
    ]

    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
