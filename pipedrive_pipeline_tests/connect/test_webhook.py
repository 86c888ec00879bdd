"""Events at the receiver, over HTTP: stored once, answered quickly, and nothing for a forger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.webhooks.lifecycle import USER
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.hooks import Hook, hook_of
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE

BRAVO = Tenant("bravo")
BRAVOS_COMPANY = OAuthCompany(id=777, name="Bravo Ltd")
SIGNALS = "select tenant_id, entity, remote_id from integration.signals order by 1, 2, 3"
EVENTS = "select tenant_id, event_key from integration.webhook_events order by 1, 2"
WEBHOOK = "select * from integration.webhooks where tenant_id = %s"
REFUSALS = "select tenant_id, refusals from integration.refusals where code = 'webhook_refused'"


@pytest.fixture
def hook(site: ConnectSite) -> Hook:
    return hook_of(site, ACME, OAuthCompany())


@pytest.fixture
def at_most_ten_events(site: ConnectSite) -> Iterator[None]:
    """Of each webhook in ten minutes, so that a busy machine changes nothing."""
    deliveries = site.app.state.services.deliveries
    usual = deliveries.events_per_window, deliveries.window_seconds
    deliveries.events_per_window, deliveries.window_seconds = 10, 600
    yield
    deliveries.events_per_window, deliveries.window_seconds = usual


def stored(site: ConnectSite, query: str = SIGNALS) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in site.world.rows(query)]


def refusals(site: ConnectSite) -> dict[str | None, int]:
    site.store_refusals()
    return {row["tenant_id"]: row["refusals"] for row in site.world.rows(REFUSALS)}


def test_an_event_is_stored_before_it_is_answered(site: ConnectSite, hook: Hook) -> None:
    answer = hook.send()

    assert (answer.status_code, answer.json()["data"]) == (200, {"stored": 1})
    assert stored(site) == [("acme", "organizations", "5")]


def test_a_repeated_event_changes_nothing(site: ConnectSite, hook: Hook) -> None:
    """A source repeats an event whose answer it lost; a forger who saw one does, too."""
    event = hook.event()
    first = hook.send(event)
    site.world.execute("delete from integration.signals")

    again = [hook.send(event | {"meta": event["meta"] | {"attempt": n}}) for n in (2, 3, 4)]

    assert first.json()["data"] == {"stored": 1}
    assert [answer.json()["data"] for answer in again] == [{"stored": 0}] * 3
    assert stored(site) == []


@pytest.mark.parametrize(
    "meta",
    [{"entity": "spaceship"}, {"action": "explode"}, {"version": "9.0"}, {"entity_id": "x"}],
    ids=["entity", "action", "version", "id"],
)
def test_an_event_that_nobody_knows_is_no_error(
    site: ConnectSite, hook: Hook, meta: dict[str, Any]
) -> None:
    """An error would make the source repeat it, and then switch the webhook off."""
    answer = hook.send(hook.event(**meta))

    assert (answer.status_code, answer.json()["data"]) == (200, {"stored": 0})
    assert stored(site) == []


def test_an_event_of_another_company_changes_nothing_and_is_counted(
    site: ConnectSite, hook: Hook
) -> None:
    answer = hook.send(hook.event(company_id="999"))

    assert (answer.status_code, answer.json()["data"]) == (200, {"stored": 0})
    assert stored(site) == []
    assert refusals(site) == {"acme": 1}


def test_a_forger_learns_nothing(site: ConnectSite, hook: Hook) -> None:
    """Whether the token, the password or the user was wrong: one answer, and a count of it."""
    bravo = hook_of(site, BRAVO, BRAVOS_COMPANY)
    password = hook.secrets.password
    answers = [
        hook.send(token="a-token-that-is-wrong"),
        hook.send(token=hook.secrets.token[:-1]),
        hook.send(auth=(USER, "wrong")),
        hook.send(auth=(USER, "")),
        hook.send(auth=("somebody", password)),
        hook.send(auth=(USER, bravo.secrets.password)),
        hook.send(token=bravo.secrets.token),
        hook.client.post(f"{ROUTES}/webhook/{hook.secrets.token}", json=hook.event()),
        hook.client.post(
            f"{ROUTES}/webhook/{hook.secrets.token}",
            json=hook.event(),
            headers={"authorization": f"Bearer {password}"},
        ),
        hook.client.post(
            f"{ROUTES}/webhook/{hook.secrets.token}",
            json=hook.event(),
            headers={"authorization": "Basic no-base64!"},
        ),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps(answer.json()["error"]) for answer in answers}) == 1
    assert stored(site) == []
    assert refusals(site) == {None: len(answers)}


def test_forgers_do_not_lock_the_source_out(hook: Hook) -> None:
    """All tenants' events come from the same addresses, those of a forger's own account, too."""
    for _ in range(50):
        hook.send(token="a-token-that-is-wrong")

    assert hook.send().status_code == 200


def test_a_body_that_is_no_event_is_refused(site: ConnectSite, hook: Hook) -> None:
    bodies = [b"", b"[]", b"no json", b"\xff\xfe", b'{"meta": 1}', b"[" * 100_000]

    answers = [hook.send(body) if body else hook.send(b" ") for body in bodies]

    assert {answer.status_code for answer in answers} == {400}
    assert stored(site) == []


def test_an_oversized_event_is_refused_without_reading_it(site: ConnectSite, hook: Hook) -> None:
    answer = hook.send(b"x" * 300_000)

    assert answer.status_code == 413
    assert stored(site) == []


def test_each_tenants_events_are_its_own(site: ConnectSite, hook: Hook) -> None:
    bravo = hook_of(site, BRAVO, BRAVOS_COMPANY)

    hook.send(hook.event(1))
    bravo.send(bravo.event(2))

    assert stored(site) == [("acme", "organizations", "1"), ("bravo", "organizations", "2")]


def test_the_address_of_a_disconnected_tenant_opens_nothing(site: ConnectSite, hook: Hook) -> None:
    disconnect(site.world.vault, Scope(ACME, PIPEDRIVE), who="a test")

    answer = hook.send()

    assert answer.status_code == 404
    assert stored(site) == []


@pytest.mark.usefixtures("at_most_ten_events")
def test_a_burst_is_limited_and_a_sync_finds_what_was_refused(
    site: ConnectSite, hook: Hook
) -> None:
    bravo = hook_of(site, BRAVO, BRAVOS_COMPANY)
    site.world.execute("update integration.webhooks set gap_since = null, gap_reason = null")
    answers = [hook.send(hook.event(n)) for n in range(1, 13)]

    of_another = bravo.send()
    site.app.state.services.deliveries.store(site.world.vault.warehouse)

    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 600
    assert of_another.status_code == 200
    assert "more events" in site.world.rows(WEBHOOK, "acme")[0]["gap_reason"]
    assert site.world.rows(WEBHOOK, "bravo")[0]["gap_reason"] is None


def test_events_do_not_count_towards_the_limit_of_callers(site: ConnectSite, hook: Hook) -> None:
    site.limit_requests(1)

    statuses = [hook.send(hook.event(n)).status_code for n in range(1, 6)]

    assert statuses == [200] * 5


def test_the_newest_event_is_shown(site: ConnectSite, hook: Hook) -> None:
    before = site.world.rows(WEBHOOK, "acme")[0]["last_event_at"]
    hook.send()

    site.app.state.services.deliveries.store(site.world.vault.warehouse)

    shown = site.operator().get(f"{ROUTES}/status").json()["data"]["nearRealTime"]
    assert before is None
    assert (shown["state"], shown["reason"]) == ("live", None)
    assert shown["lastEventAt"] is not None
    assert shown["waitingSeconds"] >= 0


def test_many_events_at_once_are_each_stored_once(site: ConnectSite, hook: Hook) -> None:
    events = [hook.event(n) for n in range(1, 61)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(hook.send, events * 3))

    assert Counter(answer.status_code for answer in answers) == {200: 180}
    assert sum(answer.json()["data"]["stored"] for answer in answers) == 60
    assert len(stored(site, EVENTS)) == len(stored(site)) == 60


def test_an_event_that_cannot_be_stored_holds_no_other_back(site: ConnectSite, hook: Hook) -> None:
    """Events that arrive together share a transaction."""
    rule = "alter table integration.webhook_events"
    site.world.execute(f"{rule} add constraint a_rule_of_the_app check (remote_id <> '13')")
    try:
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(hook.send, [hook.event(n) for n in range(1, 31)]))
    finally:
        site.world.execute(f"{rule} drop constraint a_rule_of_the_app")

    assert Counter(answer.status_code for answer in answers) == {200: 29, 500: 1}
    assert len(stored(site)) == 29
    assert hook.send(hook.event(13)).json()["data"] == {"stored": 1}


def test_neither_token_nor_password_is_stored_or_logged(
    site: ConnectSite, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        hook.send()
        hook.send(auth=(USER, "wrong"))
        site.store_refusals()

    row = json.dumps(site.world.rows(WEBHOOK, "acme")[0], default=str)
    for secret in (hook.secrets.token, hook.secrets.password):
        assert secret not in row
        assert secret not in "".join(
            record.getMessage() for record in caplog.records if "pipedrive" in record.name
        )
        assert secret not in repr(hook.secrets)
