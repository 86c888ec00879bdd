"""`/integrations/{system}`: whether a system is read, how far, and what is left of today."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from pipedrive_pipeline.connect.api import models, presenters
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.system_view import SystemView, system_view
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import cancellation, requests
from pipedrive_pipeline.sync.status.connection_alerts import check_connection_and_alert

router = APIRouter(include_in_schema=False)

Action = Literal["incremental", "full", "sweep", "remap"]
ACTIONS: Final = frozenset({"incremental", "full", "sweep", "remap"})
SPOKEN_STEP: Final = 10  # percent: a screen reader says each


@dataclass(frozen=True)
class TestedConnection:
    """What a test of the connection found just now."""

    proof: models.ConnectionTest | None
    code: str | None  # of the error, if it does not work
    seconds: float


@router.get("/integrations/{system}")
def system_page(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """Connection, running read, completeness, budget, the last days, and what one may do."""
    return _page(request, services, system, visitor)


@router.get("/integrations/{system}/progress")
def progress(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    *,
    spoken: Annotated[str, Query(max_length=200)] = "",
    headline: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The part of the page that shows what runs; the page loads it again every two seconds."""
    view = _view(request, services, system, visitor)
    # All has ended, or the rest of the page is no longer true.
    if not view.status.current or (headline and headline != view.headline):
        return HTMLResponse("", headers={"HX-Refresh": "true"})
    return rendering.page(
        request, "progress.html", visitor, **_values(view, visitor), spoken_before=spoken
    )


@router.post("/integrations/{system}/sync")
def sync_now(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Each button that starts a run: the same as `POST …/sync`."""
    caller = visitor.require(Permission.ASK_SYNC)
    kind = sent.text("kind") or "incremental"
    if kind not in ACTIONS:
        raise NotFound
    with services.warehouse.as_app(caller.tenant) as connection:
        scope = Scope(caller.tenant, system)
        requests.request_sync(connection, scope, cast("Action", kind), who=caller.name)
    return rendering.go_to(visitor.address(f"/integrations/{system}"))


@router.post("/integrations/{system}/runs/{run_id}/cancel")
def cancel(
    services: AppServices, system: SystemKey, visitor: FormVisitor, run_id: UUID
) -> Response:
    """The same as `POST …/sync/history/{run_id}/cancel`."""
    caller = visitor.require(Permission.ASK_SYNC)
    with services.warehouse.as_app(caller.tenant) as connection:
        cancellation.cancel(connection, Scope(caller.tenant, system), run_id, who=caller.name)
    return rendering.go_to(visitor.address(f"/integrations/{system}"))


@router.post("/integrations/{system}/test")
def test_connection(
    request: Request, services: AppServices, system: SystemKey, visitor: FormVisitor
) -> Response:
    """The page with what a call to the source has just answered: the same as `POST …/test`."""
    caller = visitor.require(Permission.ASK_SYNC)
    began = time.monotonic()
    proof, code = None, None
    try:
        with services.slow_work.slot(caller.tenant):
            check = check_connection_and_alert(services.vault, caller.tenant, system)
        proof = presenters.connection_test(check)
    except PipelineError as error:  # the page says it, next to everything that is still true
        code = error.code
    outcome = TestedConnection(proof, code, time.monotonic() - began)
    return _page(request, services, system, visitor, outcome)


def _page(
    request: Request,
    services: Services,
    system: str,
    visitor: Visitor,
    outcome: TestedConnection | None = None,
) -> Response:
    view = _view(request, services, system, visitor)
    return rendering.page(
        request,
        "system.html",
        visitor,
        **_values(view, visitor),
        outcome=outcome,
        is_live=bool(view.status.current),
        may_connect=visitor.may(Permission.MANAGE_CONNECTION),
        spoken_before="",
    )


def _view(request: Request, services: Services, system: str, visitor: Visitor) -> SystemView:
    display = rendering.display_of(request, visitor)
    return system_view(services, Scope(visitor.tenant, system), display.zone)


def _values(view: SystemView, visitor: Visitor) -> dict[str, Any]:
    return {
        "system": view.system,
        "view": view,
        "may_sync": visitor.may(Permission.ASK_SYNC),
        "spoken": _spoken(view),
    }


def _spoken(view: SystemView) -> str:
    """A key that changes when a screen reader should speak: with the phase, and each 10 %."""
    running = view.running
    if running is None:
        return "waiting"
    shown = running.run.progress
    if shown is None:
        return "starting"
    percent = int(100 * (shown.share or 0)) // SPOKEN_STEP * SPOKEN_STEP
    return f"{shown.phase}-{shown.stage}-{percent}"
