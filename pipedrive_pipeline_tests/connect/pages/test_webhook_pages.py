"""The pages of an app's webhooks by HTTP: what they show, pause, make and send again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.pages.webhook_pages import time_span
from pipedrive_pipeline.sync.events import webhooks
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.forms import fields_of, signed_in
from pipedrive_pipeline_tests.vault.world import ACME

PAGE = "/webhooks"
BERLIN = ZoneInfo("Europe/Berlin")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
HOSTILE = "<svg onload=alert(1)> {{7*7}} نسخة"


@pytest.fixture
def admin(site: ConnectSite) -> httpx.Client:
    """An admin's browser; the tenant is connected."""
    site.world.connect_acme()
    return signed_in(site, Role.ADMIN)


def make(site: ConnectSite, description: str = "the shop") -> str:
    """The page of a new webhook."""
    vault = site.world.vault
    with vault.warehouse.as_app(ACME) as connection:
        new = webhooks.add(
            connection,
            ACME,
            url="https://app.example.com/secret-path",
            event_types=["deal.*"],
            description=description,
            settings=vault.settings,
            cipher=vault.cipher,
            who="an app",
        )
    return f"{PAGE}/{new.webhook.id}"


def record_events(site: ConnectSite, page: str, count: int) -> None:
    """Events of deals that were delivered, one each hour."""
    site.world.execute(
        "with event as (insert into integration.record_events"
        " (tenant_id, system, mart, row_id, type, record, recorded_at)"
        " select 'acme', 'pipedrive', 'deals', gen_random_uuid(), 'deal.won',"
        " '{\"name\": \"a secret\"}', now() - n * interval '1 hour' - interval '1 minute'"
        " from generate_series(0, %s - 1) as n returning id, tenant_id, row_id, recorded_at)"
        " insert into integration.event_deliveries"
        " (webhook_id, event_id, tenant_id, row_id, attempts, delivered_at, tries)"
        " select %s, id, tenant_id, row_id, 1, recorded_at, jsonb_build_array("
        "jsonb_build_object('at', recorded_at, 'status', 200, 'error', null, 'milliseconds', 7))"
        " from event",
        count,
        page.rpartition("/")[2],
    )


def send(browser: httpx.Client, page: str, act: str, **more: str) -> httpx.Response:
    """The answer to a form of a webhook's page."""
    action = f"{page}/{act}"
    return browser.post(action, data={**fields_of(browser.get(page).text, action), **more})


def shown_once(answer: httpx.Response) -> str:
    found = re.search(r'id="made" readonly value="([^"]*)"', answer.text)
    assert found
    return unescape(found.group(1))


def test_the_list_says_how_each_webhook_goes(site: ConnectSite, admin: httpx.Client) -> None:
    """By its host: the path may be a secret. Names stay text."""
    empty = admin.get(PAGE).text
    make(site, HOSTILE)
    new = admin.get(PAGE).text
    site.world.execute(
        "update integration.app_webhooks"
        " set failing_since = now(), last_failure = 'it answered 500'"
    )
    failing = admin.get(PAGE).text

    assert "No webhook yet" in empty
    assert "Nothing sent yet" in new
    assert "All webhooks work." in new
    assert "One webhook does not work." in failing
    assert "it answered 500" in failing
    assert "secret-path" not in failing
    assert "<svg onload" not in failing


def test_a_webhook_is_paused_and_goes_on(site: ConnectSite, admin: httpx.Client) -> None:
    page = make(site)
    pausing = send(admin, page, "state")
    paused = admin.get(pausing.headers["location"]).text

    resumed = admin.get(send(admin, page, "state").headers["location"]).text

    assert "The webhook is paused." in paused
    assert "Go on, send 0 events" in paused
    assert "The webhook goes on." in resumed
    actions = [row["action"] for row in site.world.rows("select action from integration.audit_log")]
    assert actions.count("app_webhook.change") == 2
    assert "changed a webhook of the app: <code>state</code>" in admin.get("/keys").text


def test_a_new_secret_is_shown_once_and_made_once(site: ConnectSite, admin: httpx.Client) -> None:
    """A reload sends the form again; the app would have a secret that is none any more."""
    page = make(site)
    action = f"{page}/secret"
    sent = fields_of(admin.get(page).text, action)
    first = admin.post(action, data=sent)
    again = admin.post(action, data=sent)

    secret = shown_once(first)
    with site.world.vault.warehouse.as_app(ACME) as connection:
        (webhook,) = webhooks.of_tenant(connection, ACME)
        newest, former = webhooks.secrets_of(connection, ACME, webhook.id, site.world.vault.cipher)

    assert (first.status_code, again.status_code) == (200, 303)
    assert secret == newest.get_secret_value() != former.get_secret_value()
    assert secret not in admin.get(page).text
    assert secret not in repr(site.world.rows("select * from integration.idempotency_keys"))
    assert "The former secret is valid until" in admin.get(page).text


def test_events_of_a_time_are_sent_again(site: ConnectSite, admin: httpx.Client) -> None:
    page = make(site)
    record_events(site, page, 5)
    since = f"{datetime.now(UTC) - timedelta(hours=2, minutes=30):%Y-%m-%dT%H:%M}"

    answer = admin.get(send(admin, page, "replay", since=since).headers["location"]).text
    waiting = admin.get(page, params={"show": "waiting"}).text

    assert "3 events are sent again." in answer
    assert waiting.count("<code>deal.won</code>") == 3
    assert "a secret" not in answer


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("", ""),
        ("tomorrow", ""),
        ("0001-01-01T00:00", ""),
        ("2026-11-02T00:00", "2026-11-01T00:00"),
    ],
)
def test_a_time_that_cannot_be_used_is_explained_and_stays(
    site: ConnectSite, admin: httpx.Client, since: str, until: str
) -> None:
    answer = send(admin, make(site), "replay", since=since, until=until)

    assert answer.status_code == 422
    assert "A time at which the events begin, before the one at which they end." in answer.text
    assert f'name="since" type="datetime-local" value="{since}"' in answer.text


def test_times_of_a_form_are_those_of_the_reader() -> None:
    first, last = time_span("2026-07-01T10:00", "2026-07-01T11:00", BERLIN)

    assert first == datetime(2026, 7, 1, 8, tzinfo=UTC)
    assert last == datetime(2026, 7, 1, 9, tzinfo=UTC)
    assert time_span("2026-12-01T10:00", "", BERLIN) == (datetime(2026, 12, 1, 9, tzinfo=UTC), None)


def test_the_log_has_pages(site: ConnectSite, admin: httpx.Client) -> None:
    page = make(site)
    record_events(site, page, 40)
    newest = admin.get(page).text
    before = re.search(r"before=(\d+)", newest)
    assert before

    older = admin.get(page, params={"before": before.group(1)}).text

    ids = re.findall(r"<code>(deal_[0-9a-f]{32})</code>", newest + older)
    assert len(ids) == len(set(ids)) == 40


@pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
def test_only_an_admin_sees_and_changes_webhooks(
    site: ConnectSite, admin: httpx.Client, role: Role
) -> None:
    page, other = make(site), signed_in(site, role)
    token = fields_of(other.get("/").text, "/logout")["form_token"]
    sent = {**fields_of(admin.get(page).text, f"{page}/state"), "form_token": token}

    statuses = [other.get(PAGE).status_code, other.get(page).status_code]
    statuses += [
        other.post(f"{page}/{act}", data={**sent, "since": "2026-11-01T00:00", "overlap": "24"})
        .status_code
        for act in ("state", "secret", "replay")
    ]  # fmt: skip

    assert statuses == [403] * 5
    assert "/webhooks" not in other.get("/").text


def test_a_webhook_of_another_tenant_is_not_there(site: ConnectSite, admin: httpx.Client) -> None:
    page = make(site)
    site.world.execute("update integration.app_webhooks set tenant_id = 'bravo'")
    token = fields_of(admin.get("/").text, "/logout")["form_token"]
    sent = {"form_token": token, "paused": "1", "since": "2026-11-01T00:00", "overlap": "24"}

    for address in (page, f"{PAGE}/{UNKNOWN}"):
        assert admin.get(address).status_code == 404
        for act in ("state", "secret", "replay"):
            assert admin.post(f"{address}/{act}", data=sent).status_code == 404
    assert "app.example.com" not in admin.get(PAGE).text
