"""`/integrations/{system}/connect` and `…/confirm`: the way to a consent and back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth import csrf
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.consent import browser
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.visitors import TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope

router = APIRouter(include_in_schema=False)


@router.get("/integrations/{system}/connect")
def connect(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """Leads this browser to the source, where a person consents: the same as `…/auth`."""
    csrf.require_own_navigation(request)
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    return browser.to_source(services, Scope(caller.tenant, system), who=caller.name)


@router.get("/integrations/{system}/confirm")
def confirmation(request: Request, services: AppServices, system: SystemKey) -> Response:
    """Names the company and asks for confirmation, or says that it is connected.

    The browser that brought the consent may have no session of ours: a link led it here.
    """
    secret = browser.secret_of(request, services.vault.settings)
    grant = browser.grant_of_session(services, system, secret)
    return rendering.page(
        request,
        "connected.html" if grant.is_confirmed else "confirm.html",
        system=registry.system(system),
        grant=grant,
        form_token=csrf.form_token(services.vault.settings, secret),
    )
