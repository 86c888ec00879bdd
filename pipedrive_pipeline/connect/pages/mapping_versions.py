"""`/integrations/{system}/mapping/versions/{number}`: one saved version, and restoring it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.mapping_view import labels_of, names_of
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, Body, SentBody, Services, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.requests import request_sync

router = APIRouter(include_in_schema=False)

VersionNumber = Annotated[int, Path(ge=1, le=2_147_483_647)]


@router.get("/integrations/{system}/mapping/versions/{number}")
def version(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    number: VersionNumber,
) -> Response:
    """One version: what it changed, what restoring it would change, and the button."""
    visitor.require(Permission.READ_RECORDS)
    scope = Scope(visitor.tenant, system)
    with services.warehouse.as_app(visitor.tenant) as connection:
        fields = mappings.known_fields(connection, scope)
        saved = mappings.versions(connection, scope)
        active = mappings.active(connection, scope)
    place = next((at for at, each in enumerate(saved) if each.number == number), None)
    if place is None:
        raise NotFound
    wanted = saved[place]
    former = saved[place + 1] if place + 1 < len(saved) else mappings.Version()
    return rendering.page(
        request,
        "mapping_version.html",
        visitor,
        system=registry.system(system),
        version=wanted,
        active=active,
        changes=mappings.differences(former.mapping, wanted.mapping),
        restoring=mappings.differences(active.mapping, wanted.mapping),
        names=names_of(fields),
        marts=field_entities(system),
        labels=labels_of(rendering.display_of(request, visitor)),
        next_version=saved[0].number + 1,
        may_write=visitor.may(Permission.WRITE_MAPPING),
    )


@router.post("/integrations/{system}/mapping/restore")
def restore(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Saves a former version's mapping as a new version."""
    caller = visitor.require(Permission.WRITE_MAPPING)
    scope, number = Scope(visitor.tenant, system), number_of(sent, "number")
    with services.warehouse.as_app(visitor.tenant) as connection:
        saved = mappings.versions(connection, scope)
    wanted = next((each for each in saved if each.number == number), None)
    if wanted is None:
        raise NotFound
    based_on = number_of(sent, "version", least=0)
    new = save_version(services, scope, wanted.mapping, who=caller.name, based_on=based_on)
    address = f"/integrations/{system}/mapping"
    return rendering.go_to(visitor.address(address, saved=new.number))


def save_version(
    services: Services, scope: Scope, mapping: mappings.Mapping, *, who: str, based_on: int
) -> mappings.Version:
    """A new version, and the request for a build with it."""
    with services.slow_work.slot(scope.tenant):
        new = mappings.save(
            services.warehouse, scope, mapping.written(), who=who, based_on=based_on
        )
    with services.warehouse.as_app(scope.tenant) as connection:
        request_sync(connection, scope, "remap", who=who, is_for_change=True)
    return new


def number_of(sent: Body, name: str, *, least: int = 1) -> int:
    """A whole number of a form.

    Raises:
        BadInput: it is none, or too small or large.
    """
    text = sent.text(name)
    if not (text.isascii() and text.isdecimal() and least <= int(text[:10]) <= 2_147_483_647):
        raise BadInput(f"{name} must be a whole number.")
    return int(text)
