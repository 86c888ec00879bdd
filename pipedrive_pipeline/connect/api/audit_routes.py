"""The JSON route of the audit log: an admin reads the own tenant's entries."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, models
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    row_number,
)
from pipedrive_pipeline.connect.api.models import Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import AuditReader
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.warehouse import audit_log

router = APIRouter(prefix="/api/audit", responses=REFUSALS, tags=["keys"])


@router.get("", response_model=Listed[models.AuditEntryShown])
def entries(
    request: Request,
    services: AppServices,
    caller: AuditReader,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """Who did what, newest first; it holds no secrets."""
    before = decoded(cursor, row_number)[0] if cursor else None
    with services.warehouse.as_app(caller.tenant) as connection:
        rows = audit_log.of_tenant(connection, caller.tenant, before=before, limit=limit + 1)
    return envelope.page(
        request,
        rows,
        limit,
        shown=models.AuditEntryShown.model_validate,
        place=lambda row: [row.id],
    )
