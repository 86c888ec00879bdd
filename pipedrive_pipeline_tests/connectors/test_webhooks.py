"""Webhooks are made, listed and deleted at the source, over the one HTTP client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import (
    Access,
    Credential,
    Notice,
    Tombstone,
    WebhookAdmin,
    WebhookState,
)
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.pipedrive.notices import notices
from pipedrive_pipeline.connectors.pipedrive.webhooks import WEBHOOKS, opener
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.errors import BadInput, ScopeMissing, SourceUnavailable
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import convert_lead
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import (
    ReceivedRequest,
    Reply,
    Script,
    as_json,
    scripted,
)
from pipedrive_pipeline_tests.sandbox.receiving import Receiver, receiving

T = TypeVar("T")
ADDRESS = "https://crm.example/api/integrations/pipedrive/webhook/secret-token"
SPEC = {"id": 77, "subscription_url": ADDRESS, "is_active": 1, "last_delivery_time": None}
CREATED = as_json({"status": "ok", "success": True, "data": SPEC}, 201)
LEAD = str(printed_id(ENTITIES["leads"], 2))
Act = Callable[[WebhookAdmin], Awaitable[T]]


class Administration:
    """The requests, the meter and the value of one use of the webhooks."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[ReceivedRequest] = []
        self.tokens: list[int] = []

    def do(self, act: Act[T]) -> T:
        """Open them and act."""

        async def acted() -> T:
            async with scripted(self.script) as server:
                vault = FakeVault(server.url)
                access: Access = vault.access
                try:
                    async with opener(clock=FakeClock().clock)(access) as webhooks:
                        return await act(webhooks)
                finally:
                    self.requests = server.requests
                    self.tokens = [call.tokens for call in vault.calls]

        return run(acted())


async def create(webhooks: WebhookAdmin) -> str:
    return await webhooks.create(ADDRESS, "hook-user", "hook-password")


async def listed(webhooks: WebhookAdmin) -> list[WebhookState]:
    return await webhooks.webhooks()


def test_a_webhook_is_made_for_every_event_and_paid_for() -> None:
    source = Administration(lambda _: CREATED)

    webhook_id = source.do(create)

    assert webhook_id == "77"
    (request,) = source.requests
    assert (request.method, request.path) == ("POST", "/v1/webhooks")
    assert json.loads(request.body) == {
        "subscription_url": ADDRESS,
        "event_action": "*",
        "event_object": "*",
        "name": "pipedrive-pipeline",
        "version": "2.0",
        "http_auth_user": "hook-user",
        "http_auth_password": "hook-password",
    }
    assert source.tokens == [10]


@pytest.mark.parametrize(
    "reply",
    [Reply(503), Reply(201, b"{"), Reply(200, b"{}", cut_after=5)],
    ids=["503", "half", "cut"],
)
def test_a_webhook_is_made_once_even_if_the_answer_is_lost(reply: Reply) -> None:
    """Each repetition would make another one, and each would send every event."""
    source = Administration(lambda _: reply)

    with pytest.raises(Exception, match="create webhook") as failure:
        source.do(create)

    assert len(source.requests) == 1
    assert "hook-password" not in str(failure.value)
    assert "secret-token" not in str(failure.value)


def test_too_many_calls_just_now_delay_a_webhook() -> None:
    """A 429 made nothing, so it is safe to repeat."""
    replies = [Reply(429, b"Request over limit"), CREATED]
    source = Administration(lambda _: replies.pop(0))

    assert source.do(create) == "77"


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "check APP_URL"), (422, "40 webhooks"), (402, "closed")]
)
def test_a_refused_webhook_says_what_to_do(status: int, advice: str) -> None:
    body = {"status": "error", "success": False, "errors": {"subscription_url": ["invalid"]}}
    source = Administration(lambda _: as_json(body, status))

    with pytest.raises(SourceRefused, match=advice):
        source.do(create)


def test_a_missing_right_to_make_webhooks_names_the_scope() -> None:
    refusal = as_json({"success": False, "error": "Scope and URL mismatch"}, 403)

    with pytest.raises(ScopeMissing, match="create webhook"):
        Administration(lambda _: refusal).do(create)


@pytest.mark.parametrize(
    ("facts", "is_active", "trouble"),
    [
        ({}, True, None),
        ({"last_http_status": 204, "last_delivery_time": "2026-01-31T10:20:30.412Z"}, True, None),
        ({"last_http_status": 503}, True, "answered with status 503"),
        ({"last_delivery_time": "2026-01-31T10:20:30Z"}, True, "got no answer"),
        ({"is_active": 0, "remove_reason": "unreachable"}, False, "switched it off: unreachable"),
        ({"is_active": 0}, False, "it gives no reason"),
        ({"remove_time": "2026-01-31T10:20:30Z"}, False, "switched it off"),
    ],
)
def test_a_webhook_that_does_not_deliver_says_why(
    facts: dict[str, object], is_active: bool, trouble: str | None
) -> None:
    answer = as_json({"status": "ok", "success": True, "data": [SPEC | facts]})

    (webhook,) = Administration(lambda _: answer).do(listed)

    assert (webhook.id, webhook.address, webhook.is_active) == ("77", ADDRESS, is_active)
    assert (trouble is None) == (webhook.trouble is None)
    assert (trouble or "") in (webhook.trouble or "")


@pytest.mark.parametrize("data", [[], None])
def test_a_company_without_webhooks_has_an_empty_list(data: object) -> None:
    answer = as_json({"status": "ok", "success": True, "data": data})

    assert Administration(lambda _: answer).do(listed) == []


def test_deleting_a_webhook_that_is_gone_is_fine() -> None:
    body = {"status": "error", "success": False, "errors": {"id": ["not found"]}}
    source = Administration(lambda _: as_json(body, 404))

    source.do(lambda webhooks: webhooks.delete("77"))

    assert [(each.method, each.path) for each in source.requests] == [("DELETE", "/v1/webhooks/77")]


def test_a_deletion_is_repeated_until_it_is_answered() -> None:
    replies = [Reply(503), as_json({"status": "ok", "success": True})]
    source = Administration(lambda _: replies.pop(0))

    source.do(lambda webhooks: webhooks.delete("77"))

    assert len(source.requests) == 2


def test_someone_elses_webhook_is_not_deleted() -> None:
    refusal = as_json({"success": False, "message": "Forbidden"}, 403)

    with pytest.raises(SourceRefused):
        Administration(lambda _: refusal).do(lambda webhooks: webhooks.delete("77"))


def test_an_id_cannot_lead_to_another_address() -> None:
    source = Administration(lambda _: CREATED)

    with pytest.raises(BadInput):
        source.do(lambda webhooks: webhooks.delete("77/../users"))

    assert source.requests == []


def test_a_source_that_is_down_is_a_passing_failure() -> None:
    with pytest.raises(SourceUnavailable, match="list webhooks"):
        Administration(lambda _: Reply(503)).do(listed)


@dataclass
class Observed:
    """The notices of every event that a company's webhook has sent."""

    sandbox: Sandbox
    receiver: Receiver

    def of(self, edit: Callable[[CrmAccount], object]) -> dict[tuple[str, str], Notice]:
        """Those of one edit, by entity and id."""
        edit(self.sandbox.account)
        assert self.sandbox.webhooks.settled()
        events = [notices(delivery.body) for delivery in self.receiver.taken()]
        return {(notice.entity, notice.id): notice for each in events for notice in each}


@pytest.fixture
def observed() -> Iterator[Observed]:
    """A company whose webhook was made by the connector itself."""
    with receiving() as receiver, serve(seeded(60, 150), has_limits=False) as sandbox:
        with_sandbox(sandbox, lambda each: each.create(receiver.url, "hook-user", "hook-password"))
        yield Observed(sandbox, receiver)


def with_sandbox(sandbox: Sandbox, act: Act[T]) -> T:
    """Open a sandbox's webhooks and act."""

    async def acted() -> T:
        credential = Credential("api_token", SecretStr(sandbox.api_token), sandbox.url)
        hosts = AllowedHosts(("127.0.0.1",))
        access = Access("acme", lambda _=None: credential, hosts, lambda _: None)
        async with opener()(access) as webhooks:
            return await act(webhooks)

    return run(acted())


def test_a_webhook_of_the_look_alike_is_made_listed_and_deleted(observed: Observed) -> None:
    observed.of(lambda account: account.edit("persons", 3, name="Neu"))
    (webhook,) = with_sandbox(observed.sandbox, listed)
    with_sandbox(observed.sandbox, lambda each: each.delete(webhook.id))
    with_sandbox(observed.sandbox, lambda each: each.delete(webhook.id))

    assert webhook.address == observed.receiver.url
    assert (webhook.is_active, webhook.trouble) == (True, None)
    assert webhook.last_delivery_at is not None
    assert with_sandbox(observed.sandbox, listed) == []


def test_an_address_that_nothing_listens_at_is_refused(observed: Observed) -> None:
    with pytest.raises(SourceRefused, match="check APP_URL"):
        with_sandbox(
            observed.sandbox, lambda each: each.create("http://127.0.0.1:9/hook", "u", "p")
        )


@pytest.mark.parametrize("entity", [*(WEBHOOKS.entities)])
def test_every_kind_of_record_is_recognized_in_its_event(observed: Observed, entity: str) -> None:
    def edit(account: CrmAccount) -> None:
        if entity == "users":
            account.edit_user(901, name="Neu")
        elif entity == "deal_products":
            account.create(entity, deal_id=4, product_id=1, item_price=5)
        else:
            row_id = 4 if entity == "deals" else 2
            account.edit(entity, row_id, **{ENTITIES[entity].title_key: "Neu"})

    key = {"users": "901", "deals": "4", "deal_products": "4", "leads": LEAD}.get(entity, "2")
    notice = observed.of(edit)[entity, key]

    assert (notice.actor_id, notice.company_id) == ("900", "7700123")
    assert notice.happened_at is not None


def test_merges_and_deletions_are_told_with_their_reason(observed: Observed) -> None:
    merged = observed.of(lambda account: account.merge("deals", 5, 6))
    deleted = observed.of(lambda account: account.delete("notes", 3))
    converted = observed.of(lambda account: convert_lead(account, LEAD))

    assert merged["deals", "5"].tombstone == Tombstone("5", "merged", "6")
    assert merged["deals", "6"].tombstone is None
    assert deleted["notes", "3"].tombstone == Tombstone("3", "deleted")
    assert converted["leads", LEAD].tombstone == Tombstone(LEAD, "deleted")


def test_each_move_is_told_with_its_new_place(observed: Observed) -> None:
    moves = [observed.of(partial(_move, stage_id=stage_id)) for stage_id in (1, 2, 3)]

    versions = [each["deals", "4"].version or {} for each in moves]
    assert [bytes(version["stage_id"]) for version in versions] == [b"1", b"2", b"3"]


def _move(account: CrmAccount, stage_id: int) -> None:
    account.edit("deals", 4, stage_id=stage_id)
