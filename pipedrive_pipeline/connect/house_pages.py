"""The pages of whoever signed in: what is connected, how it stands, what happened.

Belongs here: the routes of `/login`, `/`, `/integrations/{system}` and `/docs`. Does not belong
here: a consent's pages (`browser.py`), or the words (`pages.py`, `templates/`).

A page shows what the API answers to the same key; no page has a script.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from pipedrive_pipeline.connect import callers, logins, pages, shapes, standing
from pipedrive_pipeline.connect.callers import Caller
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.logins import Login
from pipedrive_pipeline.connect.refusals import NotSignedIn
from pipedrive_pipeline.connect.requests import Held, House, Sent, SystemKey, fail, require_role
from pipedrive_pipeline.connectors.registry import SYSTEMS
from pipedrive_pipeline.sync import asking, registry, runs
from pipedrive_pipeline.vault import connections

router = APIRouter(include_in_schema=False)

SHOWN_RUNS = 20
Named = Annotated[str | None, Query(alias="tenant", max_length=64)]


@router.get("/login")
def login_form(request: Request) -> Response:
    """One field for a key."""
    return pages.login(request, is_refused=False)


@router.post("/login")
def login(request: Request, house: Held, sent: Sent) -> Response:
    """A key becomes a session of this browser; whatever session there was is over."""
    settings = house.vault.settings
    logins.require_own_origin(request, settings)
    try:
        tenant, key = callers.key_of(sent.text("key").strip(), settings, house.warehouse)
    except NotSignedIn:
        fail(request)
        return pages.login(request, is_refused=True)
    answer = RedirectResponse("/", status_code=303)
    logins.begin(answer, settings, tenant=tenant, key_id=key.id if key else None)
    return answer


@router.post("/logout")
def logout(request: Request, house: Held, sent: Sent) -> Response:
    """The browser is signed out."""
    login = logins.of_browser(request, house.vault.settings)
    if login:
        token = sent.text("form_token")
        logins.require_own_form(request, house.vault.settings, login.secret, token)
    answer = _to_login()
    logins.end(answer, house.vault.settings)
    return answer


@router.get("/")
def home(request: Request, house: Held) -> Response:
    """A tenant's systems; for the operator, every tenant."""
    login = logins.of_browser(request, house.vault.settings)
    if login is None:
        return _to_login()
    if login.tenant is None:
        token = logins.form_token(house.vault.settings, login.secret)
        return pages.tenants(request, registry.all_tenants(house.vault.warehouse), token)
    caller = _caller(house, login, None)
    if caller is None:
        return _to_login()
    with house.warehouse.as_app(caller.tenant) as connection:
        held = {one.system: one for one in connections.of_tenant(connection, caller.tenant)}
    shown = [shapes.connection(system, held.get(system)) for system in SYSTEMS]
    return pages.home(request, caller, shown, _token(house, login))


@router.get("/integrations/{system}")
def integration(request: Request, house: Held, system: SystemKey, tenant: Named = None) -> Response:
    """How one system stands, and what happened."""
    login = logins.of_browser(request, house.vault.settings)
    caller = _caller(house, login, tenant) if login else None
    if login is None or caller is None:
        return _to_login()
    with house.warehouse.as_app(caller.tenant) as connection:
        found = runs.page(connection, caller.tenant, system, limit=SHOWN_RUNS)
        seen = standing.seen(connection, caller.tenant, system)
    return pages.integration(
        request,
        caller,
        standing.status(house, caller.tenant, system, seen),
        [shapes.run(one) for one in found],
        _token(house, login),
    )


@router.post("/integrations/{system}/sync")
def sync_now(request: Request, house: Held, system: SystemKey, sent: Sent) -> Response:
    """The page's button: the same as `POST …/sync`."""
    login = logins.of_browser(request, house.vault.settings)
    if login is None:
        return _to_login()
    token = sent.text("form_token")
    logins.require_own_form(request, house.vault.settings, login.secret, token)
    caller = _caller(house, login, sent.text("tenant") or None)
    if caller is None:
        return _to_login()
    require_role(caller, Role.MANAGER)
    with house.warehouse.as_app(caller.tenant) as connection:
        asking.ask(connection, caller.tenant, system, "incremental", who=caller.name)
    return RedirectResponse(pages.address(system, caller), status_code=303)


@router.get("/docs")
def docs(request: Request) -> Response:
    """The API, read from its own description."""
    return pages.api(request, request.app.openapi())


def _caller(house: House, login: Login, named: str | None) -> Caller | None:
    """Who is signed in; None if the key was revoked meanwhile."""
    try:
        return callers.caller_of(callers.claim_of_login(login, named), house.warehouse)
    except NotSignedIn:
        return None


def _token(house: House, login: Login) -> str:
    return logins.form_token(house.vault.settings, login.secret)


def _to_login() -> Response:
    return RedirectResponse("/login", status_code=303)
