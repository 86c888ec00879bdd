"""Signing in and out, the reader's language and zone, and the page about the API."""

from __future__ import annotations

from contextlib import AbstractContextManager

import psycopg
from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth import callers, csrf, sessions
from pipedrive_pipeline.connect.errors import NotSignedIn
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services
from pipedrive_pipeline.tenants import Tenant

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_form(request: Request) -> Response:
    """The form to sign in with a key."""
    return rendering.page(request, "login.html", is_refused=False)


@router.post("/login")
def login(request: Request, services: AppServices, sent: SentBody) -> Response:
    """Begins a session with a key and ends the browser's former one."""
    settings = services.vault.settings
    csrf.require_own_origin(request, settings)
    try:
        tenant, key = callers.key_of(request, services, sent.text("key").strip())
    except NotSignedIn:
        return rendering.page(request, "login.html", status_code=401, is_refused=True)
    with services.warehouse.transaction() as engine:
        sessions.delete_expired(engine)
    with _transaction(services, tenant) as transaction:
        former = sessions.of_browser(request, settings)
        if former:
            sessions.end(transaction, former)
        session = sessions.begin(transaction, settings, tenant, key)
    answer = rendering.go_to("/")
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
    answer = rendering.go_to("/login")
    sessions.delete_cookie(answer, settings)
    return answer


@router.get("/docs")
def docs(request: Request) -> Response:
    """The API, from its OpenAPI description."""
    description = request.app.openapi()
    routes = [
        (method.upper(), path, route)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return rendering.page(request, "api.html", description=description["info"], routes=routes)


def _transaction(
    services: Services, tenant: Tenant | None
) -> AbstractContextManager[psycopg.Connection]:
    """With the role of the app; for the operator, who has no tenant, as the engine."""
    warehouse = services.warehouse
    return warehouse.as_app(tenant) if tenant else warehouse.transaction()
