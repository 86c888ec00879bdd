"""`/`: the operator's tenants, or a tenant's systems."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import tenant_status
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.visitors import AnyVisitor
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.sync.tenancy import registry as tenants

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, services: AppServices, visitor: AnyVisitor) -> Response:
    """The tenant's systems; for the operator without a tenant, every tenant."""
    if visitor.caller is None:
        return rendering.page(
            request,
            "home_operator.html",
            visitor,
            tenants=tenants.all_tenants(services.vault.warehouse),
            systems=registry.systems(),
        )
    connections = tenant_status.connections_of(services, visitor.tenant)
    return rendering.page(request, "home_tenant.html", visitor, connections=connections)
