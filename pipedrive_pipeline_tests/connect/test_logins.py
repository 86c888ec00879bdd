"""A browser signs in with a key: its cookie, its forms, and what no other site can make it send."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import httpx
import pytest
import time_machine
from fastapi import Response
from pydantic import AnyHttpUrl, SecretStr

from pipedrive_pipeline.connect.auth import sessions
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import HIDDEN, ROUTES, Site
from pipedrive_pipeline_tests.connect.tenants import Inhabited, inhabited
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

PAGE = "/integrations/pipedrive"
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def tenant(site: Site) -> Inhabited:
    """Acme, connected, with something in every table."""
    return inhabited(site, "acme", 1)


def signed_in(site: Site, key: str) -> httpx.Client:
    browser = site.browser()
    browser.post("/login", data={"key": key}, headers={"origin": site.url})
    return browser


def token(page: httpx.Response) -> str:
    found: dict[str, str] = dict(HIDDEN.findall(page.text))
    return found["form_token"]


def test_a_key_opens_the_tenants_pages(site: Site, tenant: Inhabited) -> None:
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


def test_the_cookie_is_for_this_site_and_no_script(site: Site, tenant: Inhabited) -> None:
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


def test_off_loopback_the_cookie_is_bound_to_https_and_the_host(site: Site) -> None:
    settings = site.world.vault.settings.model_copy(
        update={"app_url": AnyHttpUrl("https://connect.example")}
    )
    answer = Response()

    sessions.begin(answer, settings, tenant=None, key_id=None)

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
def test_a_session_never_travels_in_clear(site: Site, app_url: str, *, is_private: bool) -> None:
    """Off loopback the cookie is for https only; over plain http nobody is signed in at all."""
    settings = site.world.vault.settings.model_copy(update={"app_url": AnyHttpUrl(app_url)})

    if is_private:
        sessions.begin(Response(), settings, tenant=None, key_id=None)
    else:
        with pytest.raises(SettingsError, match="https"):
            sessions.begin(Response(), settings, tenant=None, key_id=None)


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
    site: Site, tenant: Inhabited, headers: dict[str, str]
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

    assert [one.status_code for one in answers] == [403] * 6
    assert browser.get(PAGE).status_code == 200


def test_a_form_without_its_token_or_with_anothers_is_refused(
    site: Site, tenant: Inhabited
) -> None:
    browser, other = (signed_in(site, tenant.keys[Role.ADMIN]) for _ in range(2))
    stolen = token(other.get(PAGE))

    for form_token in ("", "x.y", stolen):
        form = {"form_token": form_token, "tenant": "acme"}
        headers = {"origin": site.url, "x-csrf-token": form_token}
        page = browser.post(f"{PAGE}/sync", data=form, headers=headers)
        script = browser.post(f"{ROUTES}/sync", json={}, headers=headers)

        assert (page.status_code, script.status_code) == (403, 403)


def test_a_session_acts_with_the_token_of_its_page(site: Site, tenant: Inhabited) -> None:
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
    assert "A sync of what changed waits" in page
    assert "Sync now" not in page  # it would only join what waits


def test_a_revoked_key_ends_its_sessions(site: Site, tenant: Inhabited) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    before = browser.get(PAGE).status_code
    site.world.execute("update integration.api_keys set revoked_at = now() where role = 'user'")

    pages = [browser.get(path) for path in ("/", PAGE)]

    assert before == 200
    assert [(one.status_code, one.headers["location"]) for one in pages] == [(303, "/login")] * 2
    assert browser.get(f"{ROUTES}/status").status_code == 401


def test_signing_out_forgets_the_cookie(site: Site, tenant: Inhabited) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    form = {"form_token": token(browser.get("/"))}

    browser.post("/logout", data=form, headers={"origin": site.url})

    assert "login" not in browser.cookies
    assert browser.get("/").headers["location"] == "/login"


def test_a_session_ends_after_a_working_day_and_with_the_operators_key(site: Site) -> None:
    """Nothing of a former key, nor of yesterday, opens anything."""
    settings = site.world.vault.settings
    answer = Response()
    sessions.begin(answer, settings, tenant=None, key_id=None)
    cookie = SimpleCookie(answer.headers["set-cookie"])["login"].value

    def of_browser(**changed: SecretStr) -> sessions.Session | None:
        from starlette.requests import Request

        scope = {"type": "http", "headers": [(b"cookie", f"login={cookie}".encode())]}
        return sessions.of_browser(Request(scope), settings.model_copy(update=changed))

    assert of_browser() is not None
    assert of_browser(operator_key=SecretStr("another")) is None
    with time_machine.travel("2099-01-01"):
        assert of_browser() is None


def test_the_operator_sees_every_tenant_and_names_one(site: Site, tenant: Inhabited) -> None:
    browser = signed_in(site, OPERATOR_KEY)

    listed = browser.get("/").text

    assert re.findall(r"tenant=(\w+)", listed) == ["acme", "bravo"]
    assert tenant.word in browser.get(f"{PAGE}?tenant=acme").text
    assert browser.get(f"{PAGE}?tenant=nobody").status_code == 404
    assert browser.get(f"{PAGE}?tenant=..%2F").status_code == 400


def test_a_tenants_session_cannot_name_another(site: Site, tenant: Inhabited) -> None:
    inhabited(site, "bravo", 2)
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    answer = browser.get(f"{PAGE}?tenant=bravo")

    assert answer.status_code == 403
    assert "word_of_bravo" not in answer.text


def test_a_wrong_key_is_told_and_guessing_is_limited(site: Site) -> None:
    headers = {"origin": site.url}

    answers = [
        site.browser().post("/login", data={"key": f"ppk_acme.{n}"}, headers=headers)
        for n in range(22)
    ]

    assert [one.status_code for one in answers] == [401] * 20 + [429] * 2
    assert "opens nothing" in answers[0].text
    assert "set-cookie" not in answers[0].headers


def test_a_hostile_name_is_only_text_on_a_page(site: Site, tenant: Inhabited) -> None:
    name = "<script>alert(1)</script>\"'>{{7*7}}"
    site.world.execute(
        "update integration.connections set company_name = %s, account_user_name = %s", name, name
    )
    site.world.execute(
        "update integration.sync_logs"
        " set errors = jsonb_build_array(jsonb_build_object('code', 'x', 'message', %s::text))",
        name,
    )
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    for page in (browser.get("/").text, browser.get(PAGE).text):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "{{7*7}}" in page


def test_the_api_page_names_every_route(site: Site) -> None:
    page = site.browser().get("/docs").text

    paths = site.client().get("/openapi.json").json()["paths"]
    assert len(paths) > 15
    assert all(path in page for path in paths)


def test_a_key_of_a_tenant_that_is_gone_opens_nothing(site: Site, tenant: Inhabited) -> None:
    browser = signed_in(site, tenant.keys[Role.USER])
    site.world.execute("delete from crm.customers where tenant_id = %s", tenant.tenant.slug)
    site.world.execute("delete from integration.tenants where slug = %s", Tenant("acme").slug)

    assert browser.get("/").headers["location"] == "/login"
