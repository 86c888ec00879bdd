"""The first page: the operator's tenants, a tenant's systems, and another tenant."""

from __future__ import annotations

import re

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.pages.home import suggested_slug
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.signing_in import signed_in, submit, words
from pipedrive_pipeline_tests.connect.pages.troubles import (
    ARABIC,
    EVIL,
    revoked_tenant,
    troubled_tenant,
)
from pipedrive_pipeline_tests.connect.tenants import filled_tenant
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

MANY = """
insert into integration.tenants (slug, display_name)
select 'many_' || n, 'Company ' || n from generate_series(1, 60) as n
"""


@pytest.fixture
def operator(site: ConnectSite) -> httpx.Client:
    """The operator's browser; acme has problems, bravo must be connected again."""
    troubled_tenant(site)
    revoked_tenant(site)
    return signed_in(site, OPERATOR_KEY)


def listed(page: httpx.Response) -> list[str]:
    """The ids of the tenants of a page, in order."""
    return re.findall(r'<span class="sub"><code>(\w+)</code>', page.text)


def test_tenants_that_need_a_person_come_first_with_the_reason(
    site: ConnectSite, operator: httpx.Client
) -> None:
    site.world.execute(MANY)

    page = operator.get("/")

    text = words(page)
    assert listed(page)[:2] == ["acme", "bravo"]
    assert len(listed(page)) == 25
    assert "2 of 62 tenants need a person." in text
    assert "Pipedrive: the consent no longer holds" in text
    assert "Pipedrive: A disk is full and 7 more" in text
    assert "Never connected 60" in text


def test_tenants_are_found_by_a_part_of_their_name_by_state_and_page(
    site: ConnectSite, operator: httpx.Client
) -> None:
    site.world.execute(MANY)
    ask = operator.get

    assert listed(ask("/?q=MANY_59")) == ["many_59"]
    assert listed(ask("/?q=company 60")) == ["many_60"]
    assert listed(ask("/?state=person")) == ["acme", "bravo"]
    assert listed(ask("/?system=pipedrive&sort=name")) == ["acme", "bravo"]
    assert len(listed(ask("/?page=3"))) == 12
    assert "51–62 of 62" in words(ask("/?page=3"))
    assert "No tenant matches" in words(ask(f"/?q={EVIL}"))
    assert "alert(1)>" not in ask(f"/?q={EVIL}").text


@pytest.mark.parametrize("name", [EVIL, ARABIC, "D" * 300, "a\u202eb"])
def test_names_from_outside_are_inert_and_isolated(
    site: ConnectSite, operator: httpx.Client, name: str
) -> None:
    """Markup is text, and a name that runs from right to left does not turn its neighbours."""
    site.world.execute("update integration.tenants set display_name = %s", name)

    pages = [operator.get(path) for path in ("/", "/?tenant=acme", "/problems")]

    for page in pages:
        assert page.status_code == 200
        assert "<svg onload" not in page.text
        assert "49" not in words(page).split()
        assert "<bdi>" in page.text


def test_the_operator_adds_a_tenant_and_comes_to_its_page(
    site: ConnectSite, operator: httpx.Client
) -> None:
    form = operator.get("/tenants/new")
    fields = {"name": "Müller & Söhne GmbH", "slug": "", "time_zone": "Europe/Berlin"}

    answer = submit(operator, form, "/tenants", **fields)
    again = submit(operator, form, "/tenants", **fields)
    wrong = submit(operator, form, "/tenants", name="x", slug="No Id", time_zone="Europe/Berlin")
    nowhere = submit(operator, form, "/tenants", name="x", slug="x", time_zone="Mars/Base")

    assert answer.headers["location"] == "/?tenant=mueller_soehne_gmbh"
    page = operator.get(answer.headers["location"])
    assert "Müller &amp; Söhne GmbH" in page.text
    assert "Connect Pipedrive" in words(page)
    assert [bad.status_code for bad in (again, wrong, nowhere)] == [422] * 3
    assert "This id is in use already" in words(again)
    assert 'value="No Id"' in wrong.text
    assert len(site.world.rows("select from integration.tenants")) == 3


def test_a_tenants_own_key_adds_no_tenant(site: ConnectSite) -> None:
    tenant = filled_tenant(site, "acme", 1)
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    answers = [
        browser.get("/tenants/new"),
        submit(browser, browser.get("/"), "/tenants", name="Evil", time_zone="Europe/Berlin"),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert len(site.world.rows("select from integration.tenants")) == 2


@pytest.mark.parametrize(
    ("change", "english", "german"),
    [
        ("state = 'connected'", "Complete", "Vollständig"),
        ("state = 'needs_reauth', state_reason = 'uninstalled'",
         "The app was uninstalled in the account.", "Die App wurde im Konto deinstalliert."),
        ("state = 'disconnected', access_token = null, refresh_token = null", "Disconnected",
         "Getrennt"),
    ],
)  # fmt: skip
def test_each_system_has_its_state_in_words(
    site: ConnectSite, change: str, english: str, german: str
) -> None:
    tenant = filled_tenant(site, "acme", 1)
    site.world.execute(f"update integration.connections set {change}")

    for language, text in (("en", english), ("de", german)):
        page = signed_in(site, tenant.keys[Role.ADMIN], language).get("/")

        assert text in words(page)
        assert "HubSpot" in words(page)


def test_a_tenant_that_never_connected_sees_the_next_step_and_a_reader_whom_to_ask(
    site: ConnectSite,
) -> None:
    tenant = filled_tenant(site, "acme", 1)
    site.world.execute("delete from integration.connections")

    of_admin, of_reader = (
        words(signed_in(site, tenant.keys[role]).get("/")) for role in (Role.ADMIN, Role.USER)
    )

    assert "Connect Pipedrive" in of_admin
    assert "takes about 2 minutes" in of_admin
    assert "Connect Pipedrive" not in of_reader
    assert "An admin of your company can connect it." in of_reader


def test_the_reader_chooses_the_language_and_the_browser_remembers_it(site: ConnectSite) -> None:
    browser = site.client({"accept": "text/html", "accept-language": "de"})
    by_browser = browser.get("/login")

    chosen = browser.get("/login?lang=en")
    later = browser.get("/login")

    assert '<html lang="de">' in by_browser.text
    assert [page.text.count('<html lang="en">') for page in (chosen, later)] == [1, 1]


def test_a_name_gives_an_id_that_tables_can_have() -> None:
    assert suggested_slug("Müller & Söhne GmbH") == "mueller_soehne_gmbh"
    assert suggested_slug("3M Deutschland") == "m_deutschland"
    assert suggested_slug("مؤسسة") == ""
