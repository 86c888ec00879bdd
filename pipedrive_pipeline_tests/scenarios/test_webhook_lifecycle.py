"""A webhook's life: made, checked, made again, removed; and the syncs that close its gaps.

A real Connect app receives what the sandbox sends; no event is made up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import AnyHttpUrl, SecretStr

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy import configuration
from pipedrive_pipeline.sync.webhooks import gaps, lifecycle, rows
from pipedrive_pipeline.sync.webhooks.conditions import app_url
from pipedrive_pipeline.sync.webhooks.live_status import Liveness, alert, near_real_time
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.connect.browser import running_app
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World
from pipedrive_pipeline_tests.waiting import free_port

SCOPE = Scope(ACME, SYSTEM)
BRAVO = Tenant("bravo")


@dataclass(frozen=True)
class Near:
    """A connected tenant, its sandbox, and a Connect app that the sandbox can reach."""

    world: World
    sandbox: Sandbox
    app: Any

    def at(self, url: str) -> Near:
        """The same with another address of the Connect app."""
        settings = self.world.settings.model_copy(update={"app_url": AnyHttpUrl(url)})
        return replace(self, world=replace(self.world, settings=settings))

    def look(self, tenant: Tenant = ACME) -> None:
        """What the sensor does with a due webhook."""
        lifecycle.look_at(self.world.warehouse, self.world.settings, Scope(tenant, SYSTEM))

    def due(self) -> list[Scope]:
        """Whose webhook is due for a look."""
        url = app_url(self.world.settings)
        return rows.due(self.world.warehouse, [SYSTEM], url, limit=10)

    def state(self, tenant: Tenant = ACME) -> Liveness:
        """What status and pages show."""
        with self.world.warehouse.transaction() as connection:
            (state,) = near_real_time(connection, tenant)
        return state

    def here(self, tenant: Tenant = ACME) -> dict[str, Any]:
        """The webhook as stored."""
        (row,) = self.world.rows("integration", "webhooks", tenant=tenant)
        return row

    def there(self) -> list[str]:
        """The addresses of the source's active webhooks."""
        return [each.url for each in self.sandbox.webhooks.active()]

    def edit(self) -> None:
        """An edit at the source, and its delivery."""
        organization = next(self.sandbox.truth("organizations"))
        name = f"{organization['name']} neu"
        self.sandbox.account.edit("organizations", organization["id"], name=name)
        assert self.sandbox.webhooks.settled()

    def signals(self) -> list[str]:
        """The entities of the waiting signals."""
        return [row["entity"] for row in self.world.rows("integration", "signals", "entity")]

    def syncs(self) -> list[str]:
        """What the syncs that webhooks requested were requested for."""
        gaps.request_syncs(self.world.warehouse)
        requests = self.world.rows("integration", "sync_requests", "requested_at")
        return [row["requested_by"] for row in requests if row["trigger"] == "webhook"]

    def forget_syncs(self) -> None:
        """As if every requested sync had ended."""
        gaps.request_syncs(self.world.warehouse)
        self.execute("update integration.sync_requests set state = 'done', settled_at = now()")

    def execute(self, statement: str) -> None:
        """A statement on the control tables."""
        with self.world.warehouse.transaction() as connection:
            connection.execute(statement.encode())

    def want(self, *, is_wanted: bool) -> None:
        """Saves the tenant's setting."""
        vault = open_vault(self.world.warehouse, self.world.settings)
        with self.world.warehouse.transaction(ACME) as connection:
            configuration.save(
                connection,
                vault.cipher,
                SCOPE,
                {"near_real_time": is_wanted},
                settings=self.world.settings,
                who="a test",
            )


@pytest.fixture
def near(world: World, sandbox: Sandbox) -> Iterator[Near]:
    with running_app(open_vault(world.warehouse, world.settings)) as (url, app):
        yield Near(world, sandbox, app).at(url)


@pytest.fixture
def live(near: Near) -> Near:
    """With a webhook, and nothing requested."""
    near.look()
    near.forget_syncs()
    return near


@pytest.mark.slow
def test_a_connected_tenant_gets_a_webhook_that_delivers(near: Near) -> None:
    due_before = near.due()
    near.look()
    near.edit()

    assert (due_before, near.due()) == ([SCOPE], [])
    assert len(near.there()) == 1
    assert near.signals() == ["organizations"]
    # At once, although the receiver notes arrivals by webhook every few seconds.
    assert near.state().words().startswith("live, last event ")


def test_a_sync_finds_what_changed_before_the_webhook_was_there(near: Near) -> None:
    """The first read may have passed a record already; one that has not begun will not."""
    near.look()
    while_queued = near.syncs()
    near.execute("delete from integration.webhooks")
    near.execute("update integration.sync_requests set state = 'running'")
    near.look()

    assert while_queued == []
    assert near.syncs() == ["near real time: the webhook was made"]


def test_a_second_look_changes_nothing(live: Near) -> None:
    before = live.here()
    live.look()
    after = live.here()

    assert len(live.there()) == 1
    assert after["id"] == before["id"]
    assert after["checked_at"] > before["checked_at"]
    assert live.syncs() == []


@pytest.mark.slow
def test_a_webhook_that_is_gone_is_made_again_and_a_sync_finds_what_was_missed(live: Near) -> None:
    """Pipedrive deletes a webhook after three days of failures, without a word."""
    live.sandbox.webhooks.remove(live.sandbox.webhooks.active()[0].id, "deleted by a person")
    live.look()
    live.edit()

    assert live.signals() == ["organizations"]
    assert live.syncs() == [
        "near real time: the webhook was missing at the source and was made again"
    ]


@pytest.mark.slow
def test_a_banned_webhook_is_made_again(live: Near) -> None:
    """Ten events that failed at once: the source sends nothing for half an hour."""
    with live.world.warehouse.transaction() as connection:
        connection.execute("update integration.webhooks set password_hash = repeat('0', 64)")
    for _ in range(11):
        live.edit()
    live.look()
    live.edit()

    assert live.signals() == ["organizations"]
    assert "made again: the last delivery" in live.syncs()[0]
    assert live.here()["next_check_at"] - live.here()["checked_at"] == timedelta(hours=1)


@pytest.mark.slow
def test_failures_after_that_are_alerted_once_and_so_is_their_end(live: Near) -> None:
    with receiver() as (address, arrived):
        alerted = live.world.settings.model_copy(update={"alert_urls": (SecretStr(address),)})

        def tell() -> None:
            alert(live.world.warehouse, alerted, [live.state()])

        for _ in range(2):
            live.execute("update integration.webhooks set password_hash = repeat('0', 64)")
            live.edit()
            live.look()
        tell()
        tell()
        failing = live.state()
        live.sandbox.webhooks.remove(live.sandbox.webhooks.active()[0].id, "deleted by a person")
        live.look()
        tell()

    assert failing.state == "failing"
    assert "cannot deliver" in str(failing.trouble)
    titles = [one["title"] for one in arrived]
    assert titles == ["acme: near_real_time, a person must act", "acme: works again"]


@pytest.mark.slow
def test_an_address_that_the_source_cannot_reach_is_a_trouble(near: Near) -> None:
    """And the next look, at an app that answers, ends it."""
    closed = near.at(f"http://127.0.0.1:{free_port()}")
    closed.look()
    closed.look()
    failing = closed.state()
    near.look()

    assert failing.state == "failing"
    assert "APP_URL" in str(failing.trouble)
    assert near.state().state == "live"
    assert len(near.there()) == 1


def test_a_webhook_of_a_process_that_died_is_not_left_beside_another(live: Near) -> None:
    """It died after the source had made the webhook, and before that was stored."""
    stray = live.there()
    live.execute("update integration.webhooks set state = 'making', remote_id = null")
    live.execute("update integration.webhooks set next_check_at = now()")

    assert live.due() == [SCOPE]
    live.look()
    assert len(live.there()) == 1
    assert live.there() != stray


@pytest.mark.slow
def test_tenants_of_one_company_have_a_webhook_each(live: Near) -> None:
    """The list of the company has both; neither may take the other's for a stray."""
    live.world.connect(BRAVO, live.sandbox)
    live.look(BRAVO)
    live.look()
    live.edit()

    assert len(live.there()) == 2
    signals = live.world.rows("integration", "signals", "tenant_id")
    assert [row["tenant_id"] for row in signals] == ["acme", "bravo"]


@pytest.mark.slow
def test_a_webhook_of_another_program_is_left_alone(live: Near) -> None:
    with httpx.Client(base_url=live.sandbox.url) as client:
        address = f"{app_url(live.world.settings)}/healthz"
        body = {"subscription_url": address, "event_action": "*", "event_object": "*", "name": "x"}
        headers = {"x-api-token": live.sandbox.api_token}
        made = client.post("/v1/webhooks", json=body, headers=headers)
    live.look()
    lifecycle.remove(live.world.warehouse, live.world.settings, SCOPE)

    assert made.status_code == 201
    assert live.there() == [address]


@pytest.mark.slow
def test_another_address_of_the_app_gets_a_new_webhook(live: Near) -> None:
    with running_app(open_vault(live.world.warehouse, live.world.settings)) as (url, _):
        moved = live.at(url)
        due = moved.due()
        moved.look()
        moved.edit()

        assert due == [SCOPE]
        assert [address.startswith(url) for address in moved.there()] == [True]
        assert moved.signals() == ["organizations"]
        assert "address of the Connect app changed" in moved.syncs()[0]


@pytest.mark.slow
def test_a_tenant_that_does_not_want_it_has_no_webhook(live: Near) -> None:
    live.want(is_wanted=False)
    due = live.due()
    live.look()
    off, row, there = live.state(), live.here(), live.there()
    live.want(is_wanted=True)
    live.look()

    assert due == [SCOPE]
    assert (off.state, there, row["token_hash"]) == ("off", [], None)
    assert "switched off" in str(off.reason)
    assert live.state().state == "live"


@pytest.mark.parametrize(
    "url", ["http://connect.example.com", "https://10.0.0.7", "https://connect", "http://10.0.0.7"]
)
def test_an_address_that_is_not_public_gets_no_webhook(near: Near, url: str) -> None:
    unreachable = near.at(url)
    unreachable.look()

    assert unreachable.there() == []
    assert unreachable.state().state == "off"
    assert "APP_URL" in str(unreachable.state().reason)


@pytest.mark.slow
def test_a_disconnect_removes_the_webhook_and_closes_its_address(live: Near) -> None:
    (address,) = live.there()
    lifecycle.disconnect(open_vault(live.world.warehouse, live.world.settings), SCOPE, who="a test")

    assert live.there() == []
    assert live.world.rows("integration", "webhooks") == []
    assert httpx.post(address, json={}).status_code == 404


@pytest.mark.slow
def test_a_disconnect_works_although_the_source_refuses_the_token(live: Near) -> None:
    """The webhook stays there, sends to an address that opens nothing, and the source gives up."""
    live.sandbox.grants.api_tokens.clear()
    lifecycle.disconnect(open_vault(live.world.warehouse, live.world.settings), SCOPE, who="a test")
    live.edit()

    assert len(live.there()) == 1
    assert live.world.rows("integration", "webhooks") == []
    assert live.signals() == []


def test_a_silence_longer_than_the_source_repeats_is_closed_by_a_sync(live: Near) -> None:
    gaps.note_alive(live.world.warehouse)
    live.execute("update integration.receiver set alive_at = now() - interval '10 minutes'")
    live.app.state.services.deliveries.store(live.world.warehouse)
    live.app.state.services.deliveries.store(live.world.warehouse)

    (reason,) = live.syncs()
    assert reason.startswith("near real time: no events could be received since ")
    assert live.syncs() == [reason], "once"
    assert live.due() == [SCOPE], "the source may have paused"


@pytest.mark.slow
def test_after_a_short_silence_a_sync_finds_what_a_pause_of_the_source_lost(live: Near) -> None:
    """Ten events that failed at once: Pipedrive sends none for half an hour, and tells nobody."""
    live.edit()
    live.app.state.services.deliveries.store(live.world.warehouse)
    live.execute("update integration.receiver set alive_at = now() - interval '4 seconds'")
    live.app.state.services.deliveries.store(live.world.warehouse)
    at_once, row, words = live.syncs(), live.here(), live.state().words()
    live.execute("update integration.webhooks set paused_until = now()")

    assert at_once == []
    assert "may send nothing until" in words
    assert timedelta(minutes=29) < row["paused_until"] - row["last_event_at"]
    (reason,) = live.syncs()
    assert "sent nothing for a while" in reason
    assert live.syncs() == [reason], "once"


@pytest.mark.slow
def test_after_the_restart_of_the_app_the_webhook_is_looked_at_within_ten_minutes(
    live: Near,
) -> None:
    """What the source could not deliver meanwhile is at its webhook; making it again helps."""
    live.edit()
    live.app.state.services.deliveries.store(live.world.warehouse)
    for checked in ("1 minute", "11 minutes"):
        live.execute(
            "update integration.webhooks set next_check_at = now() + interval '1 day',"
            f" checked_at = now() - interval '{checked}'"
        )
        live.execute("update integration.receiver set alive_at = now() - interval '4 seconds'")
        live.app.state.services.deliveries.store(live.world.warehouse)
        due_in = live.here()["next_check_at"] - datetime.now(UTC)
        assert due_in < timedelta(minutes=9), checked

    assert live.due() == [SCOPE]


@pytest.mark.slow
def test_the_sync_after_a_pause_is_not_put_off_by_later_silences(live: Near) -> None:
    """A receiver that is short of processor time is silent again and again."""
    live.edit()
    live.app.state.services.deliveries.store(live.world.warehouse)
    until = []
    for _ in range(2):
        live.execute("update integration.receiver set alive_at = now() - interval '4 seconds'")
        live.app.state.services.deliveries.store(live.world.warehouse)
        until.append(live.here()["paused_until"])
    live.execute("update integration.webhooks set remote_id = '0'")  # it is missing there
    live.look()

    assert until[0] == until[1] is not None
    assert live.here()["paused_until"] is None, "a new webhook ends a pause"


@pytest.mark.slow
def test_a_receiver_that_notes_late_that_it_is_alive_needs_no_sync(live: Near) -> None:
    live.edit()
    live.execute("update integration.receiver set alive_at = now() - interval '1 second'")
    live.app.state.services.deliveries.store(live.world.warehouse)

    assert live.here()["paused_until"] is None
    assert live.syncs() == []
