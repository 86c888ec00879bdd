"""The integration routes: what can be written where, and one route for each operation."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, tenant_status
from pipedrive_pipeline.connect.api.crm.examples import code_samples
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.idempotency import IdempotencyKey
from pipedrive_pipeline.connect.api.linked_records import models, reading, sent_credentials
from pipedrive_pipeline.connect.api.linked_records.operations import (
    CONTACT,
    CUSTOMER,
    OPERATIONS,
    matches_of,
    sends_invitations,
    verbs_of,
)
from pipedrive_pipeline.connect.api.linked_records.writing import RecordSync
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import RecordReader, RecordSyncer, SyncRequester
from pipedrive_pipeline.connect.request import AppServices, Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.connection_alerts import check_connection_and_alert
from pipedrive_pipeline.sync.tenancy.registry import only_scope
from pipedrive_pipeline.sync.writes.policy import allowed_marts

# An operation is a route of its name in kebab case.
PREFIX: Final = "/api/v1/integrations/crm"

# A sync has the status of its main record.
SYNCED: Final[dict[int | str, dict[str, Any]]] = {
    201: {"model": Answer[models.SyncAnswer], "description": "The main record was made."},
    202: {
        "model": Answer[models.SyncAnswer],
        "description": "The CRM has the main record; it is not in the tables yet.",
    },
}

router = APIRouter(prefix=PREFIX, responses=REFUSALS, tags=["integrations"])
DryRun = Annotated[bool, Query(description="Shows the calls only; sends nothing.")]


@router.get(
    "/platforms",
    response_model=Listed[models.Platform],
    openapi_extra=code_samples(f"{PREFIX}/platforms"),
)
def platforms(request: Request, services: AppServices, caller: RecordReader) -> JSONResponse:
    """Every CRM of this installation: what it supports, and what the tenant lets be written."""
    states = {
        each.system: each.state for each in tenant_status.connections_of(services, caller.tenant)
    }
    with services.vault.warehouse.transaction(tenant=caller.tenant) as connection:
        allowed = {
            key: allowed_marts(connection, Scope(caller.tenant, key))
            for key in registry.system_keys()
        }
    return envelope.answer(
        request,
        [_platform(each, states[each.key], allowed[each.key]) for each in registry.systems()],
    )


@router.post(
    "/test-connection",
    response_model=Answer[models.WorkingCredentials],
    openapi_extra=code_samples(f"{PREFIX}/test-connection", body={}),
)
def test_connection(
    request: Request, services: AppServices, caller: SyncRequester, body: models.ByPlatform
) -> JSONResponse:
    """Whose account the stored connection, or the credentials of the request, open."""
    scope = _scope(services, caller, body)
    with services.slow_work.slot(caller.tenant):
        if body.credentials is not None:
            checked = sent_credentials.tested(services.vault, scope, body.credentials)
            account, is_connected = checked.account, checked.is_connected_account
            limits: tuple[str, ...] = ()
        else:
            proof = check_connection_and_alert(services.vault, caller.tenant, scope.system)
            account, is_connected, limits = proof.account, True, proof.limits
    tested = models.WorkingCredentials(
        platform=scope.system,
        credentials="stored" if body.credentials is None else "request",
        account_id=account.company_id,
        account_name=account.company_name,
        user_name=account.user_name,
        is_admin=account.is_admin,
        is_connected_account=is_connected,
        limits=list(limits),
    )
    return envelope.answer(request, tested)


@router.post(
    "/get-customer",
    response_model=Answer[models.CustomerRead],
    openapi_extra=code_samples(f"{PREFIX}/get-customer", body=models.CustomerWanted),
)
def get_customer(
    request: Request, services: AppServices, caller: RecordReader, body: models.CustomerWanted
) -> JSONResponse:
    """A customer or a contact by its id, the app's own key, or what it has.

    It comes from the tenant's tables and costs nothing, unless it is to be fresh.
    """
    scope = _scope(services, caller, body)
    part, wanted = (CUSTOMER, body.customer) if body.customer else (CONTACT, body.contact)
    assert wanted is not None  # noqa: S101 - the model has one of the two
    remote_id = reading.remote_id_of(services, caller, scope, part, wanted)
    is_fresh = body.fresh or body.credentials is not None
    if is_fresh:
        with services.slow_work.slot(caller.tenant):
            credential = sent_credentials.for_calls(services.vault, scope, body.credentials)
            reading.read_again(services, scope, part, remote_id, credential)
    shown = reading.shown_record(services, caller, scope, part, remote_id)
    return envelope.answer(
        request, {"platform": scope.system, "is_fresh": is_fresh, part.name: shown}
    )


@router.post(
    "/sync-customer",
    response_model=Answer[models.SyncAnswer],
    responses=SYNCED,
    openapi_extra=code_samples(f"{PREFIX}/sync-customer", body=models.CustomerSync),
)
def sync_customer(
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.CustomerSync,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The customer and its contact as they now are, changed or made as `policy` says."""
    return _synced(request, services, caller, "sync_customer", body, key=idempotency_key)


@router.post(
    "/sync-lead",
    response_model=Answer[models.SyncAnswer],
    responses=SYNCED,
    openapi_extra=code_samples(f"{PREFIX}/sync-lead", body=models.LeadSync),
)
def sync_lead(
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.LeadSync,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The lead as it now is, with the customer and the contact that it is linked to."""
    return _synced(request, services, caller, "sync_lead", body, key=idempotency_key)


@router.post(
    "/sync-appointment",
    response_model=Answer[models.SyncAnswer],
    responses=SYNCED,
    openapi_extra=code_samples(f"{PREFIX}/sync-appointment", body=models.AppointmentSync),
)
def sync_appointment(
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.AppointmentSync,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The appointment as it now is, and whether an invitation went out."""
    return _synced(request, services, caller, "sync_appointment", body, key=idempotency_key)


@router.post("/sync-customer/try", response_model=Answer[models.TriedRecords])
def try_customer(
    *,
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.CustomerSync,
    dry_run: DryRun = False,
) -> JSONResponse:
    """Sends one request, and shows each call to the CRM and what became of it."""
    return _tried(request, services, caller, "sync_customer", body, is_dry=dry_run)


@router.post("/sync-lead/try", response_model=Answer[models.TriedRecords])
def try_lead(
    *,
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.LeadSync,
    dry_run: DryRun = False,
) -> JSONResponse:
    """Sends one request, and shows each call to the CRM and what became of it."""
    return _tried(request, services, caller, "sync_lead", body, is_dry=dry_run)


@router.post("/sync-appointment/try", response_model=Answer[models.TriedRecords])
def try_appointment(
    *,
    request: Request,
    services: AppServices,
    caller: RecordSyncer,
    body: models.AppointmentSync,
    dry_run: DryRun = False,
) -> JSONResponse:
    """Sends one request, and shows each call to the CRM and what became of it."""
    return _tried(request, services, caller, "sync_appointment", body, is_dry=dry_run)


def _scope(services: Services, caller: Caller, body: models.ByPlatform) -> Scope:
    return only_scope(services.warehouse, caller.tenant, body.platform)


def _synced(
    request: Request,
    services: Services,
    caller: Caller,
    name: str,
    body: models.ByPlatform,
    *,
    key: str | None,
) -> JSONResponse:
    status, answer = _record_sync(request, services, caller, name, body, key=key).write()
    return envelope.answer(request, answer, status=status)


def _tried(
    request: Request,
    services: Services,
    caller: Caller,
    name: str,
    body: models.ByPlatform,
    *,
    is_dry: bool,
) -> JSONResponse:
    sync = _record_sync(request, services, caller, name, body)
    return envelope.answer(request, sync.tried(is_dry=is_dry))


def _record_sync(
    request: Request,
    services: Services,
    caller: Caller,
    name: str,
    body: models.ByPlatform,
    *,
    key: str | None = None,
) -> RecordSync:
    """The writes of one request; credentials in it are tested here, by one call."""
    operation, scope = OPERATIONS[name], _scope(services, caller, body)
    parts = {part.name: getattr(body, part.name) for part in operation.parts}
    with services.slow_work.slot(caller.tenant):
        credential = sent_credentials.for_calls(services.vault, scope, body.credentials)
    return RecordSync(
        request,
        services,
        caller,
        scope,
        operation,
        {part: record for part, record in parts.items() if record is not None},
        credential,
        key,
        notify=getattr(body, "notify", False),
    )


def _platform(system: System, state: str, allowed: frozenset[str]) -> models.Platform:
    parts = {part.name: part for each in OPERATIONS.values() for part in each.parts}
    return models.Platform(
        platform=system.key,
        label=system.label,
        state=state,
        credential_kinds=[scheme.kind for scheme in system.auth],
        writes_allowed=sorted(resource_of(mart(name)).path for name in allowed),
        matches={name: matches_of(part) for name, part in parts.items()},
        operations={
            name: models.PlatformOperation(
                is_supported=bool(verbs_of(system, each.main)),
                records={part.name: verbs_of(system, part) for part in each.parts},
            )
            for name, each in OPERATIONS.items()
        },
        sends_invitations=sends_invitations(system),
    )
