"""`/integrations/{system}/sinks`: tables of the app that are fed, their state, and their faults.

Everybody with a key of the tenant sees them; the operator pauses and removes them here, declares
them in the editor (`sink_editor.py`) and matches rows (`sink_adoption.py`).
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.mapping_versions import number_of
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services, SystemKey
from pipedrive_pipeline.connect.sink_changes import SinkChanges
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.scope import Scope

router = APIRouter(include_in_schema=False)

VERSIONS_SHOWN = 20
DONE = ("saved", "paused", "resumed", "removed", "undone")  # what the last form did
SinkName = Annotated[str, Path(max_length=40)]
NameParameter = Annotated[str, Query(max_length=63)]


@router.get("/integrations/{system}/sinks")
def app_tables(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    done: NameParameter = "",
    name: NameParameter = "",
) -> Response:
    """Each sink with its table, state and fault; the declarations; who saved which version."""
    visitor.require(Permission.READ_RECORDS)
    scope = Scope(visitor.tenant, system)
    with services.warehouse.transaction(visitor.tenant) as connection:
        version = sinks.active(connection, scope)
        states = sinks.states(connection, scope)
        saved = sinks.versions(connection, scope)
    return rendering.page(
        request,
        "sinks.html",
        visitor,
        system=registry.system(system),
        version=version,
        states=list(states.values()),
        declarations=json.dumps(version.written(), ensure_ascii=False, indent=2),
        saved=saved[:VERSIONS_SHOWN],
        done=done if done in DONE else "",
        name=name,
    )


@router.post("/integrations/{system}/sinks/{sink}/pause")
def pause(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody, sink: SinkName
) -> Response:
    """Pauses a sink, or lets it go on; both are a new version."""
    changes = changes_of(services, visitor, system)
    version, _state = sink_or_404(services, visitor, system, sink)
    declarations = version.written()
    is_paused = sent.text("paused") == "1"
    declarations[sink]["paused"] = is_paused
    changes.save(declarations, based_on=number_of(sent, "version", least=0))
    done = "paused" if is_paused else "resumed"
    address = f"/integrations/{system}/sinks"
    return rendering.go_to(visitor.address(address, done=done, name=sink))


@router.get("/integrations/{system}/sinks/{sink}/remove")
def ask_to_remove(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    sink: SinkName,
) -> Response:
    """Says what removing a sink means, with the button."""
    return question(
        request, services, visitor, system=system, sink=sink, template="sink_remove.html"
    )


@router.post("/integrations/{system}/sinks/{sink}/remove")
def remove(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody, sink: SinkName
) -> Response:
    """Saves a version without the sink; its links stay known if it is declared again."""
    changes = changes_of(services, visitor, system)
    version, _state = sink_or_404(services, visitor, system, sink)
    others = {name: each for name, each in version.written().items() if name != sink}
    changes.save(others, based_on=number_of(sent, "version", least=0))
    address = f"/integrations/{system}/sinks"
    return rendering.go_to(visitor.address(address, done="removed", name=sink))


def changes_of(services: Services, visitor: Visitor, system: str) -> SinkChanges:
    """The sinks of the tenant, to be changed by this visitor.

    Raises:
        PermissionMissing, OperatorOnly: the visitor is not the operator.
    """
    return SinkChanges(services, visitor.require(Permission.MANAGE_CONNECTION), system)


def question(
    request: Request,
    services: Services,
    visitor: Visitor,
    *,
    system: str,
    sink: str,
    template: str,
) -> Response:
    """A page that says what a button does to a sink.

    Raises:
        PermissionMissing, OperatorOnly: the visitor is not the operator.
        NotFound: no sink has this name.
    """
    changes_of(services, visitor, system)
    version, state = sink_or_404(services, visitor, system, sink)
    return rendering.page(
        request,
        template,
        visitor,
        system=registry.system(system),
        sink=version.sinks[sink],
        state=state,
        version=version,
    )


def sink_or_404(
    services: Services, visitor: Visitor, system: str, name: str
) -> tuple[sinks.SinksVersion, sinks.SinkState]:
    """The active version, which declares this sink, and the sink's state.

    Raises:
        NotFound: no sink has this name.
    """
    scope = Scope(visitor.tenant, system)
    with services.warehouse.transaction(visitor.tenant) as connection:
        version = sinks.active(connection, scope)
        states = sinks.states(connection, scope)
    if name not in version.sinks or name not in states:
        raise NotFound
    return version, states[name]
