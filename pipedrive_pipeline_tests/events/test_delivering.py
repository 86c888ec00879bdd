"""Every event arrives, in order per record, signed, whatever the receiver does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from pipedrive_pipeline.marts.build import build
from pipedrive_pipeline.marts.erasure import erase_rows
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings
from pipedrive_pipeline.sync.events import queue, webhooks
from pipedrive_pipeline.sync.status.problems import open_problems
from pipedrive_pipeline.sync.tenancy import removal
from pipedrive_pipeline.vault.errors import WrongKey
from pipedrive_pipeline.vault.rotation import check_keys, rotate_keys
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.events.receivers import (
    FAILED,
    NEVER,
    OK,
    REDIRECT,
    EventReceiver,
    failing,
    hanging,
    lying,
    redirecting,
)
from pipedrive_pipeline_tests.events.world import (
    PATIENCE_SECONDS,
    QUICK,
    EventWorld,
    change_deals,
    check_order,
)
from pipedrive_pipeline_tests.marts.raw_tables import deal, organization
from pipedrive_pipeline_tests.sandbox.receiving import Delivery
from pipedrive_pipeline_tests.scenarios.receiver import receiver as alert_receiver
from pipedrive_pipeline_tests.waiting import wait_until
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

LONG_SECONDS = 1_500  # for forty thousand deliveries on a busy machine
HOSTILE = {"fails": failing, "redirects": redirecting, "hangs": hanging, "lies": lying}


def delivered_to_all(world: EventWorld, deals: int, rounds: int, loops: int) -> None:
    """Changes deals; receivers of every kind must get every change, in order."""
    with ExitStack() as stack:
        receivers = {
            name: stack.enter_context(world.receiver(ACME, behaviour, ["deal.*"]))
            for name, behaviour in HOSTILE.items()
        }
        change_deals(world.raw(ACME), deals, rounds)
        world.deliver_all(loops=loops, patience_seconds=LONG_SECONDS)
        for receiver, webhook in receivers.values():
            check_order(receiver, deals, rounds)
            assert world.webhook(webhook).state == "active"


@pytest.mark.slow
def test_receivers_that_fail_hang_redirect_and_lie_get_every_event(world: EventWorld) -> None:
    """300 changes; two loops share the queue."""
    delivered_to_all(world, deals=60, rounds=5, loops=2)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_ten_thousand_changes_reach_receivers_of_every_kind(world: EventWorld) -> None:
    delivered_to_all(world, deals=500, rounds=20, loops=2)


def environment_of(world: EventWorld) -> dict[str, str]:
    """The world's settings, for a process of its own."""
    settings = world.settings
    assert settings.database_url
    assert settings.token_encryption_keys
    names = {name.upper() for name in Settings.model_fields}
    return {
        **{name: value for name, value in os.environ.items() if name not in names},
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TOKEN_ENCRYPTION_KEYS": settings.token_encryption_keys[0].get_secret_value(),
        "PIPELINE_HOME": str(settings.pipeline_home),
        "EVENT_ALLOWED_HOSTS": "127.0.0.1",
    }


def killed_at_random(world: EventWorld, deals: int, rounds: int, kills: int) -> None:
    """Kills the process that delivers again and again, then lets one end the work."""
    dice = random.Random(3)  # noqa: S311
    environment = environment_of(world)
    command = [sys.executable, "-m", "pipedrive_pipeline_tests.events.deliverer"]
    with world.receiver(ACME, lying, ["deal.*"]) as (receiver, _):
        change_deals(world.raw(ACME), deals, rounds)
        for _kill in range(kills):
            arrived = partial(_has_more, receiver, len(receiver.taken_events))
            process = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT)
            try:
                wait_until(arrived, PATIENCE_SECONDS, every_seconds=0.001)
                time.sleep(dice.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
            finally:
                process.kill()
                process.wait()
        assert world.waiting() > 0  # else the kills came too late to prove anything
        world.deliver_all(patience_seconds=LONG_SECONDS)
        check_order(receiver, deals, rounds)


def _has_more(receiver: EventReceiver, than: int) -> bool:
    return len(receiver.taken_events) > than


@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_event_and_no_order(world: EventWorld) -> None:
    killed_at_random(world, deals=60, rounds=4, kills=2)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_process_that_is_killed_fifty_times_loses_nothing(world: EventWorld) -> None:
    killed_at_random(world, deals=400, rounds=15, kills=50)


@pytest.mark.slow
def test_the_process_that_serves_signals_delivers(world: EventWorld) -> None:
    """As `up` and a service manager start it, and as they end it."""
    command = [sys.executable, "-m", "pipedrive_pipeline", "serve-signals"]
    with world.receiver(ACME, types=["deal.*"]) as (receiver, _):
        change_deals(world.raw(ACME), deals=3, rounds=1)
        process = subprocess.Popen(command, env=environment_of(world), cwd=PROJECT_ROOT)
        try:
            wait_until(lambda: len(receiver.taken_events) == 3, PATIENCE_SECONDS)
            process.terminate()
            code = process.wait(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()

    assert code == 0
    assert world.waiting() == 0
    check_order(receiver, 3, 1)


@pytest.mark.slow
def test_a_receiver_that_hangs_delays_no_other(world: EventWorld) -> None:
    """Its attempts take a few places, of its own; the others' events arrive meanwhile."""
    patient = replace(QUICK, limits=replace(QUICK.limits, read_seconds=60, call_seconds=60))
    with (
        world.receiver(ACME, lambda _: (NEVER, True)) as (hung, _),
        world.receiver(BRAVO) as (other, _),
    ):
        for tenant in (ACME, BRAVO):
            change_deals(world.raw(tenant), deals=40, rounds=2)
        with world.delivering(patient):
            wait_until(lambda: len(other.taken_events) == 80, PATIENCE_SECONDS)
        check_order(other, 40, 2)

        assert len(hung.taken_events) == QUICK.of_webhook


def test_what_a_delivery_says(world: EventWorld) -> None:
    """The object of the API as it was then, its former values, and a signature for each secret."""
    with world.receiver(ACME, types=["deal.*"]) as (receiver, webhook):
        raw = world.raw(ACME)
        raw.load(deals=[deal(1)])
        build(world.warehouse, Scope(ACME, "pipedrive"))
        raw.load(deals=[deal(1, title="Renamed", value=7, status="won", probability=25)])
        build(world.warehouse, Scope(ACME, "pipedrive"))
        rotated = world.rotate(webhook, timedelta(hours=1))
        receiver.secrets.append(rotated.secret.get_secret_value())
        world.deliver_all()

    assert receiver.refused == []
    made, changed, won = (event for _, event in receiver.taken_events)
    assert [event["type"] for event in (made, changed, won)] == [
        "deal.created",
        "deal.updated",
        "deal.won",
    ]
    assert (made["tenant"], made["data"]["previous"]) == ("acme", {})
    assert made["data"]["record"]["title"] == "Deal 1"
    record = changed["data"]["record"]
    assert record["id"].startswith("deal_")
    assert (record["remote_id"], record["value"], record["probability"]) == ("1", 7, 0.25)
    assert changed["data"]["previous"] == {
        "title": "Deal 1",
        "value": 1200.5,
        "status": "open",
        "probability": None,
    }
    assert won["data"] == changed["data"]
    assert datetime.fromisoformat(changed["timestamp"]).utcoffset() == timedelta()


def test_a_new_encryption_key_seals_the_secrets_again(world: EventWorld) -> None:
    """Both: that of a webhook, and its former one."""
    new_key = SecretStr(Fernet.generate_key().decode())
    settings = world.settings
    assert settings.token_encryption_keys
    keys = (new_key, *settings.token_encryption_keys)
    both = replace(world, settings=settings.model_copy(update={"token_encryption_keys": keys}))
    only_new = replace(
        world, settings=settings.model_copy(update={"token_encryption_keys": (new_key,)})
    )
    with world.receiver(ACME) as (receiver, webhook):
        rotated = world.rotate(webhook, timedelta(hours=1))
        receiver.secrets.append(rotated.secret.get_secret_value())
        with pytest.raises(WrongKey):
            check_keys(open_vault(world.warehouse, only_new.settings))

        counts = rotate_keys(open_vault(world.warehouse, both.settings))

        change_deals(world.raw(ACME), 1, 1)
        only_new.deliver_all()
    assert counts.resealed_count == 2
    assert (len(receiver.taken_events), receiver.refused) == (1, [])


def test_a_secret_ends_when_its_time_is_over(world: EventWorld) -> None:
    """And at once, where it is rotated without an overlap."""
    with world.receiver(ACME) as (receiver, webhook):
        rotated = world.rotate(webhook, timedelta())
        (former,) = receiver.secrets
        receiver.secrets = [rotated.secret.get_secret_value()]
        change_deals(world.raw(ACME), 1, 1)
        world.deliver_all()
        assert (len(receiver.taken_events), receiver.refused) == (1, [])

        receiver.secrets = [former]
        change_deals(world.raw(ACME), 2, 1)
        with world.delivering():
            wait_until(lambda: bool(receiver.refused), PATIENCE_SECONDS)


@pytest.mark.slow
def test_a_webhook_that_fails_for_three_days_is_disabled_and_begins_again(
    world: EventWorld,
) -> None:
    """Nothing of it is lost: what waited is delivered once it is active."""
    with world.receiver(ACME, lambda _: (FAILED, False)) as (receiver, webhook):
        change_deals(world.raw(ACME), 3, 2)
        with world.delivering():
            wait_until(lambda: world.webhook(webhook).failing_since is not None, PATIENCE_SECONDS)
        assert world.webhook(webhook).state == "active"
        world.execute(
            "update integration.event_deliveries"
            " set first_attempt_at = now() - interval '3 days' where first_attempt_at is not null"
        )
        with world.delivering():
            wait_until(lambda: world.webhook(webhook).state == "disabled", PATIENCE_SECONDS)

        disabled = world.webhook(webhook)
        with world.warehouse.as_app(ACME) as connection:
            (problem,) = open_problems(connection, ACME)
        assert disabled.state_reason == "Events could not be delivered for too long; last: " + (
            disabled.last_failure or ""
        )
        assert (problem.kind, problem.subject, problem.count) == (
            "events",
            receiver.url.split("/")[2],
            6,
        )
        receiver.behaviour = lambda _: (OK, True)
        with world.warehouse.as_app(ACME) as connection:
            again = webhooks.change(
                connection, ACME, disabled, settings=world.settings, who="a test", state="active"
            )
        world.deliver_all()
        check_order(receiver, 3, 2)

    assert (again.state, again.state_reason, again.waiting) == ("active", None, 6)
    with world.warehouse.as_app(ACME) as connection:
        assert open_problems(connection, ACME) == []


@pytest.mark.slow
def test_a_receiver_that_says_it_is_gone_is_disabled_at_once_with_one_alert(
    world: EventWorld,
) -> None:
    """Nobody looks at a webhook that worked for a year: the alert must reach somebody."""
    gone = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
    with (
        alert_receiver() as (address, alerts),
        world.receiver(ACME, lambda _: (gone, False)) as (receiver, webhook),
    ):
        told = {"alert_urls": (SecretStr(address),)}
        alerted = replace(world, settings=world.settings.model_copy(update=told))
        change_deals(world.raw(ACME), 3, 1)
        with alerted.delivering():
            wait_until(lambda: world.webhook(webhook).state == "disabled", PATIENCE_SECONDS)

        reason = world.webhook(webhook).state_reason
    (alert,) = alerts
    assert reason == "The receiver says that it is gone (410)."
    assert alert["title"] == "acme: app_webhook_disabled, a person must act"
    assert f"The webhook {webhook.id} of an app is disabled: {reason}" in alert["message"]
    assert "Who must act: the app's developer." in alert["message"]
    assert receiver.url not in str(alert), "its path may be a secret"


def test_a_receiver_that_asks_for_a_pause_gets_it(world: EventWorld) -> None:
    busy = b"HTTP/1.1 429 Later\r\nretry-after: 1800\r\ncontent-length: 0\r\n\r\n"
    with world.receiver(ACME, lambda _: (busy, False)) as (_, webhook):
        change_deals(world.raw(ACME), 1, 1)
        with world.delivering():
            wait_until(lambda: world.webhook(webhook).last_failure is not None, PATIENCE_SECONDS)

        (row,) = world.rows("select resume_at from integration.app_webhooks")
    wait = row["resume_at"] - datetime.now(UTC)
    assert timedelta(minutes=29) < wait < timedelta(minutes=31)


def test_a_redirect_is_not_followed(world: EventWorld) -> None:
    with world.receiver(ACME, lambda _: (REDIRECT, False)) as (receiver, webhook):
        change_deals(world.raw(ACME), 1, 1)
        with world.delivering():
            wait_until(lambda: world.webhook(webhook).last_failure is not None, PATIENCE_SECONDS)

        assert world.webhook(webhook).last_failure == "it answered 307, a redirect"
    assert receiver.paths == {"/hook"}


def test_no_cookie_of_a_receiver_is_kept(world: EventWorld) -> None:
    """Two tenants may use one host."""
    sent: list[str | None] = []

    def remember(delivery: Delivery) -> bytes:
        sent.append(delivery.headers.get("cookie"))
        return b"HTTP/1.1 200 OK\r\nset-cookie: of=acme\r\ncontent-length: 0\r\n\r\n"

    with world.receiver(ACME) as (receiver, _):
        receiver.answer = remember  # type: ignore[method-assign]
        change_deals(world.raw(ACME), 1, 3)
        world.deliver_all()

    assert sent == [None, None, None]


def test_a_time_is_replayed_with_the_ids_it_had(world: EventWorld) -> None:
    with world.receiver(ACME) as (receiver, webhook):
        change_deals(world.raw(ACME), 2, 2)
        world.deliver_all()
        first = [message for message, _ in receiver.taken_events]
        world.execute(
            "update integration.record_events set recorded_at = now() - interval '2 hours'"
            " where id in (select min(id) from integration.record_events group by row_id)"
        )
        since = datetime.now(UTC) - timedelta(hours=3)
        with world.warehouse.as_app(ACME) as connection:
            count = queue.replay(
                connection,
                ACME,
                webhook.id,
                since=since,
                until=since + timedelta(hours=2),
                who="a test",
            )
        with world.warehouse.transaction(BRAVO) as connection:  # no policy hides the webhook here
            others = queue.replay(connection, BRAVO, webhook.id, since=since, who="a test")
        world.deliver_all()

    assert (count, others) == (2, 0)
    again = [message for message, _ in receiver.taken_events][len(first) :]
    assert sorted(again) == sorted(first[:2])


def test_events_are_kept_for_a_week(world: EventWorld) -> None:
    with world.receiver(ACME):
        change_deals(world.raw(ACME), 3, 1)
        world.execute(
            "update integration.record_events set recorded_at = now() - interval '8 days'"
            " where id = (select min(id) from integration.record_events)"
        )
        world.deliver_all()

    assert len(world.rows("select from integration.record_events")) == 2


def test_a_secret_that_cannot_be_read_stops_its_own_webhook_only(world: EventWorld) -> None:
    with world.receiver(ACME) as (_, broken), world.receiver(ACME) as (receiver, _):
        world.execute(
            "update integration.app_webhooks set secret = 'altered' where id = %s", broken.id
        )
        change_deals(world.raw(ACME), 3, 1)
        with world.delivering():
            wait_until(lambda: len(receiver.taken_events) == 3, PATIENCE_SECONDS)
            wait_until(lambda: world.webhook(broken).last_failure is not None, PATIENCE_SECONDS)

        assert world.webhook(broken).last_failure == "it could not be made; the log says why"


def test_a_record_that_is_erased_leaves_events_without_contents(world: EventWorld) -> None:
    """What waits is told as deleted, with nothing but the id."""
    customers = next(row for row in mart_sources("pipedrive") if row.name == "customers")
    scope = Scope(ACME, "pipedrive")
    with world.receiver(ACME) as (receiver, _):
        raw = world.raw(ACME)
        raw.load(organizations=[organization(1, name="Secret")], deals=[deal(1, org_id=1)])
        build(world.warehouse, scope)
        with world.warehouse.transaction(tenant=ACME) as connection:
            erase_rows(connection, scope, customers, ["1"])
        left = world.rows("select mart, record::text as record from integration.record_events")
        world.deliver_all()

    assert "Secret" not in repr(left)
    told: dict[str, Any] = {event["type"]: event["data"] for _, event in receiver.taken_events}
    assert set(told) == {"deal.created", "organization.deleted"}
    assert told["deal.created"]["record"]["org_id"] == "pipedrive:1"
    gone = told["organization.deleted"]["record"]
    assert (set(gone), gone["deletion_reason"]) == ({"id", "deletion_reason"}, "erased")


def test_a_tenant_that_is_removed_leaves_nothing(world: EventWorld) -> None:
    with world.receiver(ACME), world.receiver(BRAVO):
        change_deals(world.raw(ACME), 2, 1)
        change_deals(world.raw(BRAVO), 2, 1)
        removal.remove(world.warehouse, ACME, is_erasing=True, who="a test")

    for table in ("app_webhooks", "record_events", "event_deliveries"):
        rows = world.rows(f"select distinct tenant_id from integration.{table}")
        assert [row["tenant_id"] for row in rows] == ["bravo"]


@pytest.mark.slow
def test_a_receiver_that_works_again_gets_at_once_what_waits(world: EventWorld) -> None:
    """Failed events would wait for hours otherwise."""
    slow = replace(
        QUICK, retries=(timedelta(hours=1),), failures_before_pause=2, pause=timedelta(seconds=0.1)
    )
    with world.receiver(ACME, lambda _: (FAILED, False)) as (receiver, webhook):
        change_deals(world.raw(ACME), 2, 1)
        with world.delivering(slow):
            wait_until(
                lambda: (
                    world.rows("select failures from integration.app_webhooks")[0]["failures"] >= 2
                ),
                PATIENCE_SECONDS,
            )
            receiver.behaviour = lambda _: (OK, True)
            change_deals(world.raw(ACME), 3, 1)
            wait_until(lambda: world.webhook(webhook).waiting == 0, PATIENCE_SECONDS)

    assert isinstance(receiver, EventReceiver)
    assert {event["data"]["record"]["remote_id"] for _, event in receiver.taken_events} == set(
        "123"
    )
