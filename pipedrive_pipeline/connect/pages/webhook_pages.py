"""`/webhooks`: the webhooks of an app, their state, the log of their deliveries, what mends one.

They are made by the API or a command: an app knows its address and types itself. The text of a new
secret is in the answer to the form that made it and nowhere else; the form that is sent again, as a
browser does on reload, makes no second one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from pipedrive_pipeline.connect.api import idempotency
from pipedrive_pipeline.connect.api.crm.webhook_models import (
    SecretRotation,
    delivery_shown,
    webhook_shown,
)
from pipedrive_pipeline.connect.api.crm.webhook_routes import existing_webhook
from pipedrive_pipeline.connect.api.idempotency import Call
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.events import KEPT_DAYS
from pipedrive_pipeline.sync.events import log, queue, webhooks
from pipedrive_pipeline.sync.events.log import DeliveryState
from pipedrive_pipeline.sync.events.webhooks import OVERLAP_HOURS, WEBHOOKS_MAX, AppWebhook

router = APIRouter(include_in_schema=False)

PAGE: Final = "/webhooks"
EVENTS_SHOWN: Final = 25
OVERLAPS: Final = (OVERLAP_HOURS, 24 * 7, 0)  # hours; 0: the former secret leaked
DONE: Final = ("paused", "resumed", "replayed")  # what the last form did
EventNumber = Annotated[int | None, Query(ge=1, le=9_007_199_254_740_991)]


@router.get(PAGE)
def overview(request: Request, services: AppServices, visitor: TenantVisitor) -> Response:
    """Each webhook with its state and last delivery."""
    visitor.require(Permission.MANAGE_WEBHOOKS)
    with services.warehouse.as_app(visitor.tenant) as connection:
        rows = webhooks.of_tenant(connection, visitor.tenant, limit=WEBHOOKS_MAX)
    shown = [(row, host_of(row), state_of(row)) for row in rows]
    return rendering.page(
        request,
        "webhooks.html",
        visitor,
        webhooks=shown,
        troubled=sum(state in {"failing", "disabled"} for _, _, state in shown),
    )


@router.get(PAGE + "/{webhook_id}")
def delivery_log(
    *,
    request: Request,
    services: AppServices,
    visitor: TenantVisitor,
    webhook_id: UUID,
    show: Annotated[DeliveryState | None, Query()] = None,
    before: EventNumber = None,
    done: Annotated[str, Query(max_length=20)] = "",
    count: Annotated[int, Query(ge=0, le=9_007_199_254_740_991)] = 0,
) -> Response:
    """One webhook, with the events of the last days and each attempt to deliver them."""
    return _page(
        request,
        services,
        visitor,
        webhook_id,
        show=show,
        before=before,
        done=done if done in DONE else "",
        count=count,
    )


@router.post(PAGE + "/{webhook_id}/state")
def change_state(
    services: AppServices, visitor: FormVisitor, sent: SentBody, webhook_id: UUID
) -> Response:
    """Pauses a webhook, or makes it active: then what waits is sent at once."""
    caller = visitor.require(Permission.MANAGE_WEBHOOKS)
    is_paused = sent.text("paused") == "1"
    with services.warehouse.as_app(visitor.tenant) as connection:
        webhooks.change(
            connection,
            visitor.tenant,
            existing_webhook(connection, visitor.tenant, webhook_id),
            settings=services.vault.settings,
            who=caller.name,
            state="paused" if is_paused else "active",
        )
    return _back(visitor, webhook_id, done="paused" if is_paused else "resumed")


@router.post(PAGE + "/{webhook_id}/secret")
def rotate_secret(
    request: Request,
    services: AppServices,
    visitor: FormVisitor,
    sent: SentBody,
    webhook_id: UUID,
) -> Response:
    """Makes a new secret and shows it once; the former one signs, too, for the chosen time."""
    caller = visitor.require(Permission.MANAGE_WEBHOOKS)
    if sent.text("overlap") not in map(str, OVERLAPS):
        raise BadInput("A secret needs one of the times of the form.")
    wanted = SecretRotation(overlap_hours=int(sent.text("overlap")))
    call = Call.of(request, caller, sent.text("once") or None, wanted)
    with services.warehouse.as_app(visitor.tenant) as connection:
        if idempotency.begin(connection, caller, call):
            return _back(visitor, webhook_id)
        new = webhooks.rotate(
            connection,
            visitor.tenant,
            existing_webhook(connection, visitor.tenant, webhook_id),
            overlap=timedelta(hours=wanted.overlap_hours),
            cipher=services.vault.cipher,
            who=caller.name,
        )
        idempotency.remember(connection, caller, call, 200, webhook_shown(new.webhook))
    secret = new.secret.get_secret_value()
    return _page(request, services, visitor, webhook_id, secret=secret)


@router.post(PAGE + "/{webhook_id}/replay")
def replay(
    request: Request,
    services: AppServices,
    visitor: FormVisitor,
    sent: SentBody,
    webhook_id: UUID,
) -> Response:
    """Delivers the events of a time again; it is given in the reader's zone."""
    caller = visitor.require(Permission.MANAGE_WEBHOOKS)
    zone = rendering.display_of(request, visitor).zone
    given = (sent.text("since"), sent.text("until"))
    try:
        since, until = time_span(*given, zone)
    except ValueError:
        return _page(request, services, visitor, webhook_id, refused=given, status_code=422)
    with services.warehouse.as_app(visitor.tenant) as connection:
        existing_webhook(connection, visitor.tenant, webhook_id)
        count = queue.replay(
            connection, visitor.tenant, webhook_id, since=since, until=until, who=caller.name
        )
    return _back(visitor, webhook_id, done="replayed", count=str(count))


def time_span(since: str, until: str, zone: ZoneInfo) -> tuple[datetime, datetime | None]:
    """The times of a form, which are the reader's; the second may be empty.

    Raises:
        ValueError: one is no time, or too far away for an event, or they are the wrong way round.
    """
    first, last = _local_time(since, zone), _local_time(until, zone) if until else None
    if last is not None and last <= first:
        raise ValueError(until)
    return first, last


def _local_time(text: str, zone: ZoneInfo) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is not None or not 2000 <= at.year < 2100:
        raise ValueError(text)
    return at.replace(tzinfo=zone)


def state_of(webhook: AppWebhook) -> str:
    """How it goes, in one of the words of the page."""
    if webhook.state != "active":
        return webhook.state
    if webhook.failing_since is not None:
        return "failing"
    return "works" if webhook.last_delivered_at is not None else "new"


def host_of(webhook: AppWebhook) -> str:
    """Where it leads, without the path, which may be a secret."""
    return urlsplit(webhook.url).netloc


def _back(visitor: Visitor, webhook_id: UUID, **parameters: str) -> Response:
    return rendering.go_to(visitor.address(f"{PAGE}/{webhook_id}", **parameters))


def _page(
    request: Request,
    services: Services,
    visitor: Visitor,
    webhook_id: UUID,
    *,
    show: DeliveryState | None = None,
    before: int | None = None,
    secret: str | None = None,
    refused: tuple[str, str] | None = None,
    done: str = "",
    count: int = 0,
    status_code: int = 200,
) -> Response:
    visitor.require(Permission.MANAGE_WEBHOOKS)
    with services.warehouse.as_app(visitor.tenant) as connection:
        webhook = existing_webhook(connection, visitor.tenant, webhook_id)
        rows = log.deliveries_of(
            connection,
            visitor.tenant,
            webhook_id,
            state=show,
            before=before,
            limit=EVENTS_SHOWN + 1,
        )
    now = datetime.now(UTC).astimezone(rendering.display_of(request, visitor).zone)
    return rendering.page(
        request,
        "webhook.html",
        visitor,
        status_code=status_code,
        webhook=webhook,
        host=host_of(webhook),
        state=state_of(webhook),
        deliveries=[delivery_shown(row) for row in rows[:EVENTS_SHOWN]],
        older=rows[EVENTS_SHOWN - 1].event_id if len(rows) > EVENTS_SHOWN else None,
        show=show,
        before=before,
        secret=secret,
        overlaps=OVERLAPS,
        once=uuid4(),
        since=refused[0] if refused else f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}",
        until=refused[1] if refused else "",
        oldest=f"{now - timedelta(days=KEPT_DAYS):%Y-%m-%dT%H:%M}",
        is_refused=refused is not None,
        kept_days=KEPT_DAYS,
        done=done,
        count=count,
    )
