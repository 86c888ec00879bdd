"""Pages that ask before something happens: read everything, mark as deleted, disconnect.

Each names the number, the price and the way back, and works without JavaScript.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import review, tenant_status
from pipedrive_pipeline.connect.api.review_models import DeletionDecision
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.system_view import system_view
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.deletion_examples import record_page
from pipedrive_pipeline.vault.disconnect import disconnect as end_connection

router = APIRouter(include_in_schema=False)


@router.get("/integrations/{system}/full")
def ask_full_read(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """The price of reading everything again, by what is here; no call to the source."""
    visitor.require(Permission.ASK_SYNC)
    display = rendering.display_of(request, visitor)
    view = system_view(services, Scope(visitor.tenant, system), display.zone)
    rows = sum(entity.rows or 0 for entity in view.status.entities)
    return rendering.page(
        request, "ask_full.html", visitor, system=view.system, view=view, rows=rows
    )


@router.get("/integrations/{system}/deletions/{entity}")
def deletions(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor, entity: str
) -> Response:
    """Examples of records that are no longer listed, and the two ways to decide."""
    scope = Scope(visitor.tenant, system)
    with services.warehouse.as_app(visitor.tenant) as connection:
        found = [row for row in review.held(connection, scope) if row.entity == entity]
    if not found:
        raise NotFound
    status = tenant_status.status(services, visitor.tenant, system)
    return rendering.page(
        request,
        "deletions.html",
        visitor,
        system=registry.system(system),
        held=found[0],
        record_page=record_page(scope, entity) if status.company.domain else None,
        company_domain=status.company.domain,
        may_decide=visitor.may(Permission.ASK_SYNC),
    )


@router.post("/integrations/{system}/deletions/{entity}")
def decide(
    services: AppServices, system: SystemKey, visitor: FormVisitor, entity: str, sent: SentBody
) -> Response:
    """The same as `PUT …/deletions/{entity}`."""
    caller = visitor.require(Permission.ASK_SYNC)
    with services.warehouse.as_app(caller.tenant) as connection:
        review.decide(
            connection, Scope(caller.tenant, system), entity, _decision(sent), who=caller.name
        )
    return rendering.go_to(visitor.address(f"/integrations/{system}"))


@router.get("/integrations/{system}/disconnect")
def ask_disconnect(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """What disconnecting does, and what stays."""
    visitor.require(Permission.MANAGE_CONNECTION)
    status = tenant_status.status(services, visitor.tenant, system)
    rows = sum(entity.rows or 0 for entity in status.entities)
    return rendering.page(
        request, "ask_disconnect.html", visitor, system=registry.system(system), rows=rows
    )


@router.post("/integrations/{system}/disconnect")
def disconnect(services: AppServices, system: SystemKey, visitor: FormVisitor) -> Response:
    """The same as `DELETE …/disconnect`."""
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    with services.slow_work.slot(caller.tenant):
        end_connection(services.vault, Scope(caller.tenant, system), who=caller.name)
    return rendering.go_to(visitor.address(f"/integrations/{system}"))


def _decision(sent: SentBody) -> DeletionDecision:
    """The decision in a form.

    Raises:
        BadInput: it is none.
    """
    try:
        return DeletionDecision.model_validate(
            {
                "decision": sent.text("decision"),
                "found_at": datetime.fromisoformat(sent.text("found_at")),
            }
        )
    except ValueError:  # pydantic's is one
        raise BadInput("This form was changed on its way; open the page again.") from None
