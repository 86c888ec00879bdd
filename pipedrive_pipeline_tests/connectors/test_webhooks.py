"""Webhooks are made, listed and deleted at the source, over the one HTTP client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from pipedrive_pipeline.connectors.contract import Access, WebhookAdmin, WebhookState
from pipedrive_pipeline.connectors.pipedrive.webhooks import opener
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.errors import BadInput, ScopeMissing, SourceUnavailable
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import (
    ReceivedRequest,
    Reply,
    Script,
    as_json,
    scripted,
)

T = TypeVar("T")
ADDRESS = "https://crm.example/api/integrations/pipedrive/webhook/secret-token"
SPEC = {"id": 77, "subscription_url": ADDRESS, "is_active": 1, "last_delivery_time": None}
CREATED = as_json({"status": "ok", "success": True, "data": SPEC}, 201)
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
