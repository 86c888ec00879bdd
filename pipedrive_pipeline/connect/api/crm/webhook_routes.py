"""The webhooks of an app: made, changed, tested, replayed, and the log of their deliveries.

A webhook is sent the changes of all records of the tenant, so a key that is bound to a user of the
CRM opens none of this.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import psycopg
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, idempotency
from pipedrive_pipeline.connect.api.crm.webhook_models import (
    AttemptShown,
    DeliveryShown,
    Replay,
    ReplayCount,
    SecretRotation,
    WebhookChange,
    WebhookIn,
    WebhookShown,
    WebhookWithSecret,
    attempt_shown,
    delivery_shown,
    webhook_shown,
)
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    instant,
    row_number,
)
from pipedrive_pipeline.connect.api.idempotency import Call, IdempotencyKey
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import WebhookManager
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import AppServices
from pipedrive_pipeline.sync.events import delivering, log, queue, webhooks
from pipedrive_pipeline.sync.events.log import DeliveryState
from pipedrive_pipeline.sync.events.webhooks import AppWebhook, NewSecret
from pipedrive_pipeline.tenants import Tenant

router = APIRouter(prefix=f"{PREFIX}/webhooks", responses=REFUSALS, tags=["events"])


@router.get("", response_model=Listed[WebhookShown])
def list_webhooks(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """The tenant's webhooks, without their secrets, the oldest first."""
    after = decoded(cursor, instant, UUID) if cursor else None
    with services.warehouse.as_app(caller.tenant) as connection:
        place = (after[0], after[1]) if after else None
        rows = webhooks.of_tenant(connection, caller.tenant, after=place, limit=limit + 1)
    return envelope.page(
        request, rows, limit, shown=webhook_shown, place=lambda row: [row.created_at, row.id]
    )


@router.post("", status_code=201, response_model=Answer[WebhookWithSecret])
def add_webhook(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    wanted: WebhookIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Makes a webhook, which is sent what changes from now on. Its secret is shown once."""
    call = Call.of(request, caller, idempotency_key, wanted)
    vault = services.vault
    with services.warehouse.as_app(caller.tenant) as connection:
        former = idempotency.begin(connection, caller, call)
        if former:
            return idempotency.replay(request, former)
        new = webhooks.add(
            connection,
            caller.tenant,
            url=wanted.url,
            event_types=wanted.event_types,
            description=wanted.description,
            settings=vault.settings,
            cipher=vault.cipher,
            who=caller.name,
        )
        shown = _with_secret(new)
        without = shown.model_copy(update={"secret": None})
        idempotency.remember(connection, caller, call, 201, without)
    return envelope.answer(request, shown, status=201)


@router.get("/{webhook_id}", response_model=Answer[WebhookShown])
def read_webhook(
    request: Request, services: AppServices, caller: WebhookManager, webhook_id: UUID
) -> JSONResponse:
    """One webhook: its state, and how many events wait for it."""
    with services.warehouse.as_app(caller.tenant) as connection:
        webhook = existing_webhook(connection, caller.tenant, webhook_id)
    return envelope.answer(request, webhook_shown(webhook))


@router.patch("/{webhook_id}", response_model=Answer[WebhookShown])
def change_webhook(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    webhook_id: UUID,
    wanted: WebhookChange,
) -> JSONResponse:
    """Changes a webhook. `state: active` makes one that was disabled begin again, at once."""
    with services.warehouse.as_app(caller.tenant) as connection:
        webhook = webhooks.change(
            connection,
            caller.tenant,
            existing_webhook(connection, caller.tenant, webhook_id),
            settings=services.vault.settings,
            who=caller.name,
            **wanted.given(),
        )
    return envelope.answer(request, webhook_shown(webhook))


@router.delete("/{webhook_id}", response_model=Answer[WebhookShown])
def remove_webhook(
    request: Request, services: AppServices, caller: WebhookManager, webhook_id: UUID
) -> JSONResponse:
    """Removes a webhook and what waits for it; the answer shows it as it was."""
    with services.warehouse.as_app(caller.tenant) as connection:
        webhook = existing_webhook(connection, caller.tenant, webhook_id)
        webhooks.remove(connection, caller.tenant, webhook, who=caller.name)
    return envelope.answer(request, webhook_shown(webhook))


@router.post("/{webhook_id}/rotate-secret", response_model=Answer[WebhookWithSecret])
def rotate_secret(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    webhook_id: UUID,
    wanted: SecretRotation,
) -> JSONResponse:
    """A new secret, shown once; for a while events are signed with the former one, too."""
    with services.warehouse.as_app(caller.tenant) as connection:
        new = webhooks.rotate(
            connection,
            caller.tenant,
            existing_webhook(connection, caller.tenant, webhook_id),
            overlap=timedelta(hours=wanted.overlap_hours),
            cipher=services.vault.cipher,
            who=caller.name,
        )
    return envelope.answer(request, _with_secret(new))


@router.post("/{webhook_id}/test", response_model=Answer[AttemptShown])
def test_webhook(
    request: Request, services: AppServices, caller: WebhookManager, webhook_id: UUID
) -> JSONResponse:
    """Sends an event of the type `webhook.test` now, and shows what the receiver answered."""
    vault = services.vault
    with services.warehouse.as_app(caller.tenant) as connection:
        webhook = existing_webhook(connection, caller.tenant, webhook_id)
    with services.slow_work.slot(caller.tenant):
        attempt = delivering.send_test(vault.warehouse, vault.settings, caller.tenant, webhook)
    return envelope.answer(request, attempt_shown(attempt))


@router.get("/{webhook_id}/deliveries", response_model=Listed[DeliveryShown])
def list_deliveries(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    webhook_id: UUID,
    *,
    state: Annotated[DeliveryState | None, Query(description="Only these.")] = None,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """The events of the last seven days and each attempt to deliver them, the newest first."""
    before = decoded(cursor, row_number)[0] if cursor else None
    with services.warehouse.as_app(caller.tenant) as connection:
        existing_webhook(connection, caller.tenant, webhook_id)
        rows = log.deliveries_of(
            connection, caller.tenant, webhook_id, state=state, before=before, limit=limit + 1
        )
    return envelope.page(
        request, rows, limit, shown=delivery_shown, place=lambda row: [row.event_id]
    )


@router.post("/{webhook_id}/replay", status_code=202, response_model=Answer[ReplayCount])
def replay_events(
    request: Request,
    services: AppServices,
    caller: WebhookManager,
    webhook_id: UUID,
    wanted: Replay,
) -> JSONResponse:
    """Delivers the events of a time again, delivered or not, with the `webhook-id` they had."""
    with services.warehouse.as_app(caller.tenant) as connection:
        existing_webhook(connection, caller.tenant, webhook_id)
        count = queue.replay(
            connection,
            caller.tenant,
            webhook_id,
            since=wanted.since,
            until=wanted.until,
            who=caller.name,
        )
    return envelope.answer(request, ReplayCount(events=count), status=202)


def existing_webhook(
    connection: psycopg.Connection, tenant: Tenant, webhook_id: UUID
) -> AppWebhook:
    """The tenant's webhook.

    Raises:
        NotFound: it has none with this id.
    """
    webhook = webhooks.webhook_of(connection, tenant, webhook_id)
    if webhook is None:
        raise NotFound
    return webhook


def _with_secret(new: NewSecret) -> WebhookWithSecret:
    facts = webhook_shown(new.webhook).model_dump()
    return WebhookWithSecret(**facts, secret=new.secret.get_secret_value())
