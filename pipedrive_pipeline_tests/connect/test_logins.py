"""A browser signs in with a key: its cookie, its forms, and what no other site can make it send."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import httpx
import pytest
from fastapi import Response
from pydantic import AnyHttpUrl, SecretStr

from pipedrive_pipeline.connect.auth import keys, sessions
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import HIDDEN, ROUTES, ConnectSite, served
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, filled_tenant
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

PAGE = "/integrations/pipedrive"
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    """Acme, connected, with something in every table."""
    return filled_tenant(site, "acme", 1)


def signed_in(site: ConnectSite, key: str) -> httpx.Client:
    browser = site.browser()
    browser.post("/login", data={"key": key}, headers={"origin": site.url})
    return browser


def token(page: httpx.Response) -> str:
    fields: dict[str, str] = dict(HIDDEN.findall(page.text))
    return fields["form_token"]


def test_a_key_opens_the_tenants_pages(site: ConnectSite, tenant: FilledTenant) -> None:
    browser = site.browser()
    away = browser.get("/")

    answer = browser.post(
        "/login", data={"key": tenant.keys[Role.USER]}, headers={"origin": "null", **SAME}
    )

    assert (away.status_code, away.headers["location"]) == (303, "/login")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert tenant.word in browser.get("/").text
    assert "Sync now" not in browser.get(PAGE).text  # its role reads only
    assert browser.get(f"{ROUTES}/status").status_code == 200  # the same for the page's own calls


def test_the_cookie_is_for_this_site_and_no_script(site: ConnectSite, tenant: FilledTenant) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    answer = browser.post(
        "/login", data={"key": tenant.keys[Role.USER]}, headers={"origin": site.url}
    )

    cookie = SimpleCookie(answer.headers["set-cookie"])["login"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert not cookie["secure"]  # on loopback, by http
    assert tenant.keys[Role.USER] not in answer.headers["set-cookie"]


def test_off_loopback_the_cookie_is_bound_to_https_and_the_host(site: ConnectSite) -> None:
    settings = site.world.vault.settings.model_copy(
        update={"app_url": AnyHttpUrl("https://connect.example")}
    )
    answer = Response()
    with site.world.vault.warehouse.transaction() as connection:
        session = sessions.begin(connection, settings, None, None)

    sessions.set_cookie(answer, settings, session)

    (name,) = cookies = SimpleCookie(answer.headers["set-cookie"])
    assert name == "__Host-login"
    assert cookies[name]["secure"]


@pytest.mark.parametrize(
    ("app_url", "is_private"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost:8000", True),
        ("https://connect.example", True),
        ("http://connect.example", False),
        ("http://192.168.0.7:8000", False),
    ],
)
def test_a_session_never_travels_in_clear(
    site: ConnectSite, app_url: str, *, is_private: bool
) -> None:
    """Off loopback the cookie is for https only; over plain http nobody is signed in at all."""
    settings = site.world.vault.settings.model_copy(update={"app_url": AnyHttpUrl(app_url)})

    with site.world.vault.warehouse.transaction() as connection:
        if is_private:
            sessions.begin(connection, settings, None, None)
        else:
            with pytest.raises(SettingsError, match="https"):
                sessions.begin(connection, settings, None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "OWN", "sec-fetch-site": "same-site"},
    ],
)
def test_another_site_can_neither_sign_in_nor_act(
    site: ConnectSite, tenant: FilledTenant, headers: dict[str, str]
) -> None:
    """Login CSRF, and CSRF by a form that somehow has the token."""
    headers = {name: site.url if value == "OWN" else value for name, value in headers.items()}
    key = tenant.keys[Role.ADMIN]
    browser = signed_in(site, key)
    form = {"form_token": token(browser.get(PAGE)), "tenant": "acme"}
    script = {"x-csrf-token": form["form_token"], **headers}

    answers = [
        site.browser().post("/login", data={"key": key}, headers=headers),
        browser.post(f"{PAGE}/sync", data=form, headers=headers),
        browser.post("/logout", data=form, headers=headers),
        browser.post(f"{ROUTES}/sync", json={}, headers=script),
        browser.put(f"{ROUTES}/sync-config", json={"everyHours": 9}, headers=script),
        browser.delete(f"{ROUTES}/disconnect", headers=script),
    ]

    assert [answer.status_code for answer in answers] == [403] * 6
    assert browser.get(PAGE).status_code == 200


def test_a_form_without_its_token_or_with_anothers_is_refused(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    browser, other = (signed_in(site, tenant.keys[Role.ADMIN]) for _ in range(2))
    stolen = token(other.get(PAGE))

    for form_token in ("", "x.y", stolen):
        form = {"form_token": form_token, "tenant": "acme"}
        headers = {"origin": site.url, "x-csrf-token": form_token}
        page = browser.post(f"{PAGE}/sync", data=form, headers=headers)
        script = browser.post(f"{ROUTES}/sync", json={}, headers=headers)

        assert (page.status_code, script.status_code) == (403, 403)


@pytest.mark.slow
def test_a_session_acts_with_the_token_of_its_page(site: ConnectSite, tenant: FilledTenant) -> None:
    browser = signed_in(site, tenant.keys[Role.MANAGER])
    form_token = token(browser.get(PAGE))
    headers = {"origin": site.url, "x-csrf-token": form_token, "accept": "*/*"}

    clicked = browser.post(f"{PAGE}/sync", data={"form_token": form_token}, headers=headers)
    script = browser.post(f"{ROUTES}/sync", json={}, headers=headers)
    risen = browser.put(f"{ROUTES}/sync-config", json={"everyHours": 9}, headers=headers)

    assert (clicked.status_code, clicked.headers["location"]) == (303, PAGE)
    assert script.status_code == 202
    assert (risen.status_code, risen.json()["error"]["code"]) == (403, "role_too_low")
    page = browser.get(PAGE).text
    assert "Changes: waits for its turn" in page
    assert '<button disabled aria-describedby="busy">Sync now' in page  # it would only join


def test_a_revoked_key_ends_its_sessions(site: ConnectSite, tenant: FilledTenant) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    before = browser.get(PAGE).status_code
    site.world.execute("update integration.api_keys set revoked_at = now() where role = 'user'")

    pages = [browser.get(path) for path in ("/", PAGE)]

    assert before == 200
    assert [(answer.status_code, answer.headers["location"]) for answer in pages] == [
        (303, "/login")
    ] * 2
    assert browser.get(f"{ROUTES}/status").status_code == 401


def stolen_cookie(site: ConnectSite, browser: httpx.Client) -> httpx.Client:
    """Another browser with the same cookie."""
    thief = site.browser()
    thief.cookies.set("login", browser.cookies["login"])
    return thief


@pytest.mark.slow
def test_signing_out_ends_the_session_on_the_server(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    """A copied cookie must not outlive the person's decision to sign out."""
    browser = signed_in(site, tenant.keys[Role.USER])
    thief = stolen_cookie(site, browser)
    before = thief.get(f"{ROUTES}/status").status_code
    form = {"form_token": token(browser.get("/"))}

    browser.post("/logout", data=form, headers={"origin": site.url})

    assert "login" not in browser.cookies
    assert browser.get("/").headers["location"] == "/login"
    assert (before, thief.get(f"{ROUTES}/status").status_code) == (200, 401)
    assert thief.get("/").headers["location"] == "/login"


def test_the_operators_session_ends_on_the_server_too(site: ConnectSite) -> None:
    browser = signed_in(site, OPERATOR_KEY)
    thief = stolen_cookie(site, browser)
    pages = ("/", f"{PAGE}?tenant=acme")
    before = [thief.get(path).status_code for path in pages]
    form = {"form_token": token(browser.get("/"))}

    browser.post("/logout", data=form, headers={"origin": site.url})

    assert before == [200, 200]
    assert [thief.get(path).headers["location"] for path in pages] == ["/login"] * 2
    acting = thief.get(f"{ROUTES}/status", headers={"x-tenant": "acme"})
    assert acting.status_code == 401


def test_signing_in_again_ends_the_browsers_former_session(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    browser = signed_in(site, tenant.keys[Role.ADMIN])
    thief = stolen_cookie(site, browser)

    browser.post("/login", data={"key": tenant.keys[Role.USER]}, headers={"origin": site.url})

    assert thief.get(f"{ROUTES}/status").status_code == 401
    assert browser.get(f"{ROUTES}/status").status_code == 200


def test_a_changed_role_ends_the_keys_sessions(site: ConnectSite, tenant: FilledTenant) -> None:
    """Neither more nor fewer rights than the person signed in with."""
    browser = signed_in(site, tenant.keys[Role.ADMIN])
    before = browser.get("/api/keys").status_code
    site.world.execute("update integration.api_keys set role = 'user' where role = 'admin'")

    after = browser.get("/api/keys")

    assert (before, after.status_code) == (200, 401)


def test_revoking_a_key_deletes_its_sessions(site: ConnectSite, tenant: FilledTenant) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    admin = site.client({"x-api-key": tenant.keys[Role.ADMIN]})
    (row,) = site.world.rows("select key_id from integration.browser_sessions")

    admin.delete(f"/api/keys/{row['key_id']}")

    assert site.world.rows("select id from integration.browser_sessions") == []
    assert browser.get(f"{ROUTES}/status").status_code == 401


def test_a_session_ends_after_a_working_day(site: ConnectSite, tenant: FilledTenant) -> None:
    browsers = [signed_in(site, key) for key in (tenant.keys[Role.USER], OPERATOR_KEY)]
    before = [browser.get("/").status_code for browser in browsers]
    site.world.execute(
        "update integration.browser_sessions set expires_at = expires_at - interval '8 hours'"
    )

    after = [browser.get("/").headers.get("location") for browser in browsers]

    assert before == [200, 200]
    assert after == ["/login", "/login"]


@pytest.mark.slow
def test_another_operator_key_ends_the_operators_sessions(site: ConnectSite) -> None:
    browser = signed_in(site, OPERATOR_KEY)
    other = SecretStr("another-operator-key-of-enough-characters")

    with served(site.world, operator_key=other) as restarted:
        browser_there = stolen_cookie(restarted, browser)
        answer = browser_there.get("/")

    assert answer.headers["location"] == "/login"


@pytest.mark.slow
def test_the_sessions_of_one_key_are_bounded(site: ConnectSite, tenant: FilledTenant) -> None:
    with site.world.vault.warehouse.as_app(tenant.tenant) as connection:
        key = keys.by_text(connection, tenant.tenant, tenant.keys[Role.USER])
        for _ in range(sessions.SESSIONS_OF_KEY_MAX + 5):
            sessions.begin(connection, site.world.vault.settings, tenant.tenant, key)

    rows = site.world.rows("select count(*) as sessions from integration.browser_sessions")
    assert rows == [{"sessions": sessions.SESSIONS_OF_KEY_MAX}]


@pytest.mark.parametrize("site_of_request", ["cross-site", "same-site"])
def test_another_site_cannot_lead_a_signed_in_browser_into_a_consent(
    site: ConnectSite, tenant: FilledTenant, site_of_request: str
) -> None:
    """A link or an image on another site, with the browser's cookie."""
    site.operator().delete(f"{ROUTES}/disconnect")
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    answer = browser.get(f"{ROUTES}/auth", headers={"sec-fetch-site": site_of_request})

    assert answer.status_code == 403
    assert "connect" not in browser.cookies
    assert browser.get(f"{ROUTES}/auth", headers=SAME).status_code == 302


def test_the_operator_sees_every_tenant_and_names_one(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    browser = signed_in(site, OPERATOR_KEY)

    listed = browser.get("/").text

    assert re.findall(r'<th[^>]*><a href="/\?tenant=(\w+)"', listed) == ["acme", "bravo"]
    assert tenant.word in browser.get("/?tenant=acme").text
    assert tenant.word in browser.get(f"{PAGE}?tenant=acme").text
    assert browser.get(f"{PAGE}?tenant=nobody").status_code == 404
    assert browser.get(f"{PAGE}?tenant=..%2F").status_code == 400


def test_the_operator_connects_a_tenant_from_its_page(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    """The page had a button for the tenant's own admin only; bravo never connected."""
    browser = signed_in(site, OPERATOR_KEY)
    listed, page = browser.get("/").text, browser.get(f"{PAGE}?tenant=bravo").text
    start, address = f"{PAGE}/connect?tenant=bravo", f"{PAGE}/consent?tenant=bravo"

    refused = browser.get(address, headers={"sec-fetch-site": "cross-site"})
    of_a_reader = signed_in(site, tenant.keys[Role.USER]).get(f"{PAGE}/consent", headers=SAME)
    away = site.browser().get(address, headers=SAME)
    begun = browser.get(address, headers=SAME)

    assert "Never connected" in listed
    assert "not connected" in page.lower()
    assert f'href="{start}"' in page
    assert f'href="{address}"' in browser.get(start).text
    assert (refused.status_code, of_a_reader.status_code) == (403, 403)
    assert (away.status_code, away.headers["location"]) == (303, "/login")
    assert begun.status_code == 302
    assert "/oauth/authorize" in begun.headers["location"]


def test_a_reader_finds_plain_words_and_is_told_to_run_no_command(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    site.world.execute(
        "update integration.runs set status = 'failed', errors = %s",
        '[{"code": "guard_tripped", "message": '
        '"acme: 60 rows are gone; none was marked. `sweep --confirm` marks them."}]',
    )
    browser = signed_in(site, tenant.keys[Role.USER])

    page = browser.get(f"{PAGE}/history/{tenant.ids['run_id']}").text
    texts = [page, browser.get("/").text, site.browser().get("/login").text]

    assert "60 rows are gone" in page
    for text in texts:
        assert not re.search(r"[\s>]--\w|keys add|tenants add|\./run", text)


def test_a_tenants_session_cannot_name_another(site: ConnectSite, tenant: FilledTenant) -> None:
    filled_tenant(site, "bravo", 2)
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    answer = browser.get(f"{PAGE}?tenant=bravo")

    assert answer.status_code == 403
    assert "word_of_bravo" not in answer.text


def test_a_wrong_key_is_refused_and_guessing_is_limited(site: ConnectSite) -> None:
    headers = {"origin": site.url}

    answers = [
        site.browser().post("/login", data={"key": f"key_acme.{n}"}, headers=headers)
        for n in range(22)
    ]

    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    assert "opens nothing" in answers[0].text
    assert "set-cookie" not in answers[0].headers


def test_a_hostile_name_is_only_text_on_a_page(site: ConnectSite, tenant: FilledTenant) -> None:
    name = "<script>alert(1)</script>\"'>{{7*7}}"
    site.world.execute(
        "update integration.connections set company_name = %s, account_user_name = %s", name, name
    )
    site.world.execute(
        "update integration.runs"
        " set errors = jsonb_build_array(jsonb_build_object('code', 'x', 'message', %s::text))",
        name,
    )
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    for page in (browser.get("/").text, browser.get(PAGE).text):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "{{7*7}}" in page


def test_the_api_page_names_every_route(site: ConnectSite) -> None:
    page = site.browser().get("/docs").text

    paths = site.client().get("/openapi.json").json()["paths"]
    assert len(paths) > 15
    assert all(path in page for path in paths)


def test_a_key_of_a_tenant_that_is_gone_opens_nothing(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    site.world.execute("delete from crm.customers where tenant_id = %s", tenant.tenant.slug)
    site.world.execute("delete from integration.tenants where slug = %s", Tenant("acme").slug)

    assert browser.get("/").headers["location"] == "/login"
