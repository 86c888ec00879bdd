"""The routes of the CRM API, one set for each mart that declares an `ApiResource`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import reading
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.models import Answer
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import RecordReader
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.marts.declared import MARTS, Mart

Deleted = Annotated[bool, Query(description="Also a record that is gone, with its reason.")]


def router_of(declared: Mart) -> APIRouter:
    """Returns the routes of one mart's resource."""
    resource = resource_of(declared)
    router = APIRouter(prefix=f"/api/crm/v1/{resource.path}", responses=REFUSALS, tags=["crm"])

    def read_one(
        request: Request,
        services: AppServices,
        caller: RecordReader,
        record_id: str,
        deleted: Deleted = False,
    ) -> JSONResponse:
        """The record with this id, such as `deal_<32 digits>` or `<system>:<id in that system>`."""
        found = reading.object_of(services.warehouse, caller, declared, record_id, deleted=deleted)
        return envelope.answer(request, found)

    router.add_api_route(
        "/{record_id}", read_one, methods=["GET"], response_model=Answer[dict[str, Any]]
    )
    return router


ROUTERS = tuple(router_of(declared) for declared in MARTS if declared.api is not None)
