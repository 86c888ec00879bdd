"""The JSON routes of fields and their mapping.

Belongs here: paths, and who may call them. Does not belong here: what a mapping may say
(`marts/mapping`). Reading works as the app; a preview reads the tenant's own raw schema, which the
engine alone may.
"""

from __future__ import annotations

from typing import Annotated

import psycopg
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect import envelope, models, shapes
from pipedrive_pipeline.connect.documented import REFUSALS
from pipedrive_pipeline.connect.models import Answer, Listed
from pipedrive_pipeline.connect.refusals import NotFound
from pipedrive_pipeline.connect.requests import Held, Manager, Reader, SystemKey
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.sync.asking import ask
from pipedrive_pipeline.tenants import Tenant

router = APIRouter(prefix="/api/integrations/{system}", responses=REFUSALS, tags=["mapping"])

VersionNumber = Annotated[int, Path(ge=1, le=2_147_483_647)]


@router.get("/fields", response_model=Listed[models.FieldShown])
def fields(request: Request, house: Held, system: SystemKey, caller: Reader) -> JSONResponse:
    """Every field that the tenant's records have or had, as the last sync saw it."""
    with house.warehouse.as_app(caller.tenant) as connection:
        known = mappings.known_fields(connection, caller.tenant, system)
        active = mappings.active(connection, caller.tenant, system)
    return envelope.answered(request, shapes.fields(known, active.mapping))


@router.get("/field-mapping", response_model=Answer[models.MappingShown])
def mapping(request: Request, house: Held, system: SystemKey, caller: Reader) -> JSONResponse:
    """The active mapping; version 0 where nothing was ever saved."""
    with house.warehouse.as_app(caller.tenant) as connection:
        version = mappings.active(connection, caller.tenant, system)
        shown = _shown(connection, caller.tenant, system, version, is_active=True)
    return envelope.answered(request, shown)


@router.put("/field-mapping", response_model=Answer[models.MappingShown])
def save_mapping(
    request: Request,
    house: Held,
    system: SystemKey,
    caller: Manager,
    wanted: models.MappingIn,
) -> JSONResponse:
    """The mapping as a new version; customers and contacts are rebuilt with it, without a call.

    409 `mapping_outdated` if another version was saved since; 422 `bad_mapping` with an entry in
    `details` for each source that cannot be used.
    """
    saved = mappings.save(
        house.warehouse,
        caller.tenant,
        system,
        wanted.text(),
        who=caller.name,
        based_on=wanted.version,
    )
    with house.warehouse.as_app(caller.tenant) as connection:
        ask(connection, caller.tenant, system, "remap", who=caller.name)
        shown = _shown(connection, caller.tenant, system, saved, is_active=True)
    return envelope.answered(request, shown)


@router.post("/field-mapping/preview", response_model=Answer[models.PreviewShown])
def preview(
    request: Request, house: Held, system: SystemKey, caller: Manager, wanted: models.PreviewIn
) -> JSONResponse:
    """What a mapping would do: ten rows before and after, coverage, values that do not fit."""
    seen = mappings.preview(house.warehouse, caller.tenant, system, wanted.text())
    return envelope.answered(request, shapes.preview(seen))


@router.get("/field-mapping/versions", response_model=Listed[models.VersionShown])
def versions(request: Request, house: Held, system: SystemKey, caller: Reader) -> JSONResponse:
    """Every version that was saved, newest first."""
    with house.warehouse.as_app(caller.tenant) as connection:
        saved = mappings.versions(connection, caller.tenant, system)
        active = mappings.active(connection, caller.tenant, system).number
    shown = [
        models.VersionShown(
            version=one.number,
            is_active=one.number == active,
            saved_at=one.saved_at,
            saved_by=one.saved_by,
        )
        for one in saved
        if one.saved_at
    ]
    return envelope.answered(request, shown)


@router.get("/field-mapping/versions/{number}", response_model=Answer[models.MappingShown])
def version(
    request: Request, house: Held, system: SystemKey, caller: Reader, number: VersionNumber
) -> JSONResponse:
    """One version as it was saved."""
    with house.warehouse.as_app(caller.tenant) as connection:
        saved = mappings.versions(connection, caller.tenant, system)
        found = next((one for one in saved if one.number == number), None)
        if found is None:
            raise NotFound
        active = mappings.active(connection, caller.tenant, system).number
        shown = _shown(connection, caller.tenant, system, found, is_active=found.number == active)
    return envelope.answered(request, shown)


def _shown(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    version: mappings.Version,
    *,
    is_active: bool,
) -> models.MappingShown:
    known = mappings.known_fields(connection, tenant, system)
    return shapes.mapping(version, known, is_active=is_active)
