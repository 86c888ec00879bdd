"""The JSON routes of sinks.

A sink reads and writes a table of the app with a tenant's value that its declaration names: only
the operator may say which, since a tenant's admin could name another tenant's.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api import sink_models as models
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    encoded,
)
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import ConnectionManager, RecordReader
from pipedrive_pipeline.connect.errors import OperatorOnly
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.requests import request_sync

router = APIRouter(prefix="/api/integrations/{system}/sinks", responses=REFUSALS, tags=["sinks"])
SinkName = Annotated[str, Path(max_length=40)]


@router.get("", response_model=Answer[models.SinksActive])
def active_sinks(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """The sinks that are in use, with their states."""
    scope = Scope(caller.tenant, system)
    with services.warehouse.transaction(caller.tenant) as connection:  # for the names of roles
        version = sinks.active(connection, scope)
        states = sinks.states(connection, scope)
    return envelope.answer(
        request,
        models.SinksActive(
            **shown(version).model_dump(by_alias=False),
            states=[models.SinkStateShown.model_validate(state) for state in states.values()],
        ),
    )


@router.put("", response_model=Answer[models.SinksShown])
def save_sinks(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    wanted: models.SinksIn,
) -> JSONResponse:
    """Saves the sinks as a new version and feeds them; for the operator only.

    409 `sinks_outdated` if another version was saved since; 422 `bad_sink` with an entry in
    `details` for each setting that cannot be used; 409 `sink_rights` with the statements that the
    owner of the table must run.
    """
    require_operator(caller)
    scope = Scope(caller.tenant, system)
    with services.slow_work.slot(caller.tenant):
        version = sinks.save(
            services.warehouse,
            scope,
            wanted.sinks,
            who=caller.name,
            based_on=wanted.version,
            is_adding_columns=wanted.add_columns,
        )
    with services.warehouse.as_app(caller.tenant) as connection:
        request_sync(connection, scope, "remap", who=caller.name)
    return envelope.answer(request, shown(version))


@router.post("/preview", response_model=Listed[models.SinkPreviewShown])
def preview_sinks(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    wanted: models.SinksText,
) -> JSONResponse:
    """Ten real rows of each sink before and after; for the operator only, and nothing is kept."""
    require_operator(caller)
    with services.slow_work.slot(caller.tenant):
        previews = sinks.preview(services.warehouse, Scope(caller.tenant, system), wanted.sinks)
    return envelope.answer(
        request,
        [
            models.SinkPreviewShown(
                sink=each.sink.name,
                table=each.sink.table_name,
                rows=[models.SinkPreviewRow(**row) for row in each.rows],
                fault=each.fault,
                statements=each.statements,
                triggers=list(each.triggers),
                app_rows=each.app_rows,
            )
            for each in previews
        ],
    )


@router.get("/versions", response_model=Listed[models.SinksShown])
def sink_versions(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """Every saved version, newest first."""
    before = decoded(cursor, int)[0] if cursor else math.inf
    with services.warehouse.as_app(caller.tenant) as connection:
        saved = sinks.versions(connection, Scope(caller.tenant, system))
    rows = [shown(version) for version in saved if version.number < before]
    page, is_more = rows[:limit], len(rows) > limit
    return envelope.answer(
        request, page, next_cursor=encoded(page[-1].version) if is_more else None
    )


@router.post("/{sink}/match", response_model=Answer[models.MatchReportShown])
def match_rows(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    sink: SinkName,
) -> JSONResponse:
    """Which rows of the app are which records; for the operator only, nothing is written."""
    require_operator(caller)
    with services.slow_work.slot(caller.tenant):
        report = sinks.match(services.warehouse, Scope(caller.tenant, system), sink)
    return envelope.answer(request, models.MatchReportShown.model_validate(asdict(report)))


@router.post("/{sink}/confirm", response_model=Answer[models.ConfirmedShown])
def confirm_matches(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    sink: SinkName,
    wanted: models.ConfirmMatchesIn,
) -> JSONResponse:
    """Links what was matched and writes it with a remap; for the operator only."""
    require_operator(caller)
    scope = Scope(caller.tenant, system)
    with services.slow_work.slot(caller.tenant):
        confirmed = sinks.confirm(
            services.warehouse, scope, sink, who=caller.name, choices=wanted.choices
        )
    with services.warehouse.as_app(caller.tenant) as connection:
        request_sync(connection, scope, "remap", who=caller.name)
    return envelope.answer(request, models.ConfirmedShown.model_validate(confirmed))


@router.post("/{sink}/undo", response_model=Answer[models.UndoneShown])
def undo_matches(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    sink: SinkName,
) -> JSONResponse:
    """Gives adopted rows their values back and stops the sink; for the operator only."""
    require_operator(caller)
    with services.slow_work.slot(caller.tenant):
        undone = sinks.undo(services.warehouse, Scope(caller.tenant, system), sink, who=caller.name)
    return envelope.answer(request, models.UndoneShown.model_validate(undone))


def require_operator(caller: Caller) -> None:
    """Returns if the caller is the operator.

    Raises:
        OperatorOnly: it is a tenant's key.
    """
    if not caller.is_operator:
        raise OperatorOnly


def shown(version: sinks.SinksVersion) -> models.SinksShown:
    """Returns a version as an answer."""
    return models.SinksShown(
        version=version.number,
        sinks=version.written(),
        saved_at=version.saved_at,
        saved_by=version.saved_by,
    )
