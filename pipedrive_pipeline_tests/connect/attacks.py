"""Attacks on a consent, each by its name: what a forger sends, and nothing about what must follow.

The names follow RFC 9700 and OWASP's ASVS 5.0; each function returns the answer to the attack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.oauth_server import CLIENT_ID, CLIENT_SECRET
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY, settings_for

Attack = Callable[[ConnectSite], httpx.Response]
ATTACKS: dict[str, Attack] = {}
CALLBACK = f"{ROUTES}/callback"
CONFIRM = f"{ROUTES}/confirm"
NOTICE = {"client_id": CLIENT_ID, "company_id": 7654321, "user_id": 11}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def come_back(browser: httpx.Client, site: ConnectSite, **changed: Any) -> httpx.Response:
    """An honest callback, with one difference; None leaves a parameter out."""
    params = {"state": site.sent_off(browser), "code": site.world.oauth.consent(), **changed}
    return browser.get(CALLBACK, params={k: v for k, v in params.items() if v is not None})


# --- the state


@attack
def state_made_up(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state="made-up.signature")


@attack
def state_missing(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state=None)


@attack
def state_empty(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state="")


@attack
def state_signed_with_another_key(site: ConnectSite) -> httpx.Response:
    other = settings_for("postgresql://x", site.world.oauth)
    return come_back(site.browser(), site, state=signing.signed(other, "oauth-state", "a"))


@attack
def state_well_signed_but_never_issued(site: ConnectSite) -> httpx.Response:
    """A leaked key alone is not enough."""
    state = signing.signed(site.world.vault.settings, "oauth-state", signing.fresh())
    return come_back(site.browser(), site, state=state)


@attack
def state_used_before(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state = site.sent_off(browser)
    browser.get(CALLBACK, params={"state": state, "error": "user_denied"})
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def state_too_old(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state = site.sent_off(browser)
    site.world.execute("update integration.oauth_states set expires_at = now()")
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def state_stolen_from_another_browser(site: ConnectSite) -> httpx.Response:
    state = site.sent_off(site.browser())
    thief = site.browser()
    site.sent_off(thief)
    return thief.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def login_csrf_with_the_attackers_code(site: ConnectSite) -> httpx.Response:
    """The victim's browser opens the attacker's finished callback address."""
    state = site.sent_off(site.browser())
    victim = site.browser()
    return victim.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def state_given_twice(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state, code = site.sent_off(browser), site.world.oauth.consent()
    return browser.get(f"{CALLBACK}?state={state}&state=x&code={code}")


@attack
def state_with_a_character_more(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state = site.sent_off(browser) + "A"
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def state_of_ten_thousand_characters(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state="a" * 10_000)


@attack
def state_with_a_nul(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state="a\x00b")


@attack
def state_with_a_line_break(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, state="a\r\nset-cookie: x=y")


@attack
def state_that_is_a_link(site: ConnectSite) -> httpx.Response:
    """Signed by us, for another purpose."""
    secret = site.link().rpartition("/")[2]
    return come_back(site.browser(), site, state=secret)


@attack
def state_of_another_system(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    params = {"state": site.sent_off(browser), "code": site.world.oauth.consent()}
    return browser.get("/api/integrations/hubspot/callback", params=params)


# --- the code, and the source's refusal


@attack
def error_instead_of_a_code(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, code=None, error="access_denied")


@attack
def error_and_a_code(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, error="user_denied")


@attack
def error_with_a_script(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, error="<script>alert(1)</script>")


@attack
def code_missing(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, code=None)


@attack
def code_empty(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, code="")


@attack
def code_of_ten_thousand_characters(site: ConnectSite) -> httpx.Response:
    return come_back(site.browser(), site, code="c" * 10_000)


@attack
def code_given_twice(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    return browser.get(f"{CALLBACK}?state={site.sent_off(browser)}&code=a&code=b")


# --- the session


@attack
def session_cookie_removed(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state = site.sent_off(browser)
    browser.cookies.clear()
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def session_cookie_altered(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state, cookie = site.sent_off(browser), browser.cookies["connect"]
    browser.cookies.clear()
    browser.cookies.set("connect", ("B" if cookie[0] == "A" else "A") + cookie[1:])
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def session_planted_before_the_consent(site: ConnectSite) -> httpx.Response:
    """Session fixation: what was planted must not be the session that the consent belongs to."""
    attacker = site.browser()
    site.sent_off(attacker)
    planted = attacker.cookies["connect"]
    victim = site.browser()
    victim.cookies.set("connect", planted)
    state = site.sent_off(victim)
    return attacker.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


@attack
def session_cookie_of_six_thousand_characters(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    state = site.sent_off(browser)
    browser.cookies.clear()
    browser.cookies.set("connect", "a" * 6_000)
    return browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})


# --- the one-time link


@attack
def link_used_twice(site: ConnectSite) -> httpx.Response:
    """Two browsers open one link; the first consent uses it up."""
    link = site.link()
    first, second = site.browser(), site.browser()
    states = [site.state_of(browser.get(link)) for browser in (first, second)]
    first.get(CALLBACK, params={"state": states[0], "error": "user_denied"})
    return second.get(CALLBACK, params={"state": states[1], "code": site.world.oauth.consent()})


@attack
def link_opened_after_its_use(site: ConnectSite) -> httpx.Response:
    link, browser = site.link(), site.browser()
    state = site.state_of(browser.get(link))
    browser.get(CALLBACK, params={"state": state, "error": "user_denied"})
    return site.browser().get(link)


@attack
def link_made_up(site: ConnectSite) -> httpx.Response:
    return site.browser().get("/connect/made-up.signature")


@attack
def link_too_old(site: ConnectSite) -> httpx.Response:
    link = site.link()
    site.world.execute("update integration.connect_links set expires_at = now()")
    return site.browser().get(link)


@attack
def link_with_a_path_in_it(site: ConnectSite) -> httpx.Response:
    return site.browser().get("/connect/..%2f..%2fetc%2fpasswd")


# --- the operator's routes


def _bare(site: ConnectSite, **headers: str) -> httpx.Response:
    return site.client(headers).post(f"{ROUTES}/connect-link")


@attack
def operator_without_a_key(site: ConnectSite) -> httpx.Response:
    return _bare(site, **{"x-tenant": "acme"})


@attack
def operator_with_a_wrong_key(site: ConnectSite) -> httpx.Response:
    return _bare(site, **{"x-tenant": "acme", "authorization": f"Bearer {OPERATOR_KEY}x"})


@attack
def operator_with_an_empty_key(site: ConnectSite) -> httpx.Response:
    return _bare(site, **{"x-tenant": "acme", "authorization": "Bearer", "x-api-key": ""})


@attack
def operator_with_a_key_beyond_ascii(site: ConnectSite) -> httpx.Response:
    key = "schlüssel".encode()
    headers = [(b"x-api-key", key), (b"x-tenant", b"acme")]
    return site.client().post(f"{ROUTES}/connect-link", headers=headers)


@attack
def operator_with_the_key_in_the_address(site: ConnectSite) -> httpx.Response:
    return site.client().post(f"{ROUTES}/connect-link?api_key={OPERATOR_KEY}&tenant=acme")


@attack
def operator_without_a_tenant(site: ConnectSite) -> httpx.Response:
    return _bare(site, authorization=f"Bearer {OPERATOR_KEY}")


@attack
def tenant_with_sql_in_it(site: ConnectSite) -> httpx.Response:
    return site.operator("acme'; drop schema crm cascade; --").post(f"{ROUTES}/connect-link")


@attack
def tenant_that_does_not_exist(site: ConnectSite) -> httpx.Response:
    return site.operator("nobody").post(f"{ROUTES}/connect-link")


@attack
def disconnect_with_a_browsers_session(site: ConnectSite) -> httpx.Response:
    browser = site.browser()
    site.sent_off(browser)
    return browser.delete(f"{ROUTES}/disconnect")


@attack
def disconnect_by_get(site: ConnectSite) -> httpx.Response:
    return site.operator().get(f"{ROUTES}/disconnect")


@attack
def disconnect_by_method_override(site: ConnectSite) -> httpx.Response:
    headers = {"x-http-method-override": "DELETE"}
    return site.operator().post(f"{ROUTES}/disconnect?_method=DELETE", headers=headers)


# --- the uninstall notice


def _notice(site: ConnectSite, **more: Any) -> httpx.Response:
    given = {"json": NOTICE, "auth": (CLIENT_ID, CLIENT_SECRET), **more}
    return site.client().request("DELETE", CALLBACK, **given)


@attack
def notice_without_credentials(site: ConnectSite) -> httpx.Response:
    return _notice(site, auth=None)


@attack
def notice_with_a_wrong_secret(site: ConnectSite) -> httpx.Response:
    return _notice(site, auth=(CLIENT_ID, "wrong"))


@attack
def notice_with_the_operators_key(site: ConnectSite) -> httpx.Response:
    return _notice(site, auth=None, headers={"authorization": f"Bearer {OPERATOR_KEY}"})


@attack
def notice_with_broken_base64(site: ConnectSite) -> httpx.Response:
    return _notice(site, auth=None, headers={"authorization": "Basic %%%"})


@attack
def notice_for_another_app(site: ConnectSite) -> httpx.Response:
    return _notice(site, json={**NOTICE, "client_id": "another"})


@attack
def notice_with_an_object_for_an_id(site: ConnectSite) -> httpx.Response:
    return _notice(site, json={**NOTICE, "company_id": {"$gt": 0}})


@attack
def notice_with_a_nul_in_an_id(site: ConnectSite) -> httpx.Response:
    return _notice(site, json={**NOTICE, "company_id": "7654321\x00"})


@attack
def notice_with_a_list_for_a_user(site: ConnectSite) -> httpx.Response:
    return _notice(site, json={**NOTICE, "user_id": [11]})


@attack
def notice_that_is_no_json(site: ConnectSite) -> httpx.Response:
    return _notice(site, json=None, content=b"{")


@attack
def notice_nested_a_hundred_thousand_deep(site: ConnectSite) -> httpx.Response:
    return _notice(site, json=None, content=b"[" * 60_000)


@attack
def notice_of_a_megabyte(site: ConnectSite) -> httpx.Response:
    return _notice(site, json=None, content=b" " * 1_000_000)
