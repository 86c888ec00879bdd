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
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.security.http import HTTPBase

from pipedrive_pipeline.connect.api import envelope, models
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.event_writer import ArrivedEvent
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.sync.webhooks.lifecycle import USER

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
    arrived = ArrivedEvent(system, token, _password(sent), await request.body())
    stored = await services.events.store(arrived)
    return envelope.answer(request, models.Received(stored=stored))


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
