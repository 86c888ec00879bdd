"""The JSON routes of keys: an admin makes and revokes them for the own tenant.

Belongs here: paths, and who may call them. Does not belong here: what a key is (`keys.py`).
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect import envelope, idempotency, keys, models, shapes
from pipedrive_pipeline.connect.documented import REFUSALS
from pipedrive_pipeline.connect.idempotency import Call, IdempotencyKey
from pipedrive_pipeline.connect.models import Answer, Listed
from pipedrive_pipeline.connect.requests import Admin, Held

router = APIRouter(prefix="/api/keys", responses=REFUSALS, tags=["keys"])


@router.get("", response_model=Listed[models.KeyShown])
def list_keys(request: Request, house: Held, caller: Admin) -> JSONResponse:
    """The tenant's keys, revoked ones too, without their secrets."""
    with house.warehouse.as_app(caller.tenant) as connection:
        held = keys.of_tenant(connection, caller.tenant)
    return envelope.answered(request, [shapes.key(one) for one in held])


@router.post("", status_code=201, response_model=Answer[models.KeyMade])
def add_key(
    request: Request,
    house: Held,
    caller: Admin,
    wanted: models.KeyIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """A new key; it is shown once, and stored as a hash only."""
    call = Call.of(request, caller, idempotency_key, wanted)
    with house.warehouse.as_app(caller.tenant) as connection:
        before = idempotency.begin(connection, caller, call)
        if before:
            return envelope.replied(
                request, before.data, status=before.status, headers=idempotency.REPLAYED
            )
        made = keys.add(connection, caller.tenant, wanted.role, wanted.name, who=caller.name)
        facts = shapes.key(made.key).model_dump()
        stored = envelope.shown(models.KeyMade(**facts, key=None))
        idempotency.remember(connection, caller, call, 201, stored)
    return envelope.answered(request, models.KeyMade(**facts, key=made.text), status=201)


@router.delete("/{key_id}", response_model=Answer[models.KeyShown])
def revoke_key(request: Request, house: Held, caller: Admin, key_id: UUID) -> JSONResponse:
    """The key opens nothing from now on, nor does any session begun with it."""
    with house.warehouse.as_app(caller.tenant) as connection:
        revoked = keys.revoke(connection, caller.tenant, key_id, who=caller.name)
    return envelope.answered(request, shapes.key(revoked))
