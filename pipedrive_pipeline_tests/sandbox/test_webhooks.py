"""How webhooks are made and removed, and how their events are delivered, repeated and lost."""

from __future__ import annotations

import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.kit.state import kept_in
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, as_app, installed
from pipedrive_pipeline_tests.sandbox.receiving import Delivery, Receiver, receiving

# Now and then a transport of a test's server is collected unclosed after its loop has ended, which
# says nothing of delivery. To be removed once the one that opens in the last turn is found.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
Record = dict[str, Any]
DAY_SECONDS = 86_400


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def spec(receiver: Receiver, **more: Any) -> Record:
    """The body of a webhook for every event."""
    return {
        "subscription_url": receiver.url,
        "event_action": "*",
        "event_object": "*",
        "name": "all events",
    } | more


def make(client: SandboxClient, receiver: Receiver, **more: Any) -> httpx.Response:
    """Make a webhook for every event."""
    return client.http.post("/v1/webhooks", json=spec(receiver, **more))


def listed(client: SandboxClient) -> list[Record]:
    """The webhooks that the API lists."""
    rows: list[Record] = client.data("/v1/webhooks")
    return rows


class HookedSandbox:
    """A sandbox with one webhook; an edit of a person is an event."""

    def __init__(self, sandbox: Sandbox, client: SandboxClient, receiver: Receiver) -> None:
        self.sandbox, self.client, self.receiver = sandbox, client, receiver
        self.number = 0
        sandbox.clock.freeze()
        assert make(client, receiver).status_code == 201

    def edit(self, count: int = 1) -> None:
        """So many edits, each of another person."""
        for _ in range(count):
            self.number += 1
            self.sandbox.account.edit("persons", self.number, name=f"Neu {self.number}")
        assert self.sandbox.webhooks.settled()

    def later(self, seconds: float) -> None:
        """Move the server's clock."""
        self.sandbox.clock.advance(seconds)
        assert self.sandbox.webhooks.settled()

    def taken(self) -> list[Delivery]:
        """What arrived since the last call."""
        return self.receiver.taken()

    @property
    def outcomes(self) -> Counter[str]:
        """Of all attempts, as the sandbox's log has them."""
        return Counter(each.outcome for each in self.sandbox.webhooks.deliveries())


@pytest.fixture
def hooked(sandbox: Sandbox, client: SandboxClient, receiver: Receiver) -> HookedSandbox:
    return HookedSandbox(sandbox, client, receiver)


def test_a_webhook_is_made_listed_and_deleted(client: SandboxClient, receiver: Receiver) -> None:
    made = make(client, receiver, http_auth_user="u", http_auth_password="p")

    assert made.status_code == 201
    assert made.json()["status"] == "ok"
    (row,) = listed(client)
    assert row == made.json()["data"]
    assert (row["is_active"], row["version"], row["type"]) == (1, "2.0", "general")
    assert row["last_http_status"] is row["last_delivery_time"] is row["remove_reason"] is None
    assert client.http.delete(f"/v1/webhooks/{row['id']}").json() == {
        "status": "ok",
        "success": True,
    }
    assert listed(client) == []


def test_prices_are_those_of_the_vendor(client: SandboxClient, receiver: Receiver) -> None:
    made = make(client, receiver).json()["data"]["id"]
    listed(client)
    client.http.delete(f"/v1/webhooks/{made}")

    assert [each.cost for each in client.sandbox.requests] == [10, 10, 6]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"subscription_url": "http://127.0.0.1:9/hook"}, "subscription_url"),
        ({"subscription_url": "https://acme.pipedrive.com/hook"}, "subscription_url"),
        ({"subscription_url": "ftp://127.0.0.1/hook"}, "subscription_url"),
        ({"subscription_url": "http://user:secret@127.0.0.1/hook"}, "subscription_url"),
        ({"subscription_url": 7}, "subscription_url"),
        ({"event_action": "added"}, "event_action"),
        ({"event_object": "deals"}, "event_object"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"user_id": 4711}, "user_id"),
        ({"version": "1.0"}, "version"),
        ({"http_auth_user": 7}, "http_auth_user"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_webhook_is_refused_by_key(
    client: SandboxClient, receiver: Receiver, change: Record, key: str
) -> None:
    answer = make(client, receiver, **change)

    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert list(answer.json()["errors"]) == [key]


def test_a_user_has_at_most_40_webhooks_of_an_app(
    client: SandboxClient, receiver: Receiver
) -> None:
    statuses = [make(client, receiver).status_code for _ in range(41)]
    with as_app(client.sandbox) as app:
        by_app = make(app, receiver).status_code

    assert statuses == [201] * 40 + [422]
    assert by_app == 201


def test_an_app_sees_and_deletes_its_own_webhooks_alone(
    client: SandboxClient, receiver: Receiver
) -> None:
    foreign = make(client, receiver).json()["data"]["id"]
    with as_app(client.sandbox) as app:
        own = make(app, receiver).json()["data"]

        assert [row["id"] for row in listed(app)] == [own["id"]]
        assert own["type"] == "application"
        refusal = app.http.delete(f"/v1/webhooks/{foreign}")
        assert (refusal.status_code, refusal.json()["message"]) == (403, "Forbidden")
        missing = app.http.delete("/v1/webhooks/4711")
        assert (missing.status_code, missing.json()["errors"]) == (404, {"id": ["not found"]})


def test_webhooks_need_a_scope(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.grants.take_scopes("admin")
    with as_app(sandbox) as app:
        assert make(app, receiver).status_code == 403
    sandbox.grants.give_scopes("webhooks:full")
    with as_app(sandbox) as app:
        assert make(app, receiver).status_code == 201


@pytest.mark.parametrize("by", ["uninstall", "revoke", "oauth"])
def test_an_app_that_was_uninstalled_has_no_webhooks(
    sandbox: Sandbox, client: SandboxClient, receiver: Receiver, by: str
) -> None:
    make(client, receiver)
    tokens = installed(sandbox)
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    with SandboxClient(sandbox, headers=bearer) as app:
        make(app, receiver)
    if by == "oauth":
        app_auth = (sandbox.client_id, sandbox.client_secret)
        form = {"token": tokens["refresh_token"]}
        client.http.post("/oauth/revoke", data=form, auth=app_auth)
    else:
        getattr(sandbox, by)()

    assert [each.is_app for each in sandbox.webhooks.active()] == [False]


def test_an_event_is_posted_with_the_credentials_of_its_webhook(
    sandbox: Sandbox, client: SandboxClient, receiver: Receiver
) -> None:
    make(client, receiver, http_auth_user="ünal", http_auth_password="pass:word")
    sandbox.account.edit("persons", 3, name="Neu")
    assert sandbox.webhooks.settled()

    (delivery,) = receiver.arrived
    pair = b64encode("ünal:pass:word".encode()).decode()
    assert delivery.headers["authorization"] == f"Basic {pair}"
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.path == "/hook"
    (row,) = listed(client)
    assert row["last_http_status"] == 200
    assert row["last_delivery_time"].endswith("Z")


def test_a_failed_event_is_repeated_after_3_30_and_150_seconds(hooked: HookedSandbox) -> None:
    hooked.receiver.status = 500
    hooked.edit()
    hooked.later(2)
    first = hooked.taken()
    attempts = []
    for seconds in (3, 30, 150, 3_600):
        hooked.later(seconds)
        attempts.append([each.meta["attempt"] for each in hooked.receiver.arrived])

    assert [each.meta["attempt"] for each in first] == [1]
    assert attempts == [[2], [2, 3], [2, 3, 4], [2, 3, 4]]
    assert {each.meta["id"] for each in hooked.receiver.arrived} == {first[0].meta["id"]}
    assert {each.meta["correlation_id"] for each in (*first, *hooked.taken())} == {
        first[0].meta["correlation_id"]
    }
    assert listed(hooked.client)[0]["last_http_status"] == 500


@pytest.mark.parametrize(("status", "is_success"), [(204, True), (299, True), (302, False)])
def test_any_2xx_is_a_success_and_a_redirect_is_none(
    hooked: HookedSandbox, status: int, *, is_success: bool
) -> None:
    hooked.receiver.status = status
    hooked.edit()

    assert hooked.outcomes == {"delivered" if is_success else "failed": 1}


@pytest.mark.slow
def test_a_receiver_that_does_not_answer_fails_after_the_timeout(
    account: CrmAccount, receiver: Receiver
) -> None:
    """Answers of the API do not wait for it."""
    with (
        serve(account, has_limits=False, webhook_timeout_seconds=0.3) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        hooked = HookedSandbox(sandbox, client, receiver)
        receiver.status = None
        started = time.monotonic()
        for number in range(1, 9):
            account.edit("persons", number, name="Neu")
            client.data(f"/api/v2/persons/{number}")
        seconds = time.monotonic() - started
        assert sandbox.webhooks.settled()

        assert hooked.outcomes == {"failed": 8}
        assert seconds < 8 * 0.3
        (row,) = listed(client)
        assert row["last_http_status"] is None
        assert row["last_delivery_time"] is not None


def test_ten_failed_events_ban_a_webhook_for_half_an_hour(hooked: HookedSandbox) -> None:
    hooked.receiver.status = 503
    hooked.edit(10)
    hooked.receiver.status = 200
    hooked.taken()
    hooked.edit(5)
    hooked.later(29 * 60)
    hooked.edit()
    banned = hooked.taken()
    hooked.later(61)
    hooked.edit()

    assert banned == []
    assert hooked.receiver.names == ["person.change"]
    assert listed(hooked.client)[0]["is_active"] == 1
    assert hooked.outcomes == {"failed": 10, "lost": 16, "delivered": 1}


@pytest.mark.parametrize("is_shown", [False, True])
def test_a_webhook_without_a_success_in_three_days_is_removed(
    account: CrmAccount, receiver: Receiver, *, is_shown: bool
) -> None:
    with (
        serve(account, has_limits=False, lists_removed_webhooks=is_shown) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        hooked = HookedSandbox(sandbox, client, receiver)
        receiver.status = 500
        for _ in range(3):
            hooked.edit()
            hooked.later(DAY_SECONDS - 60)
        before = [row["is_active"] for row in listed(client)]
        hooked.later(180)
        hooked.edit()
        receiver.status = 200
        hooked.taken()
        hooked.edit()

        assert before == [1]
        assert hooked.taken() == []
        rows = listed(client)
        assert [row["is_active"] for row in rows] == ([0] if is_shown else [])
        assert all("3 days" in row["remove_reason"] and row["remove_time"] for row in rows)


def test_a_success_begins_the_three_days_again(hooked: HookedSandbox) -> None:
    for status in (500, 200, 500):
        hooked.receiver.status = status
        hooked.edit()
        hooked.later(2 * DAY_SECONDS)

    assert len(listed(hooked.client)) == 1


def test_paused_delivery_waits_and_loses_nothing(hooked: HookedSandbox) -> None:
    hooked.sandbox.webhooks.pause()
    hooked.edit(20)
    waiting = hooked.sandbox.webhooks.waiting_count
    paused = hooked.taken()
    hooked.sandbox.webhooks.resume()
    assert hooked.sandbox.webhooks.settled()

    assert (waiting, paused) == (20, [])
    assert len(hooked.receiver.arrived) == 20


def test_a_lost_event_never_comes(hooked: HookedSandbox) -> None:
    hooked.sandbox.faults.add("webhook_lost", after=1, times=2)
    hooked.edit(4)
    hooked.later(DAY_SECONDS)

    assert sorted(each.meta["entity_id"] for each in hooked.receiver.arrived) == ["1", "4"]


def test_a_delayed_event_comes_later(hooked: HookedSandbox) -> None:
    hooked.sandbox.faults.add("webhook_delayed", seconds=120)
    hooked.edit(2)
    before = [each.meta["entity_id"] for each in hooked.taken()]
    hooked.later(119)
    early = hooked.taken()
    hooked.later(1)

    assert (before, early) == (["2"], [])
    assert [each.meta["entity_id"] for each in hooked.receiver.arrived] == ["1"]


def test_a_doubled_event_comes_twice_with_the_same_id(hooked: HookedSandbox) -> None:
    hooked.sandbox.faults.add("webhook_duplicated")
    hooked.edit(2)

    counts = Counter(each.meta["id"] for each in hooked.receiver.arrived)
    assert sorted(counts.values()) == [1, 2]


def test_a_reordered_event_is_overtaken_by_the_next_one(account: CrmAccount) -> None:
    with (
        receiving() as receiver,
        serve(account, has_limits=False, webhook_threads=1) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        hooked = HookedSandbox(sandbox, client, receiver)
        sandbox.faults.add("webhook_reordered", times=2)
        hooked.edit(4)
        overtaken = [each.meta["entity_id"] for each in hooked.taken()]
        sandbox.faults.add("webhook_reordered")
        hooked.edit()
        alone = hooked.taken()
        hooked.later(5)

        assert overtaken == ["3", "2", "1", "4"]
        assert alone == []
        assert [each.meta["entity_id"] for each in hooked.taken()] == ["5"]


def test_a_fault_of_delivery_may_name_an_event_and_leaves_requests_alone(
    hooked: HookedSandbox,
) -> None:
    hooked.sandbox.faults.add("webhook_lost", path="deal.")
    hooked.edit()
    hooked.client.data("/api/v2/deals", limit=1)

    assert hooked.receiver.names == ["person.change"]
    assert [fault.kind for fault in hooked.sandbox.faults.waiting()] == ["webhook_lost"]


def test_webhooks_survive_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    """A webhook that was gone after each `up` would be a gap in every morning's history."""
    file = tmp_path / "state.json"
    with (
        serve(seeded(20, 40)) as former,
        kept_in(former.service, file),
        SandboxClient(former) as client,
    ):
        make(client, receiver)
        made = listed(client)
    with (
        serve(seeded(20, 40)) as later,
        kept_in(later.service, file),
        SandboxClient(later) as client,
    ):
        later.account.edit("persons", 3, name="Neu")
        assert later.webhooks.settled()

        assert [row["id"] for row in listed(client)] == [row["id"] for row in made]
        assert receiver.names == ["person.change"]


def test_the_page_and_the_control_routes_pause_resume_and_remove(receiver: Receiver) -> None:
    with (
        serve(seeded(20, 40), has_control=True) as sandbox,
        SandboxClient(sandbox) as client,
    ):
        make(client, receiver)
        paused = client.http.post("/_sandbox/webhooks", json={"action": "pause"})
        sandbox.account.edit("persons", 3, name="Neu")
        page = client.get("/").text
        client.http.post("/_sandbox/webhooks", json={"action": "resume"})
        assert sandbox.webhooks.settled()
        log = client.get("/_sandbox/deliveries").text
        later_page = client.get("/").text
        client.http.post("/_sandbox/webhooks", json={"action": "remove", "id": 1})
        unknown = client.http.post("/_sandbox/webhooks", json={"action": "remove", "id": 1})

        assert paused.status_code == 200
        assert "Delivery is paused." in page
        assert "Resume delivery" in page
        assert '"outcome":"delivered"' in log
        assert "person.change" in later_page
        assert "Pause delivery" in later_page
        assert (listed(client), unknown.status_code) == ([], 400)


def test_a_user_is_edited_by_a_control_route(receiver: Receiver) -> None:
    message = {"action": "edit_user", "user_id": 901, "values": {"active_flag": False}}
    with serve(seeded(20, 40), has_control=True) as sandbox, SandboxClient(sandbox) as client:
        make(client, receiver)
        answer = client.http.post("/_sandbox/grants", json=message)
        assert sandbox.webhooks.settled()

        assert answer.json()["result"]["active_flag"] is False
        assert client.data("/v1/users/901")["active_flag"] is False
        assert receiver.names == ["user.change"]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(1_000, marks=pytest.mark.slow),
        pytest.param(20_000, marks=pytest.mark.long),
    ],
)
def test_a_burst_is_delivered_while_the_api_goes_on_answering(
    sandbox: Sandbox, client: SandboxClient, receiver: Receiver, count: int
) -> None:
    make(client, receiver)
    sandbox.webhooks.pause()
    ids = [1 + number % 150 for number in range(count)]
    for start in range(0, count, 1_000):
        sandbox.account.edit_many("persons", ids[start : start + 1_000], name=f"Neu {start}")
    sandbox.webhooks.resume()
    for _ in range(20):
        client.data("/api/v2/persons", limit=1)
    waiting = sandbox.webhooks.waiting_count
    assert sandbox.webhooks.settled(count / 50)

    assert waiting > 0  # the answers came before the end of the burst
    assert len({each.meta["id"] for each in receiver.arrived}) == count
    assert sandbox.webhooks.waiting_count == 0
