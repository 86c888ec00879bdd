"""The writes that were asked for: what became of each, and the decision on a conflict."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.connect.api.crm.incoming import api_name
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import CrmReader, RecordWriter
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.sync.writes import outbox, review
from pipedrive_pipeline.sync.writes.entries import State, WriteEntry
from pipedrive_pipeline.sync.writes.errors import RecordNotWritable

router = APIRouter(prefix=f"{PREFIX}/writes", responses=REFUSALS, tags=["crm"])


class Decision(BaseModel):
    """What a person decides about a write whose record moved."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    decision: Literal["overwrite", "discard"] = Field(
        description="overwrite: send it over the record as it is now; discard: give it up."
    )


@router.get("", response_model=Listed[dict[str, Any]])
def writes(
    request: Request,
    services: AppServices,
    caller: CrmReader,
    state: Annotated[State | None, Query(description="Such as conflict.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """The newest writes, those of the last seven days."""
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        entries = review.newest(connection, caller.tenant, state, limit=limit)
    return envelope.answer(request, [shown(each) for each in entries])


@router.get("/{write_id}", response_model=Answer[dict[str, Any]])
def write(
    request: Request, services: AppServices, caller: CrmReader, write_id: UUID
) -> JSONResponse:
    """One write: its state, and the record, or why it was refused."""
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        entry = outbox.entry_of(connection, caller.tenant, write_id)
    if entry is None:
        raise NotFound
    return envelope.answer(request, shown(entry))


@router.post("/{write_id}/decision", response_model=Answer[dict[str, Any]])
def decide(
    request: Request,
    services: AppServices,
    caller: RecordWriter,
    write_id: UUID,
    decision: Decision,
) -> JSONResponse:
    """The write after the decision; one that waits for none is left as it is (409)."""
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        entry = outbox.entry_of(connection, caller.tenant, write_id)
        if entry is None:
            raise NotFound
        if not review.decide(
            connection,
            entry.scope,
            entry.mart,
            decision.decision,
            who=caller.name,
            entry_id=write_id,
        ):
            raise RecordNotWritable(f"This write is {entry.state}; it waits for no decision.")
        entry = outbox.entry_of(connection, caller.tenant, write_id) or entry
    return envelope.answer(request, shown(entry))


def shown(entry: WriteEntry) -> dict[str, Any]:
    """A write as the API shows it; it holds no value of a record."""
    declared, answer = mart(entry.mart), entry.answer or {}
    is_refused = "code" in answer
    remote = entry.remote_id
    return {
        "id": str(entry.id),
        "system": entry.system,
        "resource": resource_of(declared).path,
        "operation": entry.verb,
        "state": entry.state,
        "record_id": None if remote is None else ids.shown_remote(entry.system, remote),
        "fields": [api_name(declared, column) for column in entry.sent_columns],
        "changed_by_system": [api_name(declared, each) for each in answer.get("changed", ())],
        "error": answer if is_refused else None,
        "requested_by": entry.requested_by,
        "attempts": entry.attempts,
        "created_at": entry.created_at,
        "settled_at": entry.settled_at,
    }
