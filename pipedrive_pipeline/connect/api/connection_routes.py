"""The JSON routes of connections: list and test; and the health check."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, models, presenters, tenant_status
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import RecordReader, SyncRequester
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.sync.status.connection_alerts import check_connection_and_alert

router = APIRouter(responses=REFUSALS)


@router.get(
    "/healthz", response_model=Answer[models.Ok], tags=["health"], openapi_extra={"security": []}
)
def healthz(request: Request, services: AppServices) -> JSONResponse:
    """200 if the app and its database answer."""
    with services.warehouse.connect() as connection:
        connection.execute("select 1")
    return envelope.answer(request, models.Ok())


@router.get("/api/integrations", response_model=Listed[models.Connection], tags=["connection"])
def integrations(request: Request, services: AppServices, caller: RecordReader) -> JSONResponse:
    """Every system, with the tenant's connection to it."""
    return envelope.answer(request, tenant_status.connections_of(services, caller.tenant))


@router.post(
    "/api/integrations/{system}/test",
    response_model=Answer[models.ConnectionTest],
    tags=["connection"],
)
def test(
    request: Request, services: AppServices, system: SystemKey, caller: SyncRequester
) -> JSONResponse:
    """Whether the connection works now, as which user, and what that user cannot see."""
    with services.slow_work.slot(caller.tenant):
        proof = check_connection_and_alert(services.vault, caller.tenant, system)
    return envelope.answer(request, presenters.connection_test(proof))
