"""The routes of the pages: `/login`, `/logout`, `/`, `/integrations/{system}`, `/docs`.

A page shows what the API answers to the same key.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated

import psycopg
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from pipedrive_pipeline.connect.api import presenters, tenant_status
from pipedrive_pipeline.connect.auth import callers, csrf, sessions
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import require
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.auth.sessions import Session
from pipedrive_pipeline.connect.errors import NotSignedIn
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import listing, requests
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant

router = APIRouter(include_in_schema=False)

SHOWN_RUNS = 20
TenantParameter = Annotated[str | None, Query(alias="tenant", max_length=64)]


@router.get("/login")
def login_form(request: Request) -> Response:
    """The form to sign in with a key."""
    return rendering.login(request, is_refused=False)


@router.post("/login")
def login(request: Request, services: AppServices, sent: SentBody) -> Response:
    """Begins a session with a key and ends the browser's former one."""
    settings = services.vault.settings
    csrf.require_own_origin(request, settings)
    try:
        tenant, key = callers.key_of(request, services, sent.text("key").strip())
    except NotSignedIn:
        return rendering.login(request, is_refused=True)
    with services.warehouse.transaction() as engine:
        sessions.delete_expired(engine)
    with _transaction(services, tenant) as transaction:
        former = sessions.of_browser(request, settings)
        if former:
            sessions.end(transaction, former)
        session = sessions.begin(transaction, settings, tenant, key)
    answer = RedirectResponse("/", status_code=303)
    sessions.set_cookie(answer, settings, session)
    return answer


@router.post("/logout")
def logout(request: Request, services: AppServices, sent: SentBody) -> Response:
    """Ends the session on the server and deletes the cookie."""
    settings = services.vault.settings
    session = sessions.of_browser(request, settings)
    if session:
        csrf.require_own_form(request, settings, session.secret, sent.text("form_token"))
        with _transaction(services, session.tenant) as transaction:
            sessions.end(transaction, session)
    answer = _to_login()
    sessions.delete_cookie(answer, settings)
    return answer


@router.get("/")
def home(request: Request, services: AppServices) -> Response:
    """The tenant's systems; for the operator, every tenant."""
    session = sessions.of_browser(request, services.vault.settings)
    if session is None:
        return _to_login()
    if session.tenant is None:
        return _tenants(request, services, session)
    caller = _caller(request, services, session, None)
    if caller is None:
        return _to_login()
    shown = tenant_status.connections_of(services, caller.tenant)
    return rendering.home(request, caller, shown, _token(services, session))


@router.get("/integrations/{system}")
def integration(
    request: Request, services: AppServices, system: SystemKey, tenant: TenantParameter = None
) -> Response:
    """The status and history of one system."""
    session = sessions.of_browser(request, services.vault.settings)
    caller = _caller(request, services, session, tenant) if session else None
    if session is None or caller is None:
        return _to_login()
    with services.warehouse.as_app(caller.tenant) as connection:
        rows = listing.list_runs(connection, caller.tenant, system, limit=SHOWN_RUNS)
    return rendering.integration(
        request,
        caller,
        tenant_status.status(services, caller.tenant, system),
        [presenters.run(row) for row in rows],
        _token(services, session),
    )


@router.post("/integrations/{system}/sync")
def sync_now(
    request: Request, services: AppServices, system: SystemKey, sent: SentBody
) -> Response:
    """The button of the page: the same as `POST …/sync`."""
    settings = services.vault.settings
    session = sessions.of_browser(request, settings)
    if session is None:
        return _to_login()
    csrf.require_own_form(request, settings, session.secret, sent.text("form_token"))
    caller = _caller(request, services, session, sent.text("tenant") or None)
    if caller is None:
        return _to_login()
    require(caller, Permission.ASK_SYNC)
    with services.warehouse.as_app(caller.tenant) as connection:
        requests.request_sync(
            connection, Scope(caller.tenant, system), "incremental", who=caller.name
        )
    return RedirectResponse(rendering.address(system, caller), status_code=303)


@router.get("/docs")
def docs(request: Request) -> Response:
    """The API, from its OpenAPI description."""
    return rendering.api(request, request.app.openapi())


def _tenants(request: Request, services: Services, session: Session) -> Response:
    """Every tenant, if this is an open session of the operator."""
    with services.warehouse.connect() as connection:
        if not sessions.is_open_for_operator(connection, services.vault.settings, session):
            return _to_login()
    tenants = registry.all_tenants(services.vault.warehouse)
    return rendering.tenants(request, tenants, _token(services, session))


def _caller(
    request: Request, services: Services, session: Session, named_tenant: str | None
) -> Caller | None:
    """The signed-in caller; None if the session has ended."""
    try:
        return callers.of_session(request, services, session, named_tenant)
    except NotSignedIn:
        return None


def _transaction(
    services: Services, tenant: Tenant | None
) -> AbstractContextManager[psycopg.Connection]:
    """With the role of the app; for the operator, who has no tenant, as the engine."""
    warehouse = services.warehouse
    return warehouse.as_app(tenant) if tenant else warehouse.transaction()


def _token(services: Services, session: Session) -> str:
    return csrf.form_token(services.vault.settings, session.secret)


def _to_login() -> Response:
    return RedirectResponse("/login", status_code=303)
