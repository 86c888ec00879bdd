"""Makes, lists and deletes Pipedrive's webhooks, and declares how they are delivered.

Source: https://pipedrive.readme.io/docs/guide-for-webhooks-v2 and
https://developers.pipedrive.com/docs/api/v1/Webhooks (both read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.contract import (
    Access,
    Record,
    WebhookAdmin,
    Webhooks,
    WebhookState,
)
from pipedrive_pipeline.connectors.http import DEFAULT_LIMITS, Client
from pipedrive_pipeline.connectors.jsontext import NotReadable
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.envelope import changes_listed, single
from pipedrive_pipeline.connectors.pipedrive.notices import ENTITY_OF, VERSION, notices
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.connectors.transport import SYSTEM_CLOCK, Clock, Limits
from pipedrive_pipeline.errors import BadInput

PATH = "/v1/webhooks"
NAME = "pipedrive-pipeline"  # as people see it in Pipedrive's settings
LIST_TOKENS, CREATE_TOKENS, DELETE_TOKENS = 10, 10, 6
RETRIED_FOR = timedelta(seconds=3 + 30 + 150)  # attempts 2 to 4
PAUSED_FOR = timedelta(minutes=30)  # after ten events whose first attempt failed
SHOWN_CHARACTERS = 80  # of the reason that Pipedrive gives
NOT_THERE = 404
REFUSALS = {
    400: "it cannot reach the address of this installation, which must be public https; "
    "check APP_URL",
    422: "this user has 40 webhooks already; delete one of them in Pipedrive",
}


@dataclass(frozen=True)
class PipedriveWebhooks:
    """One company's webhooks, as the connected user may see them."""

    client: Client
    tenant: str

    async def create(self, address: str, user: str, password: str) -> str:
        """See `contract.WebhookAdmin.create`."""
        body = {
            "subscription_url": address,
            "event_action": "*",
            "event_object": "*",
            "name": NAME,
            "version": VERSION,
            "http_auth_user": user,
            "http_auth_password": password,
        }
        call = SourceCall("create webhook", PATH, CREATE_TOKENS, method="POST", body=body)
        try:
            return await self.client.fetch(call, _created_id)
        except SourceRefused as error:
            reason = REFUSALS.get(error.status)
            if reason is None:
                raise
            raise SourceRefused(
                self.tenant, "Pipedrive", call.kind, error.status, reason
            ) from error

    async def webhooks(self) -> list[WebhookState]:
        """See `contract.WebhookAdmin.webhooks`."""
        return await self.client.fetch(SourceCall("list webhooks", PATH, LIST_TOKENS), _states)

    async def delete(self, webhook_id: str) -> None:
        """See `contract.WebhookAdmin.delete`.

        Raises:
            BadInput: the id is none of Pipedrive's.
        """
        if not (webhook_id.isascii() and webhook_id.isdigit()):
            raise BadInput(f"{webhook_id[:64]!r} is no id of a Pipedrive webhook.")
        path = f"{PATH}/{webhook_id}"
        call = SourceCall("delete webhook", path, DELETE_TOKENS, method="DELETE")
        try:
            await self.client.fetch(call, lambda _: None)
        except SourceRefused as error:
            if error.status != NOT_THERE:
                raise


def opener(
    *, limits: Limits = DEFAULT_LIMITS, clock: Clock = SYSTEM_CLOCK
) -> Callable[[Access], AbstractAsyncContextManager[WebhookAdmin]]:
    """The ``open`` of the declaration; tests pass smaller limits and a clock of their own."""

    @asynccontextmanager
    async def opened(access: Access) -> AsyncIterator[WebhookAdmin]:
        async with Client(PipedriveDialect(), access, limits=limits, clock=clock) as client:
            yield PipedriveWebhooks(client, access.tenant)

    return opened


def _created_id(answer: HttpAnswer) -> str:
    return _id_of(single(answer))


def _states(answer: HttpAnswer) -> list[WebhookState]:
    return [
        WebhookState(
            id=_id_of(record),
            address=str(_value(record, "subscription_url") or ""),
            is_active=_is_active(record),
            trouble=_trouble(record),
            last_delivery_at=_instant(_value(record, "last_delivery_time")),
        )
        for record in changes_listed(answer).records
    ]


def _id_of(record: Record) -> str:
    number = _value(record, "id")
    if type(number) is not int:
        raise NotReadable("a webhook has no whole number as its id")
    return str(number)


def _is_active(record: Record) -> bool:
    return _value(record, "is_active") == 1 and not _value(record, "remove_time")


def _trouble(record: Record) -> str | None:
    """Why Pipedrive does not deliver; None if it does, or has had nothing to deliver yet."""
    status = _value(record, "last_http_status")
    if not _is_active(record):
        reason = _value(record, "remove_reason")
        shown = "".join(filter(str.isprintable, str(reason or "")))[:SHOWN_CHARACTERS]
        return f"Pipedrive has switched it off: {shown or 'it gives no reason'}"
    if isinstance(status, int) and 200 <= status < 300:
        return None
    if status:
        return f"the last delivery was answered with status {str(status)[:SHOWN_CHARACTERS]}"
    has_delivered = _value(record, "last_delivery_time") is not None
    return "the last delivery got no answer" if has_delivered else None


def _instant(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _value(record: Record, key: str) -> object:
    return msgspec.json.decode(record.get(key, b"null"))


WEBHOOKS = Webhooks(
    open=opener(),
    notices=notices,
    entities=tuple(ENTITY_OF.values()),
    retried_for=RETRIED_FOR,
    paused_for=PAUSED_FOR,
    scopes=("admin", "webhooks:full"),
)
