"""The JSON routes of sinks; only the operator changes them (`connect/sink_changes.py`)."""

from __future__ import annotations

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
    versions_page,
)
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import ConnectionManager, RecordReader
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.connect.sink_changes import SinkChanges
from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.scope import Scope

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
    version = SinkChanges(services, caller, system).save(
        wanted.sinks, based_on=wanted.version, is_adding_columns=wanted.add_columns
    )
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
    previews = SinkChanges(services, caller, system).preview(wanted.sinks)
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
    with services.warehouse.as_app(caller.tenant) as connection:
        saved = sinks.versions(connection, Scope(caller.tenant, system))
    page, next_cursor = versions_page(saved, lambda version: version.number, limit, cursor)
    return envelope.answer(request, [shown(version) for version in page], next_cursor=next_cursor)


@router.post("/{sink}/match", response_model=Answer[models.MatchReportShown])
def match_rows(
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: ConnectionManager,
    sink: SinkName,
) -> JSONResponse:
    """Which rows of the app are which records; for the operator only, nothing is written."""
    report = SinkChanges(services, caller, system).match(sink)
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
    confirmed = SinkChanges(services, caller, system).confirm(sink, wanted.choices)
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
    undone = SinkChanges(services, caller, system).undo(sink)
    return envelope.answer(request, models.UndoneShown.model_validate(undone))


def shown(version: sinks.SinksVersion) -> models.SinksShown:
    """Returns a version as an answer."""
    return models.SinksShown(
        version=version.number,
        sinks=version.written(),
        saved_at=version.saved_at,
        saved_by=version.saved_by,
    )
