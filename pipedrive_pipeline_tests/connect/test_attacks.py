"""Named attacks: each refused with a 4xx, no call to the token endpoint, and nothing changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from pipedrive_pipeline_tests.connect.attacks import ATTACKS, CALLBACK, CONFIRM, come_back
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault import oauth_server
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany

CANARIES = ("canary-client-secret", "canary-operator-key")
HOSTILE_DOMAINS = [
    "http://127.0.0.2:9",
    "http://[::1]:9",
    "https://169.254.169.254/latest/meta-data",
    "https://2130706433",
    "https://0x7f000001",
    "https://017700000001",
    "https://x.pipedrive.com.evil.example",
    "https://evil.example#.pipedrive.com",
    "https://evil.example?.pipedrive.com",
    "https://evil.example\\.pipedrive.com",
    "https://acme.pipedrive.com@evil.example",
    "https://127.0.0.1@evil.example",
    "https://pipedrіve.com",  # a Cyrillic letter
    "ftp://127.0.0.1",
    "javascript:alert(1)",
    "//evil.example",
    "",
]
OPEN_REDIRECTS = [
    "//evil.example",
    "/\\evil.example",
    "https:evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/%0d%0alocation:%20https://evil.example",
]


def test_there_are_more_than_forty_named_attacks() -> None:
    assert len(ATTACKS) >= 40


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_without_a_token_call(site: ConnectSite, name: str) -> None:
    """And with a connection that worked before, which must still work after."""
    site.world.connect_acme()
    before = site.world.row()

    answer = ATTACKS[name](site)

    assert 400 <= answer.status_code < 500
    assert site.world.oauth.calls == []
    assert site.world.row() == before
    assert site.world.rows("select pending_grants.id from integration.pending_grants") == []
    assert not any(canary in answer.text for canary in CANARIES)
    assert "Traceback" not in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("api_domain", HOSTILE_DOMAINS)
def test_a_token_answer_cannot_send_the_token_elsewhere(site: ConnectSite, api_domain: str) -> None:
    """Server-side request forgery by the one host name that comes from outside."""
    site.world.oauth.api_domain = api_domain or "https://"

    answer = come_back(site.browser(), site)

    assert answer.status_code == 422
    assert site.world.oauth.calls == ["exchange"]
    assert site.world.rows("select pending_grants.id from integration.pending_grants") == []


@pytest.mark.parametrize("where", ["redirects_me_to", "redirects_token_to"])
def test_a_redirect_is_not_followed_with_a_secret(site: ConnectSite, where: str) -> None:
    """Neither the client's secret nor the token reaches the host that was pointed to."""
    with oauth_server.running() as foreign:
        setattr(site.world.oauth, where, f"{foreign.url}/v1/users/me")

        answer = come_back(site.browser(), site)

    assert answer.status_code in {400, 502}
    assert foreign.calls == []
    assert site.world.rows("select pending_grants.id from integration.pending_grants") == []


@pytest.mark.parametrize("target", OPEN_REDIRECTS)
def test_nothing_in_a_request_chooses_where_the_browser_goes(
    site: ConnectSite, target: str
) -> None:
    """There is no `next`: the source and our own page are the only two places."""
    browser = site.browser()
    away = browser.get(site.link(), params={"next": target, "redirect_uri": target})
    back = come_back(browser, site, next=target, redirect_uri=target)

    assert away.headers["location"].startswith(f"{site.world.oauth.url}/oauth/authorize?")
    assert "evil" not in away.headers["location"]
    assert back.headers["location"] == CONFIRM_PAGE


def test_a_spoofed_host_does_not_appear_in_a_link(site: ConnectSite) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    link = site.operator().post(f"{ROUTES}/connect-link", headers=headers).json()["data"]["url"]

    assert urlsplit(link).netloc == urlsplit(site.url).netloc


@pytest.mark.parametrize(
    ("changed", "headers"),
    [
        ({"form_token": ""}, {}),
        ({"form_token": "made.up"}, {}),
        ({"grant": "00000000-0000-0000-0000-000000000000"}, {}),
        ({"grant": "' or true --"}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"origin": "null"}),
        ({}, {"sec-fetch-site": "cross-site"}),
        ({}, {"sec-fetch-site": "same-site"}),
        ({}, {"sec-fetch-site": "cross-site", "origin": "null"}),
        ({}, {"sec-fetch-site": "same-origin", "origin": "https://evil.example"}),
        ({}, {"cookie": ""}),
        ({}, {"x-api-key": "wrong", "x-tenant": "acme"}),
    ],
    ids=[
        "no-token",
        "forged-token",
        "other-grant",
        "sql",
        "origin",
        "null-origin",
        "cross-site",
        "same-site",
        "sandboxed-frame",
        "contradiction",
        "no-session",
        "wrong-key",
    ],
)
def test_a_confirmation_that_our_page_did_not_send_is_refused(
    site: ConnectSite, changed: dict[str, str], headers: dict[str, str]
) -> None:
    """Cross-site request forgery of the one click that makes a connection."""
    browser = site.browser()
    site.consented(browser)

    answer = browser.post(CONFIRM, data={**site.form(browser), **changed}, headers=headers)

    assert answer.status_code in {401, 403, 404}
    assert site.world.row()["state"] == "pending"


def test_one_browser_cannot_confirm_the_consent_of_another(site: ConnectSite) -> None:
    victim, attacker = site.browser(), site.browser()
    site.consented(victim)
    site.consented(attacker, OAuthCompany(id=99, name="Evil Ltd"))
    form = {**site.form(attacker), "grant": site.form(victim)["grant"]}

    answer = attacker.post(CONFIRM, data=form)

    assert answer.status_code == 404
    assert site.world.row()["state"] == "pending"


def test_a_confirmation_is_not_given_by_get(site: ConnectSite) -> None:
    browser = site.browser()
    site.consented(browser)

    answer = browser.get(CONFIRM, params=site.form(browser))

    assert answer.status_code == 405
    assert site.world.row()["state"] == "pending"


def test_a_form_sent_twice_connects_once(site: ConnectSite) -> None:
    browser = site.browser()
    site.consented(browser)
    form = site.form(browser)
    browser.post(CONFIRM, data=form)

    assert browser.post(CONFIRM, data=form).status_code == 404
    assert site.world.row()["generation"] == 1


def test_hostile_names_are_shown_and_do_nothing(site: ConnectSite) -> None:
    """A company's name is a stranger's text."""
    names = ["<svg onload=alert(1)>", "{{7*7}}", "</title><script>x</script>", '" onclick="x']
    for name in names:
        browser = site.browser()
        site.consented(browser, OAuthCompany(id=5, name=name, user_name=name))

        page = browser.get(CONFIRM_PAGE).text

        assert name.replace("{{7*7}}", "") not in page or name == "{{7*7}}"
        assert "<svg onload" not in page  # our own icons are drawn, too
        assert "<script" not in page
        assert ">49<" not in page


def test_guessing_is_slowed_down(site: ConnectSite) -> None:
    """After twenty failures of one address nothing of it is looked at for a while."""
    client = site.client()
    answers = [
        client.get(CALLBACK, params={"state": f"guess.{n}", "code": "x"}).status_code
        for n in range(25)
    ]

    assert answers[:20] == [400] * 20
    assert answers[20:] == [429] * 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [{"sec-purpose": "prefetch;prerender"}, {"user-agent": "Slackbot-LinkExpanding 1.0"}, {}],
    ids=["prefetch", "preview", "anybody"],
)
def test_a_preview_of_a_link_does_not_use_it_up(site: ConnectSite, headers: dict[str, str]) -> None:
    """Chat programs and mail filters open every link that they carry."""
    link = site.link()
    for _ in range(30):
        site.client().get(link, headers=headers)
    browser = site.browser()

    state = site.state_of(browser.get(link))
    landed = browser.get(CALLBACK, params={"state": state, "code": site.world.oauth.consent()})

    assert (landed.status_code, landed.headers["location"]) == (303, CONFIRM_PAGE)
    stored = site.world.rows("select count(*) as states from integration.oauth_states")
    assert stored[0]["states"] < 20  # previews are bounded


def test_a_link_gives_one_consent_even_to_two_browsers_at_once(site: ConnectSite) -> None:
    link = site.link()
    browsers = [site.browser() for _ in range(4)]
    states = [site.state_of(browser.get(link)) for browser in browsers]

    def come_back_with(pair: tuple[httpx.Client, str]) -> int:
        browser, state = pair
        params = {"state": state, "code": site.world.oauth.consent()}
        return browser.get(CALLBACK, params=params).status_code

    with ThreadPoolExecutor(len(browsers)) as threads:
        answers = list(threads.map(come_back_with, zip(browsers, states, strict=True)))

    assert sorted(answers) == [303, 400, 400, 400]


def test_the_maker_of_a_link_cannot_confirm_the_company_that_it_brought(site: ConnectSite) -> None:
    """Consent phishing: a victim consents, closes the page, and the attacker's key says yes."""
    victim, attacker = site.browser(), site.operator()
    site.consented(victim, OAuthCompany(id=99, name="Victim Ltd"))

    answer = attacker.post(CONFIRM, json={})
    form = attacker.post(CONFIRM, data={"grant": site.form(victim)["grant"]})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "nothing_to_confirm"
    assert form.status_code == 404
    assert site.world.row()["state"] == "pending"
    assert victim.post(CONFIRM, data=site.form(victim)).status_code == 303
    assert site.world.row()["company_id"] == "99"


def test_opening_a_link_or_auth_changes_no_connection(site: ConnectSite) -> None:
    """A GET that another site or a preview causes must leave the tenant as it is."""
    site.browser().get(site.link())
    site.operator().get(f"{ROUTES}/auth")

    assert site.world.rows("select state from integration.connections") == []
    assert site.operator().get(f"{ROUTES}/status").json()["data"]["state"] == "disconnected"
