"""A browser's way through a consent: link or `auth`, the source, `callback`, the page, `confirm`.

Belongs here: the routes that a person's browser walks. Does not belong here: the JSON routes
(`routes.py`), or what a step does (`authorization.py`).

No GET changes what a tenant has: a link or a state is used up, no more. The callback answers with
a redirect to a clean address, so that no code stays in the browser's history.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from pipedrive_pipeline.connect import (
    authorization,
    callers,
    envelope,
    links,
    logins,
    models,
    pages,
    shapes,
    signing,
)
from pipedrive_pipeline.connect.documented import REFUSALS
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.models import Answer
from pipedrive_pipeline.connect.refusals import LinkRefused, StateRefused
from pipedrive_pipeline.connect.requests import (
    Admin,
    Body,
    Held,
    House,
    Sent,
    SystemKey,
    fail,
    require_role,
    signed_in,
)
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connections, pending
from pipedrive_pipeline.vault.pending import Pending
from pipedrive_pipeline.vault.refusals import NothingToConfirm

router = APIRouter(tags=["connection"])
CONFIRM_BODY = {
    "requestBody": {
        "content": {"application/json": {"schema": models.ConfirmIn.model_json_schema()}}
    }
}


@router.get("/connect/{secret}", include_in_schema=False)
def open_link(request: Request, house: Held, secret: str) -> Response:
    """A one-time link: off to the source."""
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        return Response(status_code=204)  # a browser that looks ahead must not use the link up
    try:
        opened = links.open_once(house.vault, secret)
    except LinkRefused:
        fail(request)
        raise
    return _sent_off(house, opened.tenant, opened.system, who=opened.who)


@router.get(
    "/api/integrations/{system}/auth",
    status_code=302,
    response_class=RedirectResponse,
    responses=REFUSALS,
)
def auth(house: Held, system: SystemKey, caller: Admin) -> Response:
    """A consent begins in this browser: off to the source."""
    return _sent_off(house, caller.tenant, system, who=caller.name)


@router.get("/api/integrations/{system}/callback", include_in_schema=False)
def callback(request: Request, house: Held, system: SystemKey) -> Response:
    """The source sent the browser back."""
    try:
        authorization.finish(
            house.vault,
            system,
            session=callers.session_of(request, house.vault.settings),
            state=_single(request, "state"),
            code=_single(request, "code"),
            error=_single(request, "error"),
        )
    except StateRefused:
        fail(request)
        raise
    return RedirectResponse(f"/integrations/{system}/confirm", status_code=303)


@router.get("/integrations/{system}/confirm", include_in_schema=False)
def confirmation(request: Request, house: Held, system: SystemKey) -> Response:
    """The company by name, and a button; afterwards, that it is connected."""
    session = callers.session_of(request, house.vault.settings)
    waiting = _of_session(house, system, session)
    return pages.confirmation(request, waiting, logins.form_token(house.vault.settings, session))


@router.post(
    "/api/integrations/{system}/confirm",
    response_model=Answer[models.Connection],
    responses=REFUSALS,
    openapi_extra=CONFIRM_BODY,
)
def confirm(request: Request, house: Held, system: SystemKey, sent: Sent) -> Response:
    """A person's yes, from our page or with a key: the connection becomes active."""
    if callers.carries_key(request):
        caller = signed_in(request)
        require_role(caller, Role.ADMIN)
        waiting = pending.newest_of_tenant(house.vault, caller.tenant, system)
    else:
        waiting = _own_grant(request, house, system, sent)
    if waiting is None:
        raise NothingToConfirm
    is_other_company_confirmed = (
        sent.fields.get("otherCompany") is True or sent.text("other_company") == "yes"
    )
    authorization.confirm(
        house.vault, waiting.id, is_other_company_confirmed=is_other_company_confirmed
    )
    if sent.is_form:
        return RedirectResponse(f"/integrations/{system}/confirm", status_code=303)
    held = connections.existing(house.vault, waiting.tenant, system)
    return envelope.answered(request, shapes.connection(system, held))


def _sent_off(house: House, tenant: Tenant, system: str, *, who: str) -> Response:
    """To the source, with a new session: one that was planted before is worth nothing."""
    session = signing.fresh()
    begun = authorization.begin(house.vault, tenant, system, session=session, who=who)
    answer = RedirectResponse(begun.url, status_code=302)
    callers.keep_session(answer, house.vault.settings, session)
    return answer


def _own_grant(request: Request, house: House, system: str, sent: Body) -> Pending:
    """The grant of this browser's session, if the request comes from the page that shows it."""
    settings = house.vault.settings
    session = callers.session_of(request, settings)
    token = sent.text("form_token")
    # What comes without any `Origin` is no browser of today: a test, a script with our own cookie.
    logins.require_own_form(request, settings, session, token, is_strict=False)
    waiting = _of_session(house, system, session)
    if sent.text("grant") != str(waiting.id):
        raise NothingToConfirm  # the page shows another consent than the one that waits now
    return waiting


def _of_session(house: House, system: str, session: str) -> Pending:
    waiting = pending.of_session(house.vault, signing.hashed(session)) if session else None
    if waiting is None or waiting.system != system:
        raise NothingToConfirm
    return waiting


def _single(request: Request, name: str) -> str | None:
    """A query value that stands there once; twice is nobody's honest callback.

    Raises:
        StateRefused: it stands there more than once.
    """
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise StateRefused
    return values[0] if values else None
