"""Events that a source sends to a webhook of ours: stored, then answered; nothing else is done.

A webhook is recognised by the token in its address and by its password (Basic, RFC 7617). No answer
says which of the two was wrong, or whether there is such a webhook. Failures do not lock an address
out: all tenants' events come from the same addresses of the source, and a secret of 256 bits cannot
be guessed.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.security.http import HTTPBase

from pipedrive_pipeline.connect.api import envelope, models
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.errors import WebhookRefused
from pipedrive_pipeline.connect.request import AppServices, Services, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Notice
from pipedrive_pipeline.sync.runs import signals
from pipedrive_pipeline.sync.webhooks import rows
from pipedrive_pipeline.sync.webhooks.life import USER
from pipedrive_pipeline.sync.webhooks.rows import Receiving

router = APIRouter(tags=["webhook"])

BASIC = HTTPBase(
    scheme="basic",
    scheme_name="WebhookPassword",
    auto_error=False,
    description="The password that the app gave to the source with the webhook's address.",
)
TOKEN_MAX_CHARACTERS = 64  # ours have 43
EVENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One event, as the source sends it.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}


@router.post(
    "/api/integrations/{system}/webhook/{token}",
    response_model=models.Answer[models.Received],
    responses=REFUSALS,
    openapi_extra=EVENT_BODY,
)
async def event(
    request: Request,
    services: AppServices,
    system: SystemKey,
    token: Annotated[str, Path(max_length=TOKEN_MAX_CHARACTERS)],
    sent: Annotated[HTTPAuthorizationCredentials | None, Security(BASIC)],
) -> JSONResponse:
    """Stores one event of the source; a repeated or unknown one changes nothing.

    Sent by the source only. Its address and password are made by the app and shown to nobody.
    """
    body = await request.body()
    stored = await run_in_threadpool(_store, services, system, token, _password(sent), body)
    return envelope.answer(request, models.Received(stored=stored))


def _store(services: Services, system: str, token: str, password: str, body: bytes) -> int:
    """The number of stored notices.

    Raises:
        WebhookRefused: no webhook has this token and password.
        TooManyRequests: this webhook has sent too many events.
        BadInput: the body is no event.
    """
    declared = registry.system(system).webhooks
    with services.warehouse.connect() as connection:
        webhook = rows.receiving(connection, system, token)
    if declared is None or webhook is None or not webhook.opens(password):
        raise WebhookRefused
    services.deliveries.count(webhook.id)
    notices = declared.notices(body)
    if is_foreign(notices, webhook):
        services.refusals.count(WebhookRefused.code, webhook.tenant_id)
        return 0
    if not notices:
        return 0
    return signals.receive(services.warehouse, webhook.scope, str(webhook.id), notices)


def is_foreign(notices: list[Notice], webhook: Receiving) -> bool:
    """True if an event says that it is of another company than the tenant is connected to."""
    return any(notice.company_id not in {None, webhook.company_id} for notice in notices)


def _password(sent: HTTPAuthorizationCredentials | None) -> str:
    """The password of Basic authentication with our user's name; empty if there is none."""
    if sent is None or sent.scheme.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(sent.credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    user, _, password = decoded.partition(":")
    return password if user == USER else ""
