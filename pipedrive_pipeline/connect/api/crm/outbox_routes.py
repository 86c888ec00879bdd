"""The writes that were asked for: what became of each, and the decision on a conflict.

A key that is bound to a user of the CRM has its own writes only, and decides about records that it
may see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import psycopg
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import ids, reading
from pipedrive_pipeline.connect.api.crm.incoming import api_name
from pipedrive_pipeline.connect.api.crm.objects import own_fields_of, resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    instant,
)
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import CrmReader, RecordWriter
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.marts.declared import Mart, mart
from pipedrive_pipeline.sync.writes import outbox, review
from pipedrive_pipeline.sync.writes.entries import State, WriteEntry
from pipedrive_pipeline.sync.writes.errors import RecordNotWritable
from pipedrive_pipeline.warehouse.database import Warehouse

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
    *,
    state: Annotated[State | None, Query(description="Such as conflict.")] = None,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """A page of the writes of the last seven days, the newest first."""
    place = decoded(cursor, instant, UUID) if cursor else None
    before = (place[0], place[1]) if place else None
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        entries = review.newest(
            connection,
            caller.tenant,
            state,
            before=before,
            limit=limit + 1,
            requested_by=caller.name if caller.crm_user_id else None,
        )
    return envelope.page(
        request, entries, limit, shown=shown, place=lambda entry: [entry.created_at, entry.id]
    )


@router.get("/{write_id}", response_model=Answer[dict[str, Any]])
def write(
    request: Request, services: AppServices, caller: CrmReader, write_id: UUID
) -> JSONResponse:
    """One write: its state, and the record, or why it was refused."""
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        entry = _entry_of(connection, caller, write_id)
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
        entry = _entry_of(connection, caller, write_id)
        if not _is_visible(services.warehouse, caller, entry):
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


def _entry_of(connection: psycopg.Connection, caller: Caller, write_id: UUID) -> WriteEntry:
    """The write of this id.

    Raises:
        NotFound: there is none that the caller may know of.
    """
    entry = outbox.entry_of(connection, caller.tenant, write_id)
    if entry is None or (caller.crm_user_id and entry.requested_by != caller.name):
        raise NotFound
    return entry


def _is_visible(warehouse: Warehouse, caller: Caller, entry: WriteEntry) -> bool:
    """True unless the write's record was hidden from the caller's user since."""
    if caller.crm_user_id is None or entry.remote_id is None:
        return True
    wanted = ids.RemoteId(entry.system, entry.remote_id)
    with reading.as_caller(warehouse, caller) as connection:
        return reading.row_of(connection, caller.tenant, mart(entry.mart), wanted) is not None


def shown(entry: WriteEntry) -> dict[str, Any]:
    """A write as the API shows it; it holds no value of a record."""
    declared, answer = mart(entry.mart), entry.answer or {}
    is_refused = "code" in answer
    changed = {*answer.get("changed", ())} - {*entry.sent_columns}
    remote = entry.remote_id
    return {
        "id": str(entry.id),
        "system": entry.system,
        "resource": resource_of(declared).path,
        "operation": entry.verb,
        "state": entry.state,
        "record_id": None if remote is None else ids.shown_remote(entry.system, remote),
        "fields": [api_name(declared, column) for column in entry.sent_columns],
        "changed_by_system": [
            each.name for each in own_fields_of(declared) if changed & {*each.columns}
        ],
        "error": _in_api_names(answer, declared) if is_refused else None,
        "requested_by": entry.requested_by,
        "attempts": entry.attempts,
        "created_at": entry.created_at,
        "settled_at": entry.settled_at,
    }


def _in_api_names(error: Mapping[str, Any], declared: Mart) -> dict[str, Any]:
    """A stored refusal with its fields as the API names them."""
    details = [
        {**each, "field": api_name(declared, each["field"])} for each in error.get("details", ())
    ]
    return {**error, "details": details} if details else dict(error)
