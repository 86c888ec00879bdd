"""The JSON routes of what a person reviews: deletions that were held back, rejected values."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response

from pipedrive_pipeline.connect.api import envelope, review, review_models
from pipedrive_pipeline.connect.api.cursors import PageCursor, PageLimit, decoded
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import RecordReader, SyncRequester
from pipedrive_pipeline.connect.request import AppServices, SystemKey
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.rejected_values import rejected_values

router = APIRouter(prefix="/api/integrations/{system}", responses=REFUSALS, tags=["sync"])

EntityInPath = Annotated[str, Path(min_length=1, max_length=63)]


@router.get("/deletions", response_model=Listed[review_models.HeldDeletionsShown])
def deletions(
    request: Request, services: AppServices, system: SystemKey, caller: RecordReader
) -> JSONResponse:
    """Deletions that a sweep did not believe, by entity, with examples."""
    with services.warehouse.as_app(caller.tenant) as connection:
        return envelope.answer(request, review.held(connection, Scope(caller.tenant, system)))


@router.put("/deletions/{entity}", response_model=Answer[review_models.HeldDeletionsShown])
def decide_deletions(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: SyncRequester,
    entity: EntityInPath,
    wanted: review_models.DeletionDecision,
) -> JSONResponse:
    """Confirms or refuses held deletions; a confirmation requests the sweep that marks them."""
    with services.warehouse.as_app(caller.tenant) as connection:
        shown = review.decide(
            connection, Scope(caller.tenant, system), entity, wanted, who=caller.name
        )
    return envelope.answer(request, shown)


@router.get("/rejected-values", response_model=Listed[review_models.RejectedValueShown])
def rejected(
    *,
    request: Request,
    services: AppServices,
    system: SystemKey,
    caller: RecordReader,
    limit: PageLimit = 50,
    cursor: PageCursor = None,
) -> JSONResponse:
    """Values that no column could hold, in the order in which they were first seen."""
    after = decoded(cursor, int)[0] if cursor else 0
    with services.warehouse.as_app(caller.tenant) as connection:
        scope = Scope(caller.tenant, system)
        rows = rejected_values(connection, scope, after=after, limit=limit + 1)
    return envelope.page(
        request,
        rows,
        limit,
        shown=review_models.RejectedValueShown.model_validate,
        place=lambda row: [row.id],
    )


@router.get(
    "/rejected-values.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "UTF-8, with a heading."}},
)
def rejected_csv(services: AppServices, system: SystemKey, caller: RecordReader) -> Response:
    """The same as a CSV file, at most 100,000 rows."""
    with services.warehouse.as_app(caller.tenant) as connection:
        return review.csv_file(connection, Scope(caller.tenant, system))
