"""What the CRM API can do: its resources, and the operations of each in each system."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import filters, schemas
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.models import Answer
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import CrmReader
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.sources import mart_sources

READING: Final = ("list", "read")


class Resource(BaseModel):
    """One kind of record."""

    path: str = Field(description="Under /api/crm/v1.")
    id_prefix: str = Field(description="Begins the ids of its records.")
    description: str
    filters: list[str] = Field(description="Parameters of its list that choose records.")
    sorts: list[str] = Field(description="Fields that its list may be sorted by.")
    include: list[str] = Field(description="Linked records that its objects may contain.")
    systems: dict[str, list[str]] = Field(
        description="What each system can do with it; a system without such records is not named."
    )


class Capabilities(BaseModel):
    """The version of this API, and what it can do."""

    version: str
    resources: list[Resource]


router = APIRouter(prefix=PREFIX, responses=REFUSALS, tags=["crm"])


@router.get("", response_model=Answer[Capabilities])
def read_capabilities(request: Request, _: CrmReader) -> JSONResponse:
    """The resources of this API, and the operations of each in each system."""
    resources = [resource(declared) for declared in MARTS if declared.api]
    return envelope.answer(request, Capabilities(version="v1", resources=resources))


def resource(declared: Mart) -> Resource:
    """Returns what the API can do with a mart's records."""
    shown = resource_of(declared)
    search = ["search"] if shown.searched else []
    return Resource(
        path=shown.path,
        id_prefix=shown.id_prefix,
        description=f"{declared.of}.",
        filters=[*search, *(each.name for each in filters.filters_of(declared)), "updated_since"],
        sorts=[*filters.sorts_of(declared)],
        include=[*schemas.links_of(declared)],
        systems={
            system.key: [
                *READING,
                *(each.verb for each in system.writes if each.mart == declared.name),
            ]
            for system in systems()
            if declared in {source.mart for source in mart_sources(system.key)}
        },
    )
