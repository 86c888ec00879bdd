"""`/problems`: everything that needs a person, with what to do."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.visitors import AnyVisitor, FormVisitor
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status import problems as known_problems
from pipedrive_pipeline.sync.writes import review

router = APIRouter(include_in_schema=False)

Effect = Literal["stops", "held", "resolved"]
Decision = Literal["overwrite", "discard"]


@router.get("/problems")
def problems(
    request: Request,
    services: AppServices,
    visitor: AnyVisitor,
    show: Annotated[Effect | None, Query()] = None,
) -> Response:
    """The open problems of the tenant, or of all for the operator, and those of the last days."""
    tenant = visitor.caller.tenant if visitor.caller else None
    with visitor.rows(services) as connection:
        stopping = known_problems.open_problems(connection, tenant, stops_data=True)
        held = known_problems.open_problems(connection, tenant, stops_data=False)
        resolved = known_problems.resolved_problems(connection, tenant)
    return rendering.page(
        request,
        "problems.html",
        visitor,
        counts=visitor.problems,
        show=show,
        stopping=stopping if show in {None, "stops"} else [],
        held=held if show in {None, "held"} else [],
        resolved=resolved if show in {None, "resolved"} else [],
        resolved_count=len(resolved),
        labels={system.key: system.label for system in registry.systems()},
        may_connect=visitor.is_operator or visitor.may(Permission.MANAGE_CONNECTION),
        may_sync=visitor.is_operator or visitor.may(Permission.ASK_SYNC),
        may_write=visitor.is_operator or visitor.may(Permission.WRITE_RECORDS),
        may_send=visitor.is_operator or visitor.may(Permission.MANAGE_WEBHOOKS),
        may_map=visitor.is_operator or visitor.may(Permission.WRITE_MAPPING),
    )


@router.post("/integrations/{system}/writes/{mart}/{decision}")
def decide_writes(
    services: AppServices,
    system: SystemKey,
    mart: str,
    decision: Decision,
    visitor: FormVisitor,
) -> Response:
    """The decision on all writes of a table that met a conflict."""
    caller = visitor.require(Permission.WRITE_RECORDS)
    scope = Scope(caller.tenant, system)
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        review.decide(connection, scope, mart, decision, who=caller.name)
    return rendering.go_to(visitor.address("/problems"))
