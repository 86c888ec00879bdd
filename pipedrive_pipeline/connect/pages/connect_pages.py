"""`/integrations/{system}/connect`, `…/confirm`, `…/choose`: the way to a consent and a first read.

connect ──► consent ──► (the source) ──► confirm ──► choose ──► the system's page
/connect/{secret} ──────────┘, of a one-time link: after `confirm` it ends
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import tenant_status
from pipedrive_pipeline.connect.auth import csrf, sessions
from pipedrive_pipeline.connect.auth.dependencies import guarded
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.consent import browser, links
from pipedrive_pipeline.connect.errors import OtherTenant
from pipedrive_pipeline.connect.pages import choice, rendering
from pipedrive_pipeline.connect.pages.visitors import (
    FormVisitor,
    SignInFirst,
    TenantVisitor,
    Visitor,
    any_visitor,
    name_and_zone,
)
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.day import budget_day
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.runs.source_access import SourceAccess, utc_now
from pipedrive_pipeline.sync.tenancy import configuration
from pipedrive_pipeline.vault.pending import PendingGrant

router = APIRouter(include_in_schema=False)

LIVE, NIGHTLY = "live", "nightly"  # how changes arrive after the first read
FIELD = "entity."  # of the form: one field per kind that is chosen


@router.get("/integrations/{system}/connect")
def connect(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """What will be read, with which rights, and what never happens; before the consent."""
    visitor.require(Permission.MANAGE_CONNECTION)
    status = tenant_status.status(services, visitor.tenant, system)
    declared = registry.system(system)
    return rendering.page(
        request,
        "connect_start.html",
        visitor,
        system=declared,
        status=status,
        rights=choice.rights(declared, status.scopes),
    )


@router.get("/connect/{secret}")
def open_link(
    request: Request, services: AppServices, secret: str, *, go: Annotated[bool, Query()] = False
) -> Response:
    """Says who asks for what, with a button that leads to the source; a script is led there.

    The link is used up by the source's answer, so that a preview of it changes nothing.
    """
    with guarded(request):
        link = links.target(services.vault, secret)
    if go or request.headers.get("sec-fetch-mode") != "navigate":
        return browser.to_source(services, link.scope, who=link.who, link=link)
    declared = registry.system(link.scope.system)
    with services.warehouse.as_app(link.scope.tenant) as connection:
        tenant_name, _ = name_and_zone(connection, link.scope.tenant)
    return rendering.page(
        request,
        "connect_link.html",
        system=declared,
        link=link,
        tenant_name=tenant_name,
        rights=choice.rights(declared, ()),
    )


@router.get("/integrations/{system}/consent")
def consent(
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
    visitor = _visitor_of(request, services, grant)
    declared = registry.system(system)
    return rendering.page(
        request,
        "connected.html" if grant.is_confirmed else "confirm.html",
        visitor,
        system=declared,
        grant=grant,
        rights=choice.rights(declared, grant.scopes),
        form_token=csrf.form_token(services.vault.settings, secret),
        may_choose=visitor is not None and visitor.may(Permission.MANAGE_CONNECTION),
    )


@router.get("/integrations/{system}/choose")
def choose(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    *,
    priced: Annotated[bool, Query()] = False,
) -> Response:
    """The kinds of records to choose, before the first read; with prices, the source is asked."""
    visitor.require(Permission.MANAGE_CONNECTION)
    scope, declared = Scope(visitor.tenant, system), registry.system(system)
    status = tenant_status.status(services, visitor.tenant, system)
    if status.state != "connected" or status.entities:
        return rendering.go_to(visitor.address(f"/integrations/{system}"))
    with services.warehouse.as_app(visitor.tenant) as connection:
        read = configuration.entities_read_of(connection, scope)
        config = configuration.read(connection, services.vault.cipher, scope)
    rows, tokens, failure = _asked(services, scope) if priced else (None, None, None)
    shown = choice.choice_rows(declared, read, status.scopes, rows=rows, tokens=tokens)
    return rendering.page(
        request,
        "choose.html",
        visitor,
        system=declared,
        status=status,
        rows=shown,
        total=choice.total(declared, shown, tokens),
        prices=tokens,
        counts=rows,
        failed=failure,
        is_asking=tokens is None and failure is None,
        config=config,
        budget=budget_day(services.warehouse, scope, utc_now()),
        is_live=True,
    )


@router.get("/integrations/{system}/choose/sum")
def add_up(request: Request, system: SystemKey, visitor: TenantVisitor) -> Response:
    """The last line of the table, for what is chosen now; the prices come with the form."""
    visitor.require(Permission.MANAGE_CONNECTION)
    declared, sent = registry.system(system), request.query_params
    always = {entity.name for entity in choice.choosable(declared) if entity.is_required}
    chosen = always | {name.removeprefix(FIELD) for name in sent if name.startswith(FIELD)}
    tokens = _numbers(sent.get("prices", ""))
    shown = choice.choice_rows(
        declared, chosen, (), rows=_numbers(sent.get("counts", "")), tokens=tokens
    )
    return rendering.page(
        request,
        "choose_sum.html",
        visitor,
        system=declared,
        total=choice.total(declared, shown, tokens or None),
        is_asking=False,
    )


@router.post("/integrations/{system}/choose")
def start(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Saves the choice and asks for the first read."""
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    scope, declared = Scope(caller.tenant, system), registry.system(system)
    chosen = {name.removeprefix(FIELD) for name in sent.fields if name.startswith(FIELD)}
    granted = tenant_status.status(services, caller.tenant, system).scopes
    with services.warehouse.as_app(caller.tenant, turn=caller.tenant.settings_lock) as connection:
        read = configuration.entities_read_of(connection, scope)
        off = choice.left_out(choice.choice_rows(declared, read, granted), chosen, read)
        changes = {"entities_off": off, "near_real_time": sent.text("changes") != NIGHTLY}
        configuration.save(
            connection,
            services.vault.cipher,
            scope,
            changes,
            settings=services.vault.settings,
            who=caller.name,
        )
        requests.request_sync(connection, scope, "full", who=caller.name)
    return rendering.go_to(visitor.address(f"/integrations/{system}"))


def _asked(
    services: Services, scope: Scope
) -> tuple[dict[str, int] | None, dict[str, int] | None, str | None]:
    """Rows and tokens of each kind, at most, or the code of the error why nobody knows them.

    One call to the source for each kind that was never read.
    """
    access = SourceAccess(services.vault.warehouse, services.vault.settings, scope)
    try:
        with services.slow_work.slot(scope.tenant):
            price = access.price(registry.system(scope.system).entities)
    except PipelineError as error:  # the choice does not need the price
        return None, None, error.code
    return dict(price.rows), price.entities, None


def _numbers(text: str) -> dict[str, int]:
    """`deals:19,users:4` as a mapping; what is no number is left out."""
    pairs = (part.partition(":") for part in text.split(","))
    return {name: int(number) for name, _, number in pairs if number.isdecimal()}


def _visitor_of(request: Request, services: Services, grant: PendingGrant) -> Visitor | None:
    """The signed-in person for whose tenant the consent is; None if a link led here."""
    session = sessions.of_browser(request, services.vault.settings)
    if session is None:
        return None
    slug = grant.scope.tenant.slug
    try:
        return any_visitor(request, services, slug)
    except (SignInFirst, OtherTenant):
        return None
