"""The JSON routes of API keys: an admin manages those of the own tenant."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, idempotency, models, presenters
from pipedrive_pipeline.connect.api.crm.bound_keys import user_id
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    instant,
)
from pipedrive_pipeline.connect.api.idempotency import Call, IdempotencyKey
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.dependencies import KeyManager
from pipedrive_pipeline.connect.request import AppServices

router = APIRouter(prefix="/api/keys", responses=REFUSALS, tags=["keys"])


@router.get("", response_model=Listed[models.KeyShown])
def list_keys(
    request: Request,
    services: AppServices,
    caller: KeyManager,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """The tenant's keys, revoked and expired ones too, without their secrets, oldest first."""
    after = decoded(cursor, instant, UUID) if cursor else None
    with services.warehouse.as_app(caller.tenant) as connection:
        rows = keys.of_tenant(connection, caller.tenant, after=after, limit=limit + 1)
    return envelope.page(
        request,
        rows,
        limit,
        shown=presenters.key,
        place=lambda row: [row.created_at, row.id],
    )


@router.post("", status_code=201, response_model=Answer[models.CreatedKey])
def add_key(
    request: Request,
    services: AppServices,
    caller: KeyManager,
    wanted: models.KeyIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Adds a key; its secret is shown once, and only its hash is stored."""
    call = Call.of(request, caller, idempotency_key, wanted)
    with services.warehouse.as_app(caller.tenant) as connection:
        former = idempotency.begin(connection, caller, call)
        if former:
            return idempotency.replay(request, former)
        new = keys.add(
            connection,
            caller.tenant,
            wanted.role,
            wanted.name,
            who=caller.name,
            expires_at=wanted.expires_at,
            crm_user_id=user_id(connection, caller.tenant, wanted.crm_user),
        )
        facts = presenters.key(new.key).model_dump()
        idempotency.remember(connection, caller, call, 201, models.CreatedKey(**facts, key=None))
    return envelope.answer(request, models.CreatedKey(**facts, key=new.text), status=201)


@router.delete("/{key_id}", response_model=Answer[models.KeyShown])
def revoke_key(
    request: Request, services: AppServices, caller: KeyManager, key_id: UUID
) -> JSONResponse:
    """Revokes the key and ends the browser sessions that were begun with it."""
    with services.warehouse.as_app(caller.tenant) as connection:
        row = keys.revoke(connection, caller.tenant, key_id, who=caller.name)
    return envelope.answer(request, presenters.key(row))
