"""The JSON route that lends an access token to a service which calls the CRM itself."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.models import Answer, Model
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth import rate_limits
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import CredentialBorrower
from pipedrive_pipeline.connect.request import AppServices, Services, SystemKey
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault.lending import borrow, require_lendable
from pipedrive_pipeline.warehouse import audit_log

router = APIRouter(
    prefix="/api/integrations/{system}", responses=REFUSALS, tags=["lent credentials"]
)


class LentCredential(Model):
    """An access token for calls of the borrower's own. There is never a refresh token in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accessToken": "v1u:AQIBAHj…",
                    "expiresAt": "2026-11-30T09:59:59Z",
                    "apiDomain": "https://acme.crm.example",
                }
            ]
        }
    )
    access_token: str = Field(description="For `Authorization: Bearer`; never store it.")
    expires_at: datetime = Field(
        description="Valid for five more minutes at least; then borrow another one."
    )
    api_domain: str = Field(description="The only address to which the token may be sent.")


@router.post("/credential", response_model=Answer[LentCredential])
async def credential(
    request: Request, services: AppServices, system: SystemKey, caller: CredentialBorrower
) -> JSONResponse:
    """An access token of the tenant's connection, refreshed beforehand if it is about to expire.

    The refresh token stays in the vault. Each token that is lent is in the audit log. One key may
    borrow 120 times a minute; a revoked key borrows nothing from then on.
    """
    scope = Scope(caller.tenant, system)
    await run_in_threadpool(_admit, services, caller)
    vault = services.vault
    lent = await services.lending.credential(
        scope,
        partial(borrow, vault, scope),
    )
    answer = LentCredential(
        access_token=lent.secret.get_secret_value(),
        expires_at=require_lendable(scope, lent),
        api_domain=lent.base_url,
    )
    await run_in_threadpool(_record, services, caller, system, answer.expires_at)
    return envelope.answer(request, answer, headers={"cache-control": "no-store"})


def _admit(services: Services, caller: Caller) -> None:
    with services.warehouse.as_app(caller.tenant) as connection:
        rate_limits.count_lending(connection, caller.tenant, caller.id)


def _record(services: Services, caller: Caller, system: str, expires_at: datetime) -> None:
    with services.warehouse.as_app(caller.tenant) as connection:
        audit_log.note(
            connection,
            caller.tenant,
            who=caller.name,
            action="credential.lend",
            subject=system,
            after={"expires_at": expires_at.isoformat()},
        )
