"""`/integrations/{system}/sinks/{sink}/match`: which rows of the app are which records.

The report comes first and writes nothing; a person decides what is ambiguous, confirms, and may
take it back.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.sink_pages import (
    SinkName,
    changes_of,
    question,
    sink_or_404,
)
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, SystemKey
from pipedrive_pipeline.connectors import registry

router = APIRouter(include_in_schema=False)

CHOICE: Final = "row:"  # begins the field of an ambiguous row
NONE: Final = "none"  # its value: it is none of the candidates
RECORD: Final = "id:"  # begins its value: it is the record with this id
CountParameter = Annotated[int | None, Query(ge=0, le=2_147_483_647)]


@router.get("/integrations/{system}/sinks/{sink}/match")
def report(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    sink: SinkName,
    linked: CountParameter = None,
    undecided: CountParameter = None,
) -> Response:
    """The report of the last match as of now, with what a person must decide."""
    changes = changes_of(services, visitor, system)
    version, state = sink_or_404(services, visitor, system, sink)
    declared = version.sinks[sink]
    display = rendering.display_of(request, visitor)
    can_match = bool(declared.match_by or declared.link_column)
    return rendering.page(
        request,
        "sink_match.html",
        visitor,
        system=registry.system(system),
        sink=declared,
        state=state,
        mart_label=display.table(declared.mart),
        report=changes.match_report(sink) if can_match else None,
        linked=linked,
        undecided=undecided,
        choice=CHOICE,
        none=NONE,
        record=RECORD,
    )


@router.post("/integrations/{system}/sinks/{sink}/match")
def match(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sink: SinkName
) -> Response:
    """Compares both sides again; nothing of the app is written."""
    changes = changes_of(services, visitor, system)
    sink_or_404(services, visitor, system, sink)
    changes.match(sink)
    return rendering.go_to(visitor.address(f"/integrations/{system}/sinks/{sink}/match"))


@router.post("/integrations/{system}/sinks/{sink}/confirm")
def confirm(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sent: SentBody, sink: SinkName
) -> Response:
    """Links what was matched and decided; the build that follows writes it."""
    changes = changes_of(services, visitor, system)
    sink_or_404(services, visitor, system, sink)
    choices = {
        name.removeprefix(CHOICE): None if value == NONE else value.removeprefix(RECORD)
        for name, value in sent.texts().items()
        if name.startswith(CHOICE) and value
    }
    confirmed = changes.confirm(sink, choices)
    address = f"/integrations/{system}/sinks/{sink}/match"
    return rendering.go_to(
        visitor.address(address, linked=str(confirmed.linked), undecided=str(confirmed.open))
    )


@router.get("/integrations/{system}/sinks/{sink}/undo")
def ask_to_undo(
    request: Request,
    services: AppServices,
    system: SystemKey,
    visitor: TenantVisitor,
    sink: SinkName,
) -> Response:
    """Says what undoing means, with the button."""
    return question(request, services, visitor, system=system, sink=sink, template="sink_undo.html")


@router.post("/integrations/{system}/sinks/{sink}/undo")
def undo(
    services: AppServices, system: SystemKey, visitor: FormVisitor, sink: SinkName
) -> Response:
    """Gives adopted rows their values back, and stops the sink."""
    changes = changes_of(services, visitor, system)
    sink_or_404(services, visitor, system, sink)
    changes.undo(sink)
    address = f"/integrations/{system}/sinks"
    return rendering.go_to(visitor.address(address, done="undone", name=sink))
