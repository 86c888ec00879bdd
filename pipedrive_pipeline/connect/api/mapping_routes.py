"""The JSON routes of fields and their mapping.

They read with the role of the app, except the preview: the tenant's raw schema is open to the
engine only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import psycopg
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, models, presenters
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    versions_page,
)
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import MappingWriter, RecordReader
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.requests import request_sync
from pipedrive_pipeline.tenants import Tenant

router = APIRouter(prefix="/api/integrations/{system}", responses=REFUSALS, tags=["mapping"])

EntityParameter = Annotated[
    str, Query(min_length=1, max_length=63, description="A kind of records with custom fields.")
]
VersionNumber = Annotated[int, Path(ge=1, le=2_147_483_647)]


@router.get("/fields", response_model=Listed[models.FieldShown])
def fields(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """Every field that the tenant's records have or had, as the last sync read it."""
    with services.warehouse.as_app(caller.tenant) as connection:
        known = mappings.known_fields(connection, Scope(caller.tenant, system))
        active = mappings.active(connection, Scope(caller.tenant, system))
    return envelope.answer(request, presenters.fields(known, active.mapping))


@router.get("/fields/values", response_model=Listed[models.FieldValuesShown])
def field_values(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: MappingWriter,
    entity: EntityParameter,
) -> JSONResponse:
    """How often the newest 1,000 records have a value of each field, with up to three values.

    The values are of records: they help to tell fields apart, and are not stored.
    """
    with services.slow_work.slot(caller.tenant):
        scope = Scope(caller.tenant, system)
        values = mappings.field_values(services.warehouse, scope, entity)
    return envelope.answer(
        request, [models.FieldValuesShown.model_validate(asdict(row)) for row in values]
    )


@router.get("/field-mapping/proposals", response_model=Listed[models.ProposalShown])
def proposals(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """Entries that may be added to the active mapping, each with the reason; none is saved."""
    scope = Scope(caller.tenant, system)
    with services.warehouse.as_app(caller.tenant) as connection:
        known = mappings.known_fields(connection, scope)
        active = mappings.active(connection, scope)
        offers = mappings.proposals(connection, scope, active.mapping, known)
    return envelope.answer(request, [presenters.proposal(offer) for offer in offers])


@router.get("/field-mapping", response_model=Answer[models.MappingShown])
def mapping(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """The active mapping; version 0 if none was ever saved."""
    with services.warehouse.as_app(caller.tenant) as connection:
        version = mappings.active(connection, Scope(caller.tenant, system))
        shown = _shown(connection, caller.tenant, system, version, is_active=True)
    return envelope.answer(request, shown)


@router.put("/field-mapping", response_model=Answer[models.MappingShown])
def save_mapping(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: MappingWriter,
    wanted: models.MappingIn,
) -> JSONResponse:
    """Saves the mapping as a new version and rebuilds customers and contacts without a call.

    409 `mapping_outdated` if another version was saved since; 422 `bad_mapping` with an entry in
    `details` for each source that cannot be used.
    """
    with services.slow_work.slot(caller.tenant):
        version = mappings.save(
            services.warehouse,
            Scope(caller.tenant, system),
            wanted.text(),
            who=caller.name,
            based_on=wanted.version,
        )
    with services.warehouse.as_app(caller.tenant) as connection:
        request_sync(
            connection, Scope(caller.tenant, system), "remap", who=caller.name, is_for_change=True
        )
        shown = _shown(connection, caller.tenant, system, version, is_active=True)
    return envelope.answer(request, shown)


@router.post("/field-mapping/preview", response_model=Answer[models.PreviewShown])
def preview(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: MappingWriter,
    wanted: models.PreviewIn,
) -> JSONResponse:
    """The effect of a mapping: ten rows before and after, coverage, values that do not fit."""
    with services.slow_work.slot(caller.tenant):
        effect = mappings.preview(services.warehouse, Scope(caller.tenant, system), wanted.text())
    return envelope.answer(request, presenters.preview(effect))


@router.get("/field-mapping/versions", response_model=Listed[models.VersionShown])
def versions(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """Every saved version, newest first."""
    with services.warehouse.as_app(caller.tenant) as connection:
        saved = mappings.versions(connection, Scope(caller.tenant, system))
        active = mappings.active(connection, Scope(caller.tenant, system)).number
    shown = presenters.versions(saved, active=active)
    page, next_cursor = versions_page(shown, lambda row: row.version, limit, cursor)
    return envelope.answer(request, page, next_cursor=next_cursor)


@router.get("/field-mapping/versions/{number}", response_model=Answer[models.MappingShown])
def version(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    number: VersionNumber,
) -> JSONResponse:
    """One version as it was saved."""
    with services.warehouse.as_app(caller.tenant) as connection:
        saved = mappings.versions(connection, Scope(caller.tenant, system))
        wanted = next((version for version in saved if version.number == number), None)
        if wanted is None:
            raise NotFound
        active = mappings.active(connection, Scope(caller.tenant, system)).number
        shown = _shown(connection, caller.tenant, system, wanted, is_active=number == active)
    return envelope.answer(request, shown)


def _shown(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    version: mappings.Version,
    *,
    is_active: bool,
) -> models.MappingShown:
    known = mappings.known_fields(connection, Scope(tenant, system))
    return presenters.mapping(version, known, is_active=is_active)
