"""The page of keys, links and the audit log by HTTP."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.pages.forms import fields_of, signed_in
from pipedrive_pipeline_tests.connect.tenants import client_with
from pipedrive_pipeline_tests.vault.world import ACME

PAGE = "/keys"
HOSTILE = "<svg onload=alert(1)> {{7*7}} نسخة"


@pytest.fixture
def admin(site: ConnectSite) -> httpx.Client:
    """An admin's browser; the tenant is connected."""
    site.world.connect_acme()
    return signed_in(site, Role.ADMIN)


def make(browser: httpx.Client, name: str, **more: str) -> httpx.Response:
    """The answer to the form of a new key."""
    sent = {**fields_of(browser.get(PAGE).text, PAGE), "name": name, "role": "user", **more}
    return browser.post(PAGE, data=sent)


def shown_once(answer: httpx.Response) -> str:
    """The text of the key or link that was just made."""
    found = re.search(r'id="made" readonly value="([^"]*)"', answer.text)
    assert found
    return unescape(found.group(1))


def test_a_key_is_made_named_and_shown_once(site: ConnectSite, admin: httpx.Client) -> None:
    answer = make(admin, HOSTILE, expires="90")

    text = shown_once(answer)
    assert client_with(site, text).get("/api/integrations").status_code == 200
    assert text not in admin.get(PAGE).text
    assert "<svg onload" not in answer.text
    assert "<bdi>&lt;svg onload=alert(1)&gt; {{7*7}} نسخة</bdi>" in answer.text
    row = next(row for row in answer.text.split('<tr role="row">') if "<bdi>&lt;svg" in row)
    assert "reads" in row
    assert "New" in row


def test_the_form_of_a_key_sent_again_makes_no_second_one(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A reload sends the form again; the key would be shown twice, and one forgotten."""
    sent = {**fields_of(admin.get(PAGE).text, PAGE), "name": "once only", "role": "user"}
    first = admin.post(PAGE, data=sent)

    second = admin.post(PAGE, data=sent)

    assert (first.status_code, second.status_code) == (200, 303)
    rows = site.world.rows("select name from integration.api_keys where name = 'once only'")
    assert len(rows) == 1


def test_a_name_that_cannot_be_used_is_explained_and_stays(admin: httpx.Client) -> None:
    answer = make(admin, "a\u0007b")

    assert answer.status_code == 422
    assert "A name has 1 to 100 visible characters." in answer.text


def test_revoking_asks_first_and_ends_the_key(site: ConnectSite, admin: httpx.Client) -> None:
    """Nothing is destroyed by one click."""
    text = shown_once(make(admin, "reporting"))
    with site.world.vault.warehouse.as_app(ACME) as connection:
        key = next(each for each in keys.of_tenant(connection, ACME) if each.name == "reporting")
    address = f"{PAGE}/{key.id}/revoke"
    asked = admin.get(address)
    still = client_with(site, text).get("/api/integrations").status_code

    admin.post(address, data=fields_of(asked.text, address))

    assert "Revoke the key “<bdi>reporting</bdi>”?" in asked.text
    assert still == 200
    assert client_with(site, text).get("/api/integrations").status_code == 401
    page = admin.get(PAGE).text
    assert "One key that no longer works" in page
    assert "revoked the key “<bdi>reporting</bdi>”" in page


def test_an_admin_is_told_that_a_key_is_the_one_in_use(
    site: ConnectSite, admin: httpx.Client
) -> None:
    with site.world.vault.warehouse.as_app(ACME) as connection:
        (own,) = keys.of_tenant(connection, ACME)

    asked = admin.get(f"{PAGE}/{own.id}/revoke").text

    assert "you will be signed out" in asked
    assert "you are signed in with it" in admin.get(PAGE).text


def test_a_link_is_made_for_a_week_followed_and_withdrawn(
    site: ConnectSite, admin: httpx.Client
) -> None:
    address = f"{PAGE}/links"
    sent = fields_of(admin.get(PAGE).text, address)
    url = shown_once(admin.post(address, data={**sent, "minutes": "10080"}))
    before = admin.get(PAGE).text
    followed = site.browser().get(url)
    after = admin.get(PAGE).text
    (link,) = admin.get(f"{ROUTES}/connect-links").json()["data"]
    withdraw = f"{address}/{link['id']}/withdraw"

    admin.post(withdraw, data=fields_of(after, withdraw))

    assert "Not opened" in before
    assert url.rpartition("/")[2] not in before
    assert followed.status_code == 302
    assert "Opened, not finished" in after
    assert "No link is open" in admin.get(PAGE).text
    assert site.browser().get(url).status_code == 400


def test_the_audit_log_says_in_words_who_did_what_and_has_pages(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """Settings by their names, never a value that may be secret."""
    admin.put(
        f"{ROUTES}/sync-config",
        json={"everyHours": 6},
        headers={"x-csrf-token": fields_of(admin.get(PAGE).text, PAGE)["form_token"]},
    )
    site.world.execute(
        "insert into integration.audit_log (who, tenant_id, action, subject, at)"
        " select '<svg onload=alert(1)>', 'acme', 'something.new', 'part ' || number,"
        " now() - number * interval '1 hour' from generate_series(1, 40) as number"
    )
    newest = admin.get(PAGE).text
    before = re.search(r"/keys\?before=(\d+)", newest)
    assert before

    older = admin.get(PAGE, params={"before": before.group(1)}).text

    assert "changed settings: <code>every_hours</code>" in newest
    assert "<svg onload" not in newest
    listed = [
        int(part) for part in re.findall(r"something\.new</code>: part (\d+)", newest + older)
    ]
    assert listed == sorted(set(listed))
    assert max(listed) == 40
    assert len(older) < 100_000


@pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
def test_only_an_admin_sees_keys_and_makes_them(
    site: ConnectSite, admin: httpx.Client, role: Role
) -> None:
    other = signed_in(site, role)
    page = other.get(PAGE)
    sent = {
        **fields_of(admin.get(PAGE).text, PAGE),
        "form_token": fields_of(other.get("/").text, "/logout")["form_token"],
        "name": "mine",
        "role": "admin",
    }

    refused = other.post(PAGE, data=sent)

    assert (page.status_code, refused.status_code) == (403, 403)
    assert "Keys and audit" not in other.get("/").text
