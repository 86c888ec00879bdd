"""The way to a first read: what is said before the consent, the choice after it, and who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, ConnectSite
from pipedrive_pipeline_tests.connect.pages.signing_in import signed_in, submit, words
from pipedrive_pipeline_tests.scenarios.world import ACME, World
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

PAGE = "/integrations/pipedrive"
SAME = {"sec-fetch-site": "same-origin"}


def key_of(site: ConnectSite, role: Role = Role.ADMIN) -> str:
    with site.world.vault.warehouse.as_app(ACME) as connection:
        return keys.add(connection, ACME, role, "kirschweg", who="a test").text


@pytest.fixture
def admin(site: ConnectSite) -> httpx.Client:
    return signed_in(site, key_of(site))


def consented(browser: httpx.Client, address: str = f"{PAGE}/consent") -> httpx.Response:
    """The confirmation that a consent at the source leads to."""
    away = browser.get(address, headers=SAME)
    back = browser.get(away.headers["location"])
    browser.get(back.headers["location"])
    return browser.get(CONFIRM_PAGE)


def asked_for(site: ConnectSite) -> list[str]:
    return [row["sync_type"] for row in site.world.rows("select * from integration.sync_requests")]


def test_before_the_consent_a_page_says_what_is_read_and_what_never_happens(
    admin: httpx.Client,
) -> None:
    page = admin.get(f"{PAGE}/connect")

    text = words(page)
    assert "Organizations, Persons" in text
    assert "contacts:read" in text
    assert "Nothing is written to Pipedrive" in text
    assert f'href="{PAGE}/consent"' in page.text


def test_nothing_is_read_before_a_choice_and_the_choice_is_kept(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A read that begins at once would have read what the person did not want."""
    site.world.oauth.scope = "base,contacts:read,users:read,deals:read"
    page = consented(admin)
    confirmed = submit(admin, page, "/api/integrations/pipedrive/confirm")
    asked_before = asked_for(site)
    choose = admin.get(confirmed.headers["location"])

    started = submit(
        admin,
        choose,
        f"{PAGE}/choose",
        **{"entity.users": "yes", "entity.deals": "yes", "changes": "nightly"},
    )

    assert "Müller" in words(page)
    assert confirmed.headers["location"] == f"{PAGE}/choose"
    assert asked_before == []
    assert started.headers["location"] == PAGE
    assert asked_for(site) == ["full"]
    (row,) = site.world.rows(
        "select * from integration.sync_settings where tenant_id = 'acme' and system = 'pipedrive'"
    )
    assert {"pipelines", "stages", "notes"} <= set(row["entities_off"])
    assert not {"organizations", "users", "deals"} & set(row["entities_off"])
    assert row["near_real_time"] is False


def test_what_the_consent_lacks_cannot_be_chosen(site: ConnectSite, admin: httpx.Client) -> None:
    site.world.oauth.scope = "base,contacts:read,users:read"
    page = consented(admin)
    submit(admin, page, "/api/integrations/pipedrive/confirm")

    choose = admin.get(f"{PAGE}/choose").text

    assert "Not included in this consent:" in page.text
    assert 'name="entity.deals" value="yes" disabled' in choose
    assert 'name="entity.users" value="yes" checked aria' in choose
    assert 'name="entity.organizations" value="yes" checked disabled' in choose


def test_connecting_again_keeps_everything_and_asks_for_no_choice(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """Also with more rights: only the changes are read."""
    submit(admin, consented(admin), "/api/integrations/pipedrive/confirm")
    site.world.execute(
        "insert into integration.runs (tenant_id, system, sync_type, trigger, status, completed_at)"
        " values ('acme', 'pipedrive', 'full', 'connect', 'success', now())"
    )
    site.world.execute(
        "insert into integration.run_entities"
        " (tenant_id, run_id, system, entity, started_at, status)"
        " select tenant_id, id, system, 'organizations', started_at, 'complete'"
        " from integration.runs"
    )
    start = admin.get(f"{PAGE}/connect")

    confirmed = submit(admin, consented(admin), "/api/integrations/pipedrive/confirm")
    landed = admin.get(confirmed.headers["location"])

    assert "Everything read so far stays" in words(start)
    assert landed.headers["location"] == PAGE
    assert asked_for(site) == ["incremental"]


def test_the_operator_walks_the_same_way_for_a_tenant(site: ConnectSite) -> None:
    """The tenant stays in the address from page to page."""
    browser = signed_in(site, OPERATOR_KEY)
    page = consented(browser, f"{PAGE}/consent?tenant=acme")

    confirmed = submit(browser, page, "/api/integrations/pipedrive/confirm")
    choose = browser.get(confirmed.headers["location"])
    started = submit(browser, choose, f"{PAGE}/choose")

    assert confirmed.headers["location"] == f"{PAGE}/choose?tenant=acme"
    assert started.headers["location"] == f"{PAGE}?tenant=acme"
    assert asked_for(site) == ["full"]


def test_a_link_leads_to_a_confirmation_and_no_further(site: ConnectSite) -> None:
    """Who has no key connects and nothing else; the read begins by itself."""
    browser = site.browser()
    site.consented(browser, OAuthCompany(is_admin=False))
    page = browser.get(CONFIRM_PAGE)

    confirmed = submit(browser, page, "/api/integrations/pipedrive/confirm")
    done = browser.get(confirmed.headers["location"])

    assert "This user cannot see everything." in words(page)
    assert 'value="choose"' not in page.text
    assert "You can close this page." in words(done)
    assert asked_for(site) == ["full"]
    assert browser.get(f"{PAGE}/choose").headers["location"] == "/login"


def test_a_link_says_who_asks_for_what_before_it_leads_to_the_source(site: ConnectSite) -> None:
    """Its reader has no key and may not know us; nothing happens before they press the button."""
    site.world.execute("update integration.tenants set display_name = %s", "<b>Kirschweg</b>")
    browser, link = site.browser(), site.link()

    page = browser.get(link, headers={"sec-fetch-mode": "navigate"})
    begun = site.world.rows("select from integration.oauth_states")
    away = browser.get(f"{link}?go=true", headers={"sec-fetch-mode": "navigate"})

    text = words(page)
    assert page.status_code == 200
    assert "operator asks you to let Connect read Pipedrive for &lt;b&gt;Kirschweg" in text
    assert "Organizations, Persons" in text
    assert "The link works once, until" in text
    assert 'href="?go=true"' in page.text
    assert begun == []
    assert away.headers["location"].startswith(site.world.oauth.url)


@pytest.mark.parametrize("path", ["connect", "choose", "disconnect"])
def test_only_an_admin_connects(path: str, site: ConnectSite) -> None:
    manager = signed_in(site, key_of(site, Role.MANAGER))

    assert manager.get(f"{PAGE}/{path}").status_code == 403
    assert urlsplit(site.browser().get(f"{PAGE}/{path}").headers["location"]).path == "/login"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(20, 30)) as running:
        yield running


def test_the_price_is_asked_for_and_added_up_for_what_is_chosen(
    site: ConnectSite, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The page is there at once; the source is asked by a part that loads after it."""
    vault = site.world.vault
    world = World(vault.warehouse, vault.settings.model_copy(update={"pipeline_home": tmp_path}))
    world.connect(ACME, sandbox)
    admin = signed_in(site, key_of(site))
    calls = len(sandbox.requests)
    plain = admin.get(f"{PAGE}/choose")
    calls_of_page = len(sandbox.requests) - calls

    priced = admin.get(f"{PAGE}/choose", params={"priced": "true"})
    sums = [
        words(
            admin.get(
                f"{PAGE}/choose/sum",
                params={
                    "entity.users": "yes",
                    "prices": f"persons:{tokens},users:2,user_fields:x",
                    "counts": "persons:30",
                },
            )
        )
        for tokens in (40, 4_000)
    ]

    assert (plain.status_code, priced.status_code) == (200, 200)
    assert "Pipedrive is being asked for rows and tokens" in words(plain)
    assert 'class="asked"' in plain.text
    assert 'class="asked"' not in priced.text
    assert calls_of_page == 0
    assert len(sandbox.requests) > calls
    assert "persons:" in priced.text
    assert "42" in sums[0]
    assert "4,002" in sums[1]
