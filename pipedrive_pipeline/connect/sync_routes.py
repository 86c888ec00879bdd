"""The JSON routes of syncs: asked for, followed, looked back at, and set up.

Belongs here: paths, and who may call them. Does not belong here: starting a run (a sensor does,
from the row that a call writes), or the queries (`sync/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect import envelope, idempotency, shapes, standing, sync_models
from pipedrive_pipeline.connect.documented import REFUSALS, reads
from pipedrive_pipeline.connect.idempotency import Call, IdempotencyKey
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.models import Answer, Listed
from pipedrive_pipeline.connect.paging import cursor_of, place_of
from pipedrive_pipeline.connect.polled import Answering, query, reading
from pipedrive_pipeline.connect.refusals import NotFound
from pipedrive_pipeline.connect.requests import (
    Admin,
    Held,
    Manager,
    Reader,
    SystemKey,
)
from pipedrive_pipeline.sync import asking, configuration, runs

router = APIRouter(prefix="/api/integrations/{system}", responses=REFUSALS, tags=["sync"])


@router.get("/status", response_model=Answer[sync_models.Status], openapi_extra=reads())
def status(request: Request) -> JSONResponse:
    """State, company, rights, rows, freshness, budget, the last run, and what runs now."""
    with reading(request, Role.USER) as by:
        seen = standing.seen(by.connection, by.caller.tenant, by.system)
    return envelope.answered(request, standing.status(by.house, by.caller.tenant, by.system, seen))


@router.post(
    "/sync",
    status_code=202,
    response_model=Answer[sync_models.SyncRequest],
    responses={
        200: {"model": Answer[sync_models.Price], "description": "`dryRun`: what it would cost."}
    },
)
def sync(
    *,
    request: Request,
    house: Held,
    system: SystemKey,
    caller: Manager,
    wanted: sync_models.SyncIn = sync_models.SyncIn(),  # noqa: B008 - frozen
    dry_run: Annotated[bool, Query(alias="dryRun")] = False,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The request for a sync, or the one that is queued or running for it already.

    With `dryRun=true` nothing is asked for: the answer is what it would cost of the day's budget.
    """
    if dry_run:
        price = standing.price(house, caller.tenant, system, wanted.sync_type)
        return envelope.answered(request, price)
    call = Call.of(request, caller, idempotency_key, wanted)
    with house.warehouse.as_app(caller.tenant) as connection:
        before = idempotency.begin(connection, caller, call)
        if before:
            return envelope.replied(
                request, before.data, status=before.status, headers=idempotency.REPLAYED
            )
        found = asking.ask(connection, caller.tenant, system, wanted.sync_type, who=caller.name)
        shown = envelope.shown(shapes.asked(found))
        idempotency.remember(connection, caller, call, 202, shown)
    return envelope.replied(request, shown, status=202)


@router.get("/sync/requests/{request_id}", response_model=Answer[sync_models.SyncRequest])
def sync_request(
    request: Request, house: Held, system: SystemKey, caller: Reader, request_id: UUID
) -> JSONResponse:
    """A request, from queued to done, with the progress of its run."""
    with house.warehouse.as_app(caller.tenant) as connection:
        found = asking.request(connection, caller.tenant, system, request_id)
    if found is None:
        raise NotFound
    return envelope.answered(request, shapes.asked(found))


@router.get(
    "/sync/history",
    response_model=Listed[sync_models.Run],
    openapi_extra=reads(sync_models.RunsIn),
)
def history(request: Request) -> JSONResponse:
    """Runs and what waits for one, newest first, page by page."""
    with reading(request, Role.USER) as by:
        given = query(request, sync_models.RunsIn)
        found = runs.page(
            by.connection,
            by.caller.tenant,
            by.system,
            runs.Wanted(given.status, given.sync_type, given.trigger, given.since, given.until),
            after=place_of(given.cursor) if given.cursor else None,
            limit=given.limit + 1,
        )
    page, is_more = found[: given.limit], len(found) > given.limit
    return envelope.replied(
        request,
        [shapes.run(one) for one in page],
        next_cursor=cursor_of(page[-1].place) if is_more else None,
    )


@router.get("/sync/history/{run_id}", response_model=Answer[sync_models.Run])
def run(
    request: Request, house: Held, system: SystemKey, caller: Reader, run_id: UUID
) -> JSONResponse:
    """One run."""
    with house.warehouse.as_app(caller.tenant) as connection:
        found = runs.one(connection, caller.tenant, system, run_id)
    if found is None:
        raise NotFound
    return envelope.answered(request, shapes.run(found))


@router.get("/sync-config", response_model=Answer[sync_models.Config])
def sync_config(request: Request, house: Held, system: SystemKey, caller: Reader) -> JSONResponse:
    """When and how the tenant is synced."""
    with house.warehouse.as_app(caller.tenant) as connection:
        held = configuration.read(connection, house.vault.cipher, caller.tenant, system)
    return envelope.answered(request, shapes.config(held))


@router.put("/sync-config", response_model=Answer[sync_models.Config])
def save_sync_config(
    request: Request, house: Held, system: SystemKey, caller: Admin, wanted: sync_models.Config
) -> JSONResponse:
    """The settings with what was sent; what was left out stays as it is."""
    with house.warehouse.as_app(caller.tenant) as connection:
        saved = configuration.save(
            connection, house.vault.cipher, caller.tenant, system, wanted.changed(), who=caller.name
        )
    return envelope.answered(request, shapes.config(saved))


POLLED: Mapping[str, Answering] = {"status": status, "sync/history": history}
