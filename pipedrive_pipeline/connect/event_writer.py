"""Stores events of webhooks, those that arrive together in one transaction.

While one transaction commits, further events wait; the next transaction takes all of them. Under
load that is a fifth of the work of one transaction for each event, and without load nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from pipedrive_pipeline.connect.errors import WebhookRefused
from pipedrive_pipeline.connect.received_events import Deliveries
from pipedrive_pipeline.connect.refused_requests import RefusalCounter
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Notice
from pipedrive_pipeline.errors import DatabaseUnavailable, PipelineError, Transient
from pipedrive_pipeline.sync.signals.store import ReceivedEvents, receive_all
from pipedrive_pipeline.sync.webhooks import rows
from pipedrive_pipeline.sync.webhooks.rows import Receiving
from pipedrive_pipeline.warehouse.database import Warehouse

EVENTS_AT_ONCE = 100
# A Postgres that does not answer must not fill the memory.
WAITING_MAX = 2_000
WAITING_BYTES_MAX = 100_000_000
WAITING_OF_ONE_MAX = 500  # of one address: its burst must not have the others' events refused


@dataclass(frozen=True)
class ArrivedEvent:
    """One request, as it came."""

    system: str
    token: str = field(repr=False)
    password: str = field(repr=False)
    body: bytes = field(repr=False)


Outcome = int | Exception
"""How many notices of an event are new, or why it is refused."""


class EventWriter:
    """The events of one process that wait to be stored. Used by one event loop."""

    def __init__(
        self, warehouse: Warehouse, deliveries: Deliveries, refusals: RefusalCounter
    ) -> None:
        self._warehouse, self._deliveries, self._refusals = warehouse, deliveries, refusals
        self._waiting: list[tuple[ArrivedEvent, asyncio.Future[int]]] = []
        self._waiting_bytes, self._waiting_of = 0, Counter[str]()  # by token
        self._overfull: set[str] = set()  # tokens with a refused event, while others of it wait
        self._writing: asyncio.Task[None] | None = None

    async def store(self, event: ArrivedEvent) -> int:
        """The number of notices that are new; they are committed.

        Raises:
            WebhookRefused: no webhook has this token and password.
            TooManyRequests: this webhook has sent too many events.
            BadInput: the body is no event.
            DatabaseUnavailable: it is not stored; the source sends it again.
        """
        self._admit(event)
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await stored

    def _admit(self, event: ArrivedEvent) -> None:
        """Counts an event among those that wait; refuses it if these are too many."""
        waiting_bytes = self._waiting_bytes + len(event.body)
        is_burst = self._waiting_of[event.token] >= WAITING_OF_ONE_MAX
        if is_burst:
            self._overfull.add(event.token)
        if is_burst or len(self._waiting) >= WAITING_MAX or waiting_bytes > WAITING_BYTES_MAX:
            raise DatabaseUnavailable("as many events wait to be stored as may; send it again.")
        self._waiting_bytes = waiting_bytes
        self._waiting_of[event.token] += 1

    def _next_batch(self) -> list[tuple[ArrivedEvent, asyncio.Future[int]]]:
        """Takes the events that have waited longest."""
        batch = self._waiting[:EVENTS_AT_ONCE]
        del self._waiting[:EVENTS_AT_ONCE]
        self._waiting_bytes -= sum(len(event.body) for event, _ in batch)
        self._waiting_of -= Counter(event.token for event, _ in batch)  # drops those without any
        return batch

    async def _write(self) -> None:
        """Stores what waits, until nothing does."""
        outcomes: Sequence[Outcome]
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    outcomes = await asyncio.to_thread(self._outcomes, [each for each, _ in batch])
                except Exception as error:  # noqa: BLE001 - every request gets an answer
                    outcomes = [error] * len(batch)
                for (_, stored), outcome in zip(batch, outcomes, strict=True):
                    if stored.cancelled():  # its client has gone
                        continue
                    if isinstance(outcome, Exception):
                        stored.set_exception(outcome)
                    else:
                        stored.set_result(outcome)
        finally:
            self._writing = None
            self._overfull.clear()

    def _outcomes(self, events: Sequence[ArrivedEvent]) -> Sequence[Outcome]:
        """One transaction for all events; if one of them makes it fail, one for each."""
        try:
            return self._stored(events)
        except (PipelineError, psycopg.Error) as error:
            if len(events) == 1 or isinstance(error, Transient):
                return [error] * len(events)
        return [outcome for event in events for outcome in self._outcomes([event])]

    def _stored(self, events: Sequence[ArrivedEvent]) -> list[Outcome]:
        hashes = [rows.hashed(event.token) for event in events]
        webhooks = rows.receiving(self._warehouse, hashes)
        outcomes: list[Outcome] = [0] * len(events)
        accepted: dict[int, ReceivedEvents] = {}
        for place, (event, token_hash) in enumerate(zip(events, hashes, strict=True)):
            try:
                webhook = webhooks.get(token_hash)
                if notices := self._notices(event, webhook):
                    assert webhook is not None  # noqa: S101 - else it is refused
                    delivery = ReceivedEvents(webhook.scope, str(webhook.id), notices)
                    accepted[place] = delivery
            except PipelineError as error:
                outcomes[place] = error
        for place, count in zip(
            accepted, receive_all(self._warehouse, list(accepted.values())), strict=True
        ):
            outcomes[place] = count
        return outcomes

    def _notices(self, event: ArrivedEvent, webhook: Receiving | None) -> list[Notice]:
        """What an event says; nothing if it is of another company."""
        declared = registry.system(event.system).webhooks
        if declared is None or webhook is None or webhook.system != event.system:
            raise WebhookRefused
        if not webhook.opens(event.password):
            raise WebhookRefused
        if event.token in self._overfull:
            self._overfull.discard(event.token)
            self._deliveries.refuse(webhook.id)
        self._deliveries.count(webhook.id)
        notices = declared.notices(event.body)
        if any(notice.company_id not in {None, webhook.company_id} for notice in notices):
            self._refusals.count(WebhookRefused.code, webhook.tenant_id)
            return []
        return notices
