"""The JSON routes of syncs: status, requests, history, settings.

A sensor of Dagster starts the run from the row that `POST sync` writes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import (
    envelope,
    idempotency,
    presenters,
    sync_models,
    tenant_status,
)
from pipedrive_pipeline.connect.api.cursors import decoded, instant
from pipedrive_pipeline.connect.api.idempotency import Call, IdempotencyKey
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import (
    ConnectionManager,
    RecordReader,
    SyncRequester,
)
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import cancellation, listing, requests
from pipedrive_pipeline.sync.runs.listing import RunCursor
from pipedrive_pipeline.sync.status import notify
from pipedrive_pipeline.sync.status.trends import run_figures
from pipedrive_pipeline.sync.tenancy import configuration

router = APIRouter(prefix="/api/integrations/{system}", responses=REFUSALS, tags=["sync"])


@router.get("/status", response_model=Answer[sync_models.Status])
def status(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """State, company, rights, rows, freshness, budget, the last run, and current runs."""
    return envelope.answer(request, tenant_status.status(services, caller.tenant, system))


@router.post(
    "/sync",
    status_code=202,
    response_model=Answer[sync_models.SyncRequest],
    responses={
        200: {"model": Answer[sync_models.PriceOfRead], "description": "`dryRun`: the price."}
    },
)
def sync(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: SyncRequester,
    wanted: sync_models.SyncIn = sync_models.SyncIn(),  # noqa: B008 - frozen
    dry_run: Annotated[bool, Query(alias="dryRun")] = False,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The request for a sync, or the one that is queued or running for it already.

    With `dryRun=true` no sync is requested: the answer is its price in tokens of the day's budget.
    """
    if dry_run:
        price = tenant_status.price(services, caller.tenant, system, wanted.sync_type)
        return envelope.answer(request, price)
    call = Call.of(request, caller, idempotency_key, wanted)
    with services.warehouse.as_app(caller.tenant) as connection:
        former = idempotency.begin(connection, caller, call)
        if former:
            return idempotency.replay(request, former)
        row = requests.request_sync(
            connection, Scope(caller.tenant, system), wanted.sync_type, who=caller.name
        )
        shown = presenters.sync_request(row)
        idempotency.remember(connection, caller, call, 202, shown)
    return envelope.answer(request, shown, status=202)


@router.get("/sync/requests/{request_id}", response_model=Answer[sync_models.SyncRequest])
def sync_request(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    request_id: UUID,
) -> JSONResponse:
    """A request, from queued to done, with the progress of its run."""
    with services.warehouse.as_app(caller.tenant) as connection:
        row = requests.find_request(connection, Scope(caller.tenant, system), request_id)
    if row is None:
        raise NotFound
    return envelope.answer(request, presenters.sync_request(row))


@router.get("/sync/history", response_model=Listed[sync_models.Run])
def history(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    query: Annotated[sync_models.RunsIn, Query()],
) -> JSONResponse:
    """Runs, and requests that wait for one, newest first, page by page."""
    with services.warehouse.as_app(caller.tenant) as connection:
        rows = listing.list_runs(
            connection,
            caller.tenant,
            system,
            listing.RunFilter(
                query.status, query.sync_type, query.trigger, query.since, query.until
            ),
            after=(RunCursor(*decoded(query.cursor, instant, UUID)) if query.cursor else None),
            limit=query.limit + 1,
        )
    return envelope.page(
        request,
        rows,
        query.limit,
        shown=presenters.run,
        place=lambda row: [row.place.at, row.place.id],
    )


@router.get("/sync/history/{run_id}", response_model=Answer[sync_models.Run])
def run(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader, run_id: UUID
) -> JSONResponse:
    """One run."""
    with services.warehouse.as_app(caller.tenant) as connection:
        row = listing.find_run(connection, caller.tenant, system, run_id)
    if row is None:
        raise NotFound
    return envelope.answer(request, presenters.run(row))


@router.post("/sync/history/{run_id}/cancel", response_model=Answer[sync_models.Run])
def cancel(
    request: Request, services: AppServices, system: SystemKey, caller: SyncRequester, run_id: UUID
) -> JSONResponse:
    """Ends a run at its next page, or a waiting request at once; one that has ended stays so."""
    scope = Scope(caller.tenant, system)
    with services.warehouse.as_app(caller.tenant) as connection:
        cancellation.cancel(connection, scope, run_id, who=caller.name)
        row = listing.find_run(connection, caller.tenant, system, run_id)
    if row is None:
        raise NotFound
    return envelope.answer(request, presenters.run(row))


@router.get("/sync/trends", response_model=Listed[sync_models.TrendPoint])
def trends(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    query: Annotated[sync_models.TrendsIn, Query()],
) -> JSONResponse:
    """Rows, seconds and tokens of the newest runs that have ended, oldest first, for a chart."""
    with services.warehouse.as_app(caller.tenant) as connection:
        figures = run_figures(connection, Scope(caller.tenant, system), limit=query.limit)
    return envelope.answer(
        request, [sync_models.TrendPoint(**asdict(of_run)) for of_run in figures]
    )


@router.get("/sync-config", response_model=Answer[sync_models.Config])
def sync_config(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """When and how the tenant is synced."""
    with services.warehouse.as_app(caller.tenant) as connection:
        scope = Scope(caller.tenant, system)
        config = configuration.read(connection, services.vault.cipher, scope)
    return envelope.answer(request, presenters.config(config))


@router.put("/sync-config", response_model=Answer[sync_models.Config])
def save_sync_config(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    wanted: sync_models.Config,
) -> JSONResponse:
    """Changes the settings that the body contains; the others stay."""
    tenant = caller.tenant
    with services.warehouse.as_app(tenant, turn=tenant.settings_lock) as connection:
        config = configuration.save(
            connection,
            services.vault.cipher,
            Scope(tenant, system),
            wanted.changed(),
            settings=services.vault.settings,
            who=caller.name,
        )
    return envelope.answer(request, presenters.config(config))


@router.get("/sync-config/next", response_model=Answer[sync_models.NextSyncs])
def next_syncs(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """When the schedule will sync the tenant next."""
    scope = Scope(caller.tenant, system)
    with services.warehouse.as_app(caller.tenant) as connection:
        config = configuration.read(connection, services.vault.cipher, scope)
        zone = configuration.zone_of(connection, caller.tenant, config)
    return envelope.answer(request, tenant_status.next_syncs(config, zone))


@router.post("/sync-config/test-alert", response_model=Answer[sync_models.AlertTest])
def test_alert(
    request: Request, services: AppServices, system: SystemKey, caller: ConnectionManager
) -> JSONResponse:
    """Sends an alert to the addresses of the settings, to try them out."""
    with services.slow_work.slot(caller.tenant):
        outcome = notify.send_test(
            services.vault.warehouse, services.vault.settings, Scope(caller.tenant, system)
        )
    return envelope.answer(request, sync_models.AlertTest.model_validate(outcome))
