"""The source's notice that a user removed our app.

Source: https://pipedrive.readme.io/docs/app-uninstallation (read 2026-11), RFC 7617.
"""

from __future__ import annotations

import base64
import binascii
import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.dependencies import guarded
from pipedrive_pipeline.connect.errors import NotSignedIn
from pipedrive_pipeline.connect.request import AppServices, Body, SentBody, SystemKey
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.disconnect import disconnect_uninstalled

router = APIRouter(include_in_schema=False)

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@router.delete("/api/integrations/{system}/callback")
def uninstalled(
    request: Request, services: AppServices, system: SystemKey, sent: SentBody
) -> JSONResponse:
    """Ends the connections of the company and user that the notice names, as a disconnect does."""
    apps = services.vault.settings.with_oauth_apps()
    with guarded(request):
        app = next((app for app in apps if carries_client_secret(request, app)), None)
        if app is None or app.pipedrive_client_id is None:
            raise NotSignedIn
    if str(sent.fields.get("client_id")) != app.pipedrive_client_id:
        raise BadInput("client_id is not this app's.")
    user_id = sent.fields.get("user_id")
    ended = disconnect_uninstalled(
        services.vault,
        system,
        client_id=app.pipedrive_client_id,
        company_id=remote_id(sent, "company_id"),
        user_id=None if user_id is None else remote_id(sent, "user_id"),
    )
    return envelope.answer(request, {"ended": len(ended)})


def carries_client_secret(request: Request, settings: Settings) -> bool:
    """True if Basic auth holds the client id and secret of our app, as the notice does."""
    client_id, client_secret = settings.pipedrive_client_id, settings.pipedrive_client_secret
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if client_id is None or client_secret is None or scheme.lower() != "basic":
        return False
    try:
        credentials = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return signing.is_same(credentials, f"{client_id}:{client_secret.get_secret_value()}")


def remote_id(sent: Body, name: str) -> str:
    """An id of the source, as text.

    Raises:
        BadInput: it is missing or has another form.
    """
    value = sent.fields.get(name)
    text = str(value) if isinstance(value, int | str) else ""
    if not ID_PATTERN.fullmatch(text):
        raise BadInput(f"{name} is missing or is not an id.")
    return text
