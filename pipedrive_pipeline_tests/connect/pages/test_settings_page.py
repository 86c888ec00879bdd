"""The settings page by HTTP: what its form saves, what it asks first, what it explains."""

from __future__ import annotations

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy import configuration
from pipedrive_pipeline.sync.tenancy.configuration import SyncConfig
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.pages.forms import fields_of, signed_in
from pipedrive_pipeline_tests.vault.world import ACME, OPERATOR_KEY

PAGE = "/integrations/pipedrive/settings"
SLACK = "slack://aaaaaaaaa/bbbbbbbbb/cccccccccccccccccccccccc"


@pytest.fixture
def admin(site: ConnectSite) -> httpx.Client:
    """An admin's browser; the tenant is connected and has the default settings."""
    site.world.connect_acme()
    return signed_in(site, Role.ADMIN)


def form(browser: httpx.Client) -> dict[str, str]:
    return fields_of(browser.get(PAGE).text, PAGE)


def saved(site: ConnectSite) -> SyncConfig:
    with site.world.vault.warehouse.as_app(ACME) as connection:
        return configuration.read(connection, site.world.vault.cipher, Scope(ACME, "pipedrive"))


def test_a_form_that_is_sent_as_it_is_changes_no_setting(
    site: ConnectSite, admin: httpx.Client
) -> None:
    before = saved(site)

    answer = admin.post(PAGE, data=form(admin))

    assert answer.status_code == 303
    assert saved(site) == before


def test_every_setting_of_the_api_has_its_place_in_the_form(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A setting that only a program can change is none for a tenant's admin."""
    changed = {
        **form(admin),
        "sync_time": "04:30",
        "time_zone": "Asia/Kolkata",
        "every_hours": "6",
        "sweep_every_hours": "168",
        "budget_share": "12,5",
        "daily_token_budget": "9000",
        "alert_urls": f"{SLACK}\n",
        "cycle:notes": "24",
        "read:notes": "1",
        "write:deals": "1",
    }
    for flag in ("auto_sync", "incremental_sync", "sync_custom_fields", "read:persons"):
        changed.pop(flag, None)

    answer = admin.post(PAGE, data=changed)

    assert answer.status_code == 303
    facts = saved(site).facts()
    defaults = SyncConfig().facts()
    expected = {"sync_time": "04:30", "time_zone": "Asia/Kolkata", "every_hours": 6}
    expected |= {"sweep_every_hours": 168, "budget_share": 0.125, "daily_token_budget": 9_000}
    assert {name: facts[name] for name in expected} == expected
    assert "persons" in facts["entities_off"]
    assert "notes" not in facts["entities_off"]
    assert facts["entity_cycles"]["notes"] == 24
    assert facts["alert_urls"] == ["slack://***"]
    assert facts["writes_allowed"] == ["deals"]
    same = {name for name, value in facts.items() if value == defaults[name]}
    assert same <= {"erase_deleted_after_days", "near_real_time"}
    shown = admin.get(PAGE).text
    assert "aaaaaaaaa" not in shown
    assert "No sync is planned." in shown


def test_definitions_of_fields_are_read_with_their_records(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """Who switches deals on expects their custom fields, and knows of no definitions."""
    before = saved(site).entities_off

    admin.post(PAGE, data={**form(admin), "read:deals": "1"})

    assert {"deals", "deal_fields", "deal_products"} <= set(before)
    assert {"deals", "deal_fields", "deal_products"} & set(saved(site).entities_off) == {
        "deal_products"
    }


def test_a_kind_whose_right_is_missing_says_so(site: ConnectSite, admin: httpx.Client) -> None:
    """Switching it on alone would read nothing."""
    site.world.execute("update integration.connections set scopes = '{base,contacts:read}'")

    rows = admin.get(PAGE).text.split('<tr role="row">')

    missing = {
        name: "Missing right" in row
        for name in ("persons", "deals")
        for row in rows
        if f'name="read:{name}"' in row
    }
    assert missing == {"persons": False, "deals": True}


def test_the_next_three_times_are_written_out(admin: httpx.Client) -> None:
    times = admin.get(f"{ROUTES}/sync-config/next").json()["data"]["at"]

    text = admin.get(PAGE).text

    assert len(times) == 3
    assert all(f'datetime="{at[:19]}Z"' in text for at in times)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("budget_share", "150", "Above 0 and at most 100."),
        ("budget_share", "much", "Above 0 and at most 100."),
        ("time_zone", "Europe/Nowhere", "A time zone such as Europe/Berlin."),
        ("sync_time", "25:00", "A time from 00:00 to 23:59."),
        ("daily_token_budget", "-1", "A whole number above 0, or nothing."),
        ("alert_urls", "https://127.0.0.1/x", "One of the addresses cannot be used"),
        ("alert_urls", "<svg onload=alert(1)>", "At most ten addresses"),
    ],
)
def test_a_value_that_cannot_be_meant_is_explained_below_its_field(
    site: ConnectSite, admin: httpx.Client, name: str, value: str, reason: str
) -> None:
    """Nothing is saved, and what was typed stays."""
    before = saved(site)

    answer = admin.post(PAGE, data={**form(admin), name: value, "every_hours": "6"})

    assert answer.status_code == 422
    assert reason in answer.text
    assert "<svg onload" not in answer.text
    typed = fields_of(answer.text, PAGE)
    assert (typed[name].strip(), typed["every_hours"]) == (value, "6")
    assert saved(site) == before


def test_erasing_deleted_records_is_asked_with_their_number_first(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """One click must not erase what cannot be brought back."""
    site.world.execute(
        "insert into crm.customers"
        " (tenant_id, system, remote_id, name, deleted_at, deletion_reason) values"
        " ('acme', 'pipedrive', '1', 'a', now() - interval '40 days', 'deleted'),"
        " ('acme', 'pipedrive', '2', 'b', now() - interval '40 days', 'invisible'),"
        " ('acme', 'pipedrive', '3', 'c', now(), 'deleted')"
    )
    asked = admin.post(PAGE, data={**form(admin), "erase_deleted_after_days": "30"})
    unchanged = saved(site).erase_deleted_after_days
    confirmed = admin.post(PAGE, data=fields_of(asked.text, PAGE))
    longer = admin.post(PAGE, data={**form(admin), "erase_deleted_after_days": "90"})

    assert "One row is of a record that was deleted long enough ago" in asked.text
    assert "Save and erase one row" in asked.text
    assert unchanged is None
    assert confirmed.status_code == 303
    assert longer.status_code == 303  # erases less than before
    assert saved(site).erase_deleted_after_days == 90


def test_the_second_of_two_admins_is_told_and_overwrites_nothing(
    site: ConnectSite, admin: httpx.Client
) -> None:
    sent = {**form(admin), "every_hours": "6"}
    admin.post(PAGE, data={**form(admin), "budget_share": "10"})

    told = admin.post(PAGE, data=sent)
    again = admin.post(PAGE, data=fields_of(told.text, PAGE) | {"budget_share": "10"})

    assert told.status_code == 409
    assert "somebody else changed these settings meanwhile" in told.text
    assert again.status_code == 303
    assert (saved(site).budget_share, saved(site).every_hours) == (0.1, 6)


def test_a_test_of_the_alerts_says_what_became_of_it(admin: httpx.Client) -> None:
    token = form(admin)["form_token"]

    answer = admin.post(f"{PAGE}/test-alert", data={"form_token": token})

    text = admin.get(answer.headers["location"].partition("#")[0]).text
    assert "There is no address of your own to send a test to." in text


def test_times_are_shown_in_the_zone_that_the_browser_chose(admin: httpx.Client) -> None:
    token = form(admin)["form_token"]
    before = admin.get(PAGE).text

    admin.post(f"{PAGE}/display", data={"form_token": token, "zone": "Asia/Kolkata"})
    chosen = admin.get(PAGE).text
    admin.post(f"{PAGE}/display", data={"form_token": token, "zone": "no/zone"})

    assert "Kolkata (UTC+5:30)" in chosen
    assert "Kolkata (UTC" not in before
    assert "Kolkata (UTC" not in admin.get(PAGE).text


def test_a_manager_sees_the_settings_and_changes_none(
    site: ConnectSite, admin: httpx.Client
) -> None:
    manager = signed_in(site, Role.MANAGER)
    text = manager.get(PAGE).text
    sent = {**form(admin), "form_token": fields_of(text, "/logout")["form_token"]}

    refused = manager.post(PAGE, data={**sent, "every_hours": "6"})

    assert "<fieldset disabled>" in text
    assert "an admin may change them" in text
    assert refused.status_code == 403
    assert saved(site).every_hours is None


def test_the_operator_saves_settings_of_a_tenant(site: ConnectSite) -> None:
    """Also through the page that asks first."""
    operator = site.client({"accept": "text/html", "accept-language": "en", "origin": site.url})
    operator.post("/login", data={"key": OPERATOR_KEY})
    page = operator.get(PAGE, params={"tenant": "acme"}).text

    asked = operator.post(PAGE, data={**fields_of(page, PAGE), "erase_deleted_after_days": "30"})
    done = operator.post(PAGE, data=fields_of(asked.text, PAGE))

    assert "Save" in asked.text
    assert done.status_code == 303
    assert "tenant=acme" in done.headers["location"]
    assert saved(site).erase_deleted_after_days == 30
