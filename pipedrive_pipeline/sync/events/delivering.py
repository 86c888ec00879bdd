"""The loop that delivers events, in the process of `serve-signals`, in a thread of its own.

Each turn is one transaction: it stores what became of the attempts since the last turn, and takes
deliveries that are due. Attempts run side by side; one receiver that hangs occupies a few of them
and no thread. Several processes may run the loop: they share the queue, not the work of one
delivery. A process that is killed leaves deliveries whose lease ends after a minute; an event whose
answer was lost with it is sent again, with the same webhook-id.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import SecretStr
from pydantic_core import to_json

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.events import queue
from pipedrive_pipeline.sync.events.addresses import open_event_client
from pipedrive_pipeline.sync.events.queue import (
    TIMING,
    Attempt,
    DeliveryTiming,
    DisabledWebhook,
    DueDelivery,
    RecordChange,
)
from pipedrive_pipeline.sync.events.sending import send
from pipedrive_pipeline.sync.events.webhooks import AppWebhook, secrets_of
from pipedrive_pipeline.sync.status.alerts import RUNBOOK
from pipedrive_pipeline.sync.status.notify import notify
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, secret_of_webhook
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

TEST: Final = "webhook.test"  # the type of an event that a person asks for
DISABLED: Final = "app_webhook_disabled"  # in alerts and the runbook
STOP_SECONDS: Final = 5.0  # for attempts in progress, when the process ends
DATABASE_SECONDS: Final = 5.0  # until a database is asked again that could not be reached
Show = Callable[[RecordChange], dict[str, Any]]
"""Gives the ``data`` of an event; the CRM API knows how a record looks."""

log = logging.getLogger(__name__)


def message_id(of_event: UUID) -> str:
    """Returns the webhook-id of an event, the same in each attempt and each replay."""
    return f"evt_{of_event.hex}"


def body_of(kind: str, tenant: str, at: datetime, data: Any) -> bytes:
    """Returns the body of a delivery."""
    return to_json(
        {"type": kind, "timestamp": at.astimezone(UTC), "tenant": tenant, "data": data},
        inf_nan_mode="null",
    )


def deliver_until(
    stop: threading.Event,
    warehouse: Warehouse,
    settings: Settings,
    show: Show,
    *,
    timing: DeliveryTiming = TIMING,
) -> None:
    """Delivers what is due, until ``stop`` is set; then waits for the attempts in progress."""
    with reusing(warehouse) as reused:
        deliveries = _DeliveryLoop(stop, reused, settings, show, timing)
        asyncio.run(deliveries.run())


def send_test(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, webhook: AppWebhook
) -> Attempt:
    """Sends an event of the type `webhook.test` at once, without the queue; returns the outcome."""
    cipher = open_vault(warehouse, settings).cipher
    with warehouse.transaction(tenant=tenant) as connection:
        secrets = secrets_of(connection, tenant, webhook.id, cipher)
    body = body_of(TEST, tenant.slug, datetime.now(UTC), {"webhook_id": str(webhook.id)})

    async def attempt() -> Attempt:
        async with open_event_client(settings) as client:
            return await send(
                client, webhook.url, body, message_id=message_id(uuid4()), secrets=secrets
            )

    return asyncio.run(attempt())


@dataclass(frozen=True)
class _ReadyDelivery:
    """A delivery with all that an attempt needs."""

    delivery: DueDelivery
    body: bytes
    secrets: Sequence[SecretStr]


@dataclass
class _DeliveryLoop:
    stop: threading.Event
    warehouse: Warehouse
    settings: Settings
    show: Show
    timing: DeliveryTiming
    lease: UUID = field(default_factory=uuid4)
    attempts: set[asyncio.Task[None]] = field(default_factory=set)
    alerts: set[asyncio.Task[None]] = field(default_factory=set)
    outcomes: list[tuple[DueDelivery, Attempt]] = field(default_factory=list)
    attempt_ended: asyncio.Event = field(default_factory=asyncio.Event)
    pruned_at: float = float("-inf")

    async def run(self) -> None:
        """Makes turns until it is stopped, and one more for attempts that were in progress."""
        while not self.stop.is_set():
            if await self._turn():
                with suppress(TimeoutError):
                    wait = self.attempt_ended.wait()
                    await asyncio.wait_for(wait, self.timing.poll_seconds)
            else:
                await asyncio.sleep(DATABASE_SECONDS)
        if self.attempts:
            await asyncio.wait(self.attempts, timeout=STOP_SECONDS)
        for attempt in [*self.attempts]:
            attempt.cancel()
        await self._turn(is_last=True)
        if self.alerts:
            await asyncio.wait(self.alerts)

    async def _turn(self, *, is_last: bool = False) -> bool:
        """Stores outcomes and begins attempts; returns False if the database could not be asked."""
        self.attempt_ended.clear()
        outcomes, self.outcomes = self.outcomes, []
        try:
            due, changes, disabled = await asyncio.to_thread(
                self._exchange, outcomes, is_last=is_last
            )
        except PipelineError as error:
            self.outcomes = outcomes + self.outcomes
            log.warning("events wait: %s", error)
            return False
        except Exception:  # a mistake of ours must not end the process that serves signals
            log.exception("events were not delivered")
            return False
        for webhook in disabled:
            _begin(self.alerts, asyncio.to_thread(self._alert, webhook))
        for delivery in due:
            if ready := self._ready(delivery, changes[delivery.event_id]):
                _begin(self.attempts, self._attempt(ready))
        return True

    def _exchange(
        self, outcomes: Sequence[tuple[DueDelivery, Attempt]], *, is_last: bool
    ) -> tuple[list[DueDelivery], Mapping[int, RecordChange], list[DisabledWebhook]]:
        """Stores outcomes and takes deliveries, in one transaction."""
        room = 0 if is_last else self.timing.of_process - len(self.attempts)
        with self.warehouse.transaction() as connection:
            disabled = queue.settle(connection, self.lease, outcomes, self.timing)
            due = queue.take(connection, self.lease, limit=room, timing=self.timing)
            changes = queue.contents(connection, due)
            if is_last:
                queue.release(connection, self.lease)
        if time.monotonic() - self.pruned_at > self.timing.prune_seconds:
            self.pruned_at = time.monotonic()
            with self.warehouse.transaction() as connection:
                queue.delete_old(connection)
        return due, changes, disabled

    def _ready(self, delivery: DueDelivery, change: RecordChange) -> _ReadyDelivery | None:
        """Returns what is to be sent; None if it cannot be made, which is a failed attempt."""
        try:
            return _ReadyDelivery(
                delivery,
                body_of(delivery.type, delivery.tenant_id, delivery.recorded_at, self.show(change)),
                _secrets(self.cipher, delivery),
            )
        except PipelineError as error:  # the secret; the operator must act
            log.warning("%s: the webhook %s: %s", delivery.tenant_id, delivery.webhook_id, error)
        except Exception:  # a mistake of ours that shows with one record must not stop the others
            log.exception("%s: an event of %s", delivery.tenant_id, delivery.mart)
        failed = Attempt(datetime.now(UTC), 0, error="it could not be made; the log says why")
        self.outcomes.append((delivery, failed))
        return None

    @cached_property
    def cipher(self) -> Cipher:
        """Opens the secrets of webhooks."""
        return open_vault(self.warehouse, self.settings).cipher

    async def _attempt(self, ready: _ReadyDelivery) -> None:
        """Makes one attempt, with a client of its own.

        A pool that all shared lost a place with each attempt that was cancelled while it waited
        for a connection; after 300 of them nobody was sent anything.
        """
        delivery = ready.delivery
        async with open_event_client(self.settings, self.timing.limits) as client:
            attempt = await send(
                client,
                delivery.url,
                ready.body,
                message_id=message_id(delivery.message_id),
                secrets=ready.secrets,
                limits=self.timing.limits,
            )
        self.outcomes.append((delivery, attempt))
        self.attempt_ended.set()

    def _alert(self, webhook: DisabledWebhook) -> None:
        tenant = Tenant(webhook.tenant_id)
        log.warning("%s: the webhook %s is disabled", tenant, webhook.id)
        title = f"{tenant}: {DISABLED}, a person must act"
        body = (
            f"The webhook {webhook.id} of an app is disabled: {webhook.reason} "
            f"{webhook.waiting} events wait for up to a week. Mend the receiver, then make the "
            f"webhook active again.\nWho must act: the app's developer. More: {RUNBOOK}, "
            f"{DISABLED}."
        )
        try:
            notify(self.warehouse, self.settings, tenant, webhook.system, title=title, body=body)
        except PipelineError as error:  # Problems and status say it, too
            log.warning("%s: no alert could be sent: %s", tenant, error)


def _begin(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _secrets(cipher: Cipher, delivery: DueDelivery) -> list[SecretStr]:
    place = secret_of_webhook(Tenant(delivery.tenant_id), delivery.webhook_id)
    return [cipher.open(each, place) for each in (delivery.secret, delivery.former_secret) if each]
