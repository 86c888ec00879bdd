"""`/integrations/{system}`: whether a system is read, how far, and what is left of today."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import presenters, tenant_status
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import listing, requests

router = APIRouter(include_in_schema=False)

SHOWN_RUNS = 20
READING_TYPES = frozenset({"full", "incremental"})  # the button would only join such a run


@router.get("/integrations/{system}")
def system_page(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """The status and history of one system."""
    with services.warehouse.as_app(visitor.tenant) as connection:
        rows = listing.list_runs(connection, visitor.tenant, system, limit=SHOWN_RUNS)
    status = tenant_status.status(services, visitor.tenant, system)
    return rendering.page(
        request,
        "system.html",
        visitor,
        system=registry.system(system),
        status=status,
        runs=[presenters.run(row) for row in rows],
        may_sync=visitor.may(Permission.ASK_SYNC)
        and status.state == "connected"
        and not any(run.sync_type in READING_TYPES for run in status.current),
        may_connect=visitor.may(Permission.MANAGE_CONNECTION),
    )


@router.post("/integrations/{system}/sync")
def sync_now(services: AppServices, system: SystemKey, visitor: FormVisitor) -> Response:
    """The button of the page: the same as `POST …/sync`."""
    caller = visitor.require(Permission.ASK_SYNC)
    with services.warehouse.as_app(caller.tenant) as connection:
        requests.request_sync(
            connection, Scope(caller.tenant, system), "incremental", who=caller.name
        )
    return rendering.go_to(visitor.address(f"/integrations/{system}"))
