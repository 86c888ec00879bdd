"""The source's notice that a user removed our app, signed with that app's own id and secret.

Only systems whose declaration says `sends_uninstall_notice` send one. Source: RFC 7617.
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
from pipedrive_pipeline.connect.errors import NotFound, NotSignedIn
from pipedrive_pipeline.connect.request import AppServices, Body, SentBody, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import SANDBOX_TENANT, Settings, SystemSettings
from pipedrive_pipeline.vault.disconnect import disconnect_uninstalled

router = APIRouter(include_in_schema=False)

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@router.delete("/api/integrations/{system}/callback")
def uninstalled(
    request: Request, services: AppServices, system: SystemKey, sent: SentBody
) -> JSONResponse:
    """Ends the connections of the company and user that the notice names, as a disconnect does."""
    scheme = registry.system(system).auth_of("oauth")
    if scheme is None or not scheme.sends_uninstall_notice:
        raise NotFound
    apps = oauth_apps(services.vault.settings, system)
    with guarded(request):
        app = next((app for app in apps if carries_client_secret(request, app)), None)
        if app is None or app.client_id is None:
            raise NotSignedIn
    if str(sent.fields.get("client_id")) != app.client_id:
        raise BadInput("client_id is not this app's.")
    user_id = sent.fields.get("user_id")
    ended = disconnect_uninstalled(
        services.vault,
        system,
        client_id=app.client_id,
        company_id=remote_id(sent, "company_id"),
        user_id=None if user_id is None else remote_id(sent, "user_id"),
    )
    return envelope.answer(request, {"ended": len(ended)})


def oauth_apps(settings: Settings, system: str) -> list[SystemSettings]:
    """The OAuth apps that this installation has at one system: its own, the sandbox's."""
    has_sandbox = settings.sandbox_file(system).exists()
    tenants = (None, SANDBOX_TENANT) if has_sandbox else (None,)
    return [settings.system(system, tenant) for tenant in tenants]


def carries_client_secret(request: Request, app: SystemSettings) -> bool:
    """True if Basic auth holds the client id and secret of this app, as the notice does."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if app.client_id is None or app.client_secret is None or scheme.lower() != "basic":
        return False
    try:
        credentials = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return signing.is_same(credentials, f"{app.client_id}:{app.client_secret.get_secret_value()}")


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
