"""`/`: the operator's tenants, or a tenant's systems; `/tenants/new`: another tenant."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth.callers import OPERATOR
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.connect.errors import Forbidden
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.system_cards import system_cards
from pipedrive_pipeline.connect.pages.visitors import AnyVisitor, FormVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput, BadSlug
from pipedrive_pipeline.sync.status.overview import (
    PAGE_TENANTS,
    OverviewFilter,
    OverviewSort,
    overview,
)
from pipedrive_pipeline.sync.tenancy import registry as tenants
from pipedrive_pipeline.tenants import SLUG_MAX_CHARACTERS, Tenant

router = APIRouter(include_in_schema=False)

TEXT_MAX_CHARACTERS: Final = 200
PAGE_MAX: Final = 100_000
ShownState = Literal["person", "stopped", "decide", "paused", "running", "complete", "never"]
Text = Annotated[str, Query(max_length=TEXT_MAX_CHARACTERS)]


@router.get("/")
def home(
    request: Request,
    services: AppServices,
    visitor: AnyVisitor,
    *,
    q: Text = "",
    state: Annotated[ShownState | None, Query()] = None,
    system: Text = "",
    sort: Annotated[OverviewSort, Query()] = "attention",
    page: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1,
) -> Response:
    """The tenant's systems; for the operator without a tenant, every tenant."""
    if visitor.caller is not None:
        return _of_tenant(request, services, visitor)
    wanted = OverviewFilter(q, state, system or None, sort, page)
    with services.warehouse.transaction() as connection:
        shown = overview(connection, wanted)
    return rendering.page(
        request,
        "home_operator.html",
        visitor,
        wanted=wanted,
        overview=shown,
        first=(page - 1) * PAGE_TENANTS + 1,
        has_more=page * PAGE_TENANTS < shown.matching_count,
        systems={known.key: known.label for known in registry.systems()},
    )


@router.get("/tenants/new")
def new_tenant(request: Request, services: AppServices, visitor: AnyVisitor) -> Response:
    """The form for another tenant."""
    _require_operator(visitor)
    zone = services.vault.settings.default_time_zone
    return _tenant_form(request, visitor, {"time_zone": zone})


@router.post("/tenants")
def add_tenant(
    request: Request, services: AppServices, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Registers a tenant and leads to its page, where it is connected."""
    _require_operator(visitor)
    typed = {name: sent.text(name).strip() for name in ("name", "slug", "time_zone")}
    try:
        tenant = Tenant(typed["slug"] or suggested_slug(typed["name"]))
    except BadSlug:
        return _tenant_form(request, visitor, typed, error="slug")
    if typed["time_zone"] not in available_timezones():
        return _tenant_form(request, visitor, typed, error="time_zone")
    try:
        is_new = tenants.add(
            services.vault.warehouse,
            services.vault.settings,
            tenant,
            display_name=typed["name"][:TEXT_MAX_CHARACTERS] or None,
            time_zone=typed["time_zone"],
            who=OPERATOR,
        )
    except BadInput:  # the name of the sandbox's tenant
        is_new = False
    if not is_new:
        return _tenant_form(request, visitor, typed, error="taken")
    return rendering.go_to(f"/?tenant={tenant.slug}")


def suggested_slug(name: str) -> str:
    """A tenant id from a company's name: `Müller & Söhne GmbH` gives `mueller_soehne_gmbh`."""
    text = name.lower().translate(_LETTERS)
    words = re.sub(r"[^a-z0-9]+", "_", text).strip("_0123456789")
    return words[:SLUG_MAX_CHARACTERS].rstrip("_")


_LETTERS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e"})


def _of_tenant(request: Request, services: Services, visitor: Visitor) -> Response:
    with services.warehouse.as_app(visitor.tenant) as connection:
        cards = system_cards(connection, visitor.tenant)
    may_connect = visitor.may(Permission.MANAGE_CONNECTION)
    return rendering.page(
        request,
        "home_tenant.html",
        visitor,
        cards=cards,
        links=_open_links(services, visitor) if may_connect else {},
        planned=registry.PLANNED,
        may_connect=may_connect,
        is_live=any(card.state == "running" for card in cards),
    )


def _open_links(services: Services, visitor: Visitor) -> dict[str, datetime]:
    """Until when a link that was sent can be used, by system."""
    with services.warehouse.transaction() as connection:  # the app may not read links
        found = links.of_tenant(connection, visitor.tenant)
    return {link.system: link.expires_at for link in reversed(found)}


def _tenant_form(
    request: Request, visitor: Visitor, typed: dict[str, str], *, error: str = ""
) -> Response:
    return rendering.page(
        request,
        "tenant_new.html",
        visitor,
        status_code=422 if error else 200,
        typed=typed,
        error=error,
        zones=sorted(zone for zone in available_timezones() if "/" in zone),
    )


def _require_operator(visitor: Visitor) -> None:
    if not visitor.is_operator:
        raise Forbidden
