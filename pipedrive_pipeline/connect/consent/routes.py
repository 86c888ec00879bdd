"""The routes of a consent: link or `auth`, the source, `callback`, `confirm`.

No GET changes a connection. The callback redirects to an address without parameters, so that no
code stays in the browser's history. The page that asks is `pages/connect_pages.py`.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import Field

from pipedrive_pipeline.connect.api import envelope, models, presenters
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth import callers, csrf
from pipedrive_pipeline.connect.auth.dependencies import (
    ConnectionManager,
    authenticated,
    guarded,
    require,
)
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.consent import browser, links, oauth_flow
from pipedrive_pipeline.connect.errors import StateRefused
from pipedrive_pipeline.connect.request import AppServices, Body, SentBody, Services, SystemKey
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.sync.webhooks.lifecycle import disconnect as end_connection
from pipedrive_pipeline.vault import connections, pending
from pipedrive_pipeline.vault.errors import NothingToConfirm
from pipedrive_pipeline.vault.pending import PendingGrant

router = APIRouter(tags=["connection"])
CONFIRM_BODY = {
    # A key, or the form of our own page in the browser that gave the consent.
    "security": [{"HTTPBearer": []}, {"APIKeyHeader": []}, {}],
    "requestBody": {
        "content": {"application/json": {"schema": models.ConfirmIn.model_json_schema()}}
    },
}


class ConnectLinkIn(models.Model):
    """How long the link works."""

    valid_minutes: int = Field(
        default=links.LINK_MINUTES, ge=1, le=links.LINK_MINUTES_MAX, description="At most a week."
    )
    reconnects_only: bool = Field(
        default=False,
        description="The consent must be for the company that the tenant has rows of.",
    )


@router.post(
    "/api/integrations/{system}/connect-link",
    status_code=201,
    response_model=Answer[models.ConnectLink],
    responses=REFUSALS,
)
def connect_link(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    wanted: ConnectLinkIn = ConnectLinkIn(),  # noqa: B008 - frozen
) -> JSONResponse:
    """A one-time link for the person who may consent; it is shown once."""
    link = links.make(
        services.vault,
        Scope(caller.tenant, system),
        who=caller.name,
        valid_minutes=wanted.valid_minutes,
        reconnects_only=wanted.reconnects_only,
    )
    return envelope.answer(request, models.ConnectLink.model_validate(link), status=201)


@router.get(
    "/api/integrations/{system}/connect-links",
    response_model=Listed[models.OpenLinkShown],
    responses=REFUSALS,
)
def connect_links(
    request: Request, services: AppServices, system: SystemKey, caller: ConnectionManager
) -> JSONResponse:
    """The links that still work, newest first, without their secrets."""
    with services.warehouse.as_app(caller.tenant) as connection:
        rows = links.of_tenant(connection, caller.tenant)
    shown = [models.OpenLinkShown.model_validate(row) for row in rows if row.system == system]
    return envelope.answer(request, shown)


@router.delete(
    "/api/integrations/{system}/connect-links/{link_id}",
    response_model=Answer[models.Withdrawal],
    responses=REFUSALS,
)
def withdraw_link(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    link_id: UUID,
) -> JSONResponse:
    """Withdraws a link; a consent that it began cannot be finished any more."""
    with services.warehouse.as_app(caller.tenant) as connection:
        links.withdraw(connection, Scope(caller.tenant, system), link_id, who=caller.name)
    return envelope.answer(request, models.Withdrawal(id=link_id))


@router.get(
    "/api/integrations/{system}/auth",
    status_code=302,
    response_class=RedirectResponse,
    responses=REFUSALS,
)
def auth(
    request: Request, services: AppServices, system: SystemKey, caller: ConnectionManager
) -> Response:
    """Redirects this browser to the source, where a person consents."""
    if caller.session:
        csrf.require_own_navigation(request)
    return browser.to_source(services, Scope(caller.tenant, system), who=caller.name)


@router.get("/api/integrations/{system}/callback", include_in_schema=False)
def callback(request: Request, services: AppServices, system: SystemKey) -> Response:
    """Exchanges the code that the source sent and redirects to the confirmation page."""
    with guarded(request):
        oauth_flow.finish(
            services.vault,
            system,
            session=browser.secret_of(request, services.vault.settings),
            state=_single(request, "state"),
            code=_single(request, "code"),
            error=_single(request, "error"),
        )
    return RedirectResponse(f"/integrations/{system}/confirm", status_code=303)


@router.post(
    "/api/integrations/{system}/confirm",
    response_model=Answer[models.Connection],
    responses=REFUSALS,
    openapi_extra=CONFIRM_BODY,
)
def confirm(request: Request, services: AppServices, system: SystemKey, sent: SentBody) -> Response:
    """Makes the waiting grant the connection; sent by our page or with a key."""
    if callers.carries_key(request):
        caller = authenticated(request)
        require(caller, Permission.MANAGE_CONNECTION)
        grant = pending.newest_of_tenant(services.vault, Scope(caller.tenant, system))
    else:
        grant = _own_grant(request, services, system, sent)
    if grant is None:
        raise NothingToConfirm
    is_other_company_confirmed = (
        sent.fields.get("otherCompany") is True or sent.text("other_company") == "yes"
    )
    is_choice_awaited = sent.is_form and sent.text("then") == "choose"
    with services.slow_work.slot(grant.scope.tenant):
        oauth_flow.confirm(
            services.vault,
            grant.id,
            is_other_company_confirmed=is_other_company_confirmed,
            is_choice_awaited=is_choice_awaited,
        )
    if sent.is_form:
        return RedirectResponse(_after_confirmation(grant, sent), status_code=303)
    connection = connections.existing(services.vault, grant.scope)
    entities = entities_read(services.vault.warehouse, grant.scope).values()
    return envelope.answer(request, presenters.connection(system, connection, entities))


@router.delete(
    "/api/integrations/{system}/disconnect",
    response_model=Answer[models.Disconnection],
    responses=REFUSALS,
)
def disconnect(
    request: Request, services: AppServices, system: SystemKey, caller: ConnectionManager
) -> JSONResponse:
    """Ends the connection and deletes its tokens; the synced rows stay."""
    with services.slow_work.slot(caller.tenant):
        end = end_connection(services.vault, Scope(caller.tenant, system), who=caller.name)
    shown = models.Disconnection(system=system, is_revoked=end.is_revoked, note=end.note or None)
    return envelope.answer(request, shown)


def _after_confirmation(grant: PendingGrant, sent: Body) -> str:
    """The page after the form: the choice of what is read, if a signed-in person sent it."""
    root = f"/integrations/{grant.scope.system}"
    if sent.text("then") != "choose":
        return f"{root}/confirm"
    slug = grant.scope.tenant.slug
    return f"{root}/choose?tenant={slug}" if sent.text("tenant") == slug else f"{root}/choose"


def _own_grant(request: Request, services: Services, system: str, sent: Body) -> PendingGrant:
    """The grant of this browser's session, if the page that shows it sent the request."""
    settings = services.vault.settings
    session = browser.secret_of(request, settings)
    token = sent.text("form_token")
    # Every browser of today sends `Origin`; a request without it is a script with our own cookie.
    csrf.require_own_form(request, settings, session, token, is_strict=False)
    grant = browser.grant_of_session(services, system, session)
    if sent.text("grant") != str(grant.id):
        raise NothingToConfirm  # the page shows an earlier consent than the one that waits now
    return grant


def _single(request: Request, name: str) -> str | None:
    """A query parameter that occurs at most once.

    Raises:
        StateRefused: it occurs more than once, as in no honest callback.
    """
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise StateRefused
    return values[0] if values else None
