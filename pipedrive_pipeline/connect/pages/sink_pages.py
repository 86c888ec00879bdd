"""`/integrations/{system}/sinks`: tables of the app that are fed, their state, and their faults.

The operator declares them, with `sinks` on the command line or by the API.
"""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.table_names import table_name
from pipedrive_pipeline.connect.pages.visitors import TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.scope import Scope

router = APIRouter(include_in_schema=False)


@router.get("/integrations/{system}/sinks")
def app_tables(
    request: Request, services: AppServices, system: SystemKey, visitor: TenantVisitor
) -> Response:
    """Each sink with its table, state and fault; the declarations; who saved which version."""
    display, scope = rendering.display_of(request, visitor), Scope(visitor.tenant, system)
    with services.warehouse.transaction(visitor.tenant) as connection:
        version = sinks.active(connection, scope)
        states = sinks.states(connection, scope)
        saved = sinks.versions(connection, scope)
    return rendering.page(
        request,
        "sinks.html",
        visitor,
        system=registry.system(system),
        table_name=lambda mart: table_name(display, mart),
        version=version,
        states=list(states.values()),
        declarations=json.dumps(version.written(), ensure_ascii=False, indent=2),
        saved=saved,
    )
