"""A thousand tenants' webhooks in one process: each event is its own tenant's, memory is flat."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tracemalloc
from dataclasses import replace
from uuid import uuid4

import pytest

from pipedrive_pipeline.connect.errors import WebhookRefused
from pipedrive_pipeline.connect.event_writer import ArrivedEvent, EventWriter
from pipedrive_pipeline.connect.received_events import Deliveries
from pipedrive_pipeline.connect.refused_requests import RefusalCounter
from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.sync.webhooks.rows import Secrets, hashed
from pipedrive_pipeline.warehouse.database import Warehouse

pytestmark = pytest.mark.slow
SEED = 20_261_129
TENANTS = 1_000
ROUNDS = 2
MEMORY_OF_A_ROUND = 100_000  # bytes; each has a megabyte of events


@pytest.fixture
def webhooks(warehouse: Warehouse) -> list[Secrets]:
    """The webhook of each tenant; tenant and company have the number of its place."""
    made = [Secrets() for _ in range(TENANTS)]
    with warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.tenants (slug) select 't' || n from generate_series(0, 999) n"
        )
        connection.execute(
            "insert into integration.connections (tenant_id, system, kind, state, access_token,"
            " api_domain, company_id, company_name) select slug, 'pipedrive', 'api_token',"
            " 'connected', 'x', 'https://x.pipedrive.com', substr(slug, 2), slug"
            " from integration.tenants where slug ~ '^t[0-9]+$'"
        )
        connection.cursor().executemany(
            "insert into integration.webhooks (id, tenant_id, system, state, app_url, token_hash,"
            " password_hash, remote_id) values (%s, %s, 'pipedrive', 'live', '', %s, %s, '1')",
            [
                (each.id, f"t{number}", hashed(each.token), hashed(each.password))
                for number, each in enumerate(made)
            ],
        )
    return made


def event(webhook: Secrets, company: int, record_id: int) -> ArrivedEvent:
    """A change of an organization."""
    meta = {
        "action": "change",
        "entity": "organization",
        "entity_id": str(record_id),
        "company_id": str(company),
        "id": str(uuid4()),
        "version": "2.0",
        "timestamp": "2026-11-29T10:00:00Z",
    }
    body = {"meta": meta, "data": {"id": record_id, "text": "x" * 1_000}, "previous": {}}
    return ArrivedEvent("pipedrive", webhook.token, webhook.password, json.dumps(body).encode())


def stored(writer: EventWriter, events: list[ArrivedEvent]) -> list[int | BaseException]:
    """What became of events that arrive at once."""

    async def store() -> list[int | BaseException]:
        return await asyncio.gather(*map(writer.store, events), return_exceptions=True)

    return asyncio.run(store())


def test_events_of_a_thousand_tenants_are_each_their_own_tenants(
    warehouse: Warehouse, webhooks: list[Secrets]
) -> None:
    """Events that arrive together share a transaction, whoever they belong to."""
    writer = EventWriter(warehouse, Deliveries(), RefusalCounter())
    events = [event(each, number, 1_000 + number) for number, each in enumerate(webhooks)]
    foreign = [event(each, number + 1, 7) for number, each in enumerate(webhooks[:50])]
    neighbours = [replace(events[n], password=webhooks[n + 1].password) for n in range(50)]
    mixed = [*events, *foreign, *neighbours]
    random.Random(SEED).shuffle(mixed)  # noqa: S311

    outcomes = dict(zip(map(id, mixed), stored(writer, mixed), strict=True))

    assert {outcomes[id(each)] for each in events} == {1}
    assert {outcomes[id(each)] for each in foreign} == {0}
    assert {type(outcomes[id(each)]) for each in neighbours} == {WebhookRefused}
    with warehouse.transaction() as connection:
        of_tenants = connection.execute(
            "select tenant_id, remote_id from integration.signals"
        ).fetchall()
    assert sorted(of_tenants) == sorted((f"t{n}", str(1_000 + n)) for n in range(TENANTS))


def test_a_tenants_burst_has_no_other_tenants_event_refused(
    warehouse: Warehouse, webhooks: list[Secrets]
) -> None:
    """A source that is refused ten times sends nothing for half an hour."""
    deliveries = Deliveries()
    writer = EventWriter(warehouse, deliveries, RefusalCounter())
    burst = [event(webhooks[0], 0, record_id) for record_id in range(1, 2_001)]
    others = [event(webhooks[number], number, 7) for number in range(1, 51)]

    outcomes = stored(writer, [*burst, *others])

    assert outcomes[2_000:] == [1] * 50
    refused = [each for each in outcomes[:2_000] if isinstance(each, DatabaseUnavailable)]
    assert len(refused) + outcomes[:2_000].count(1) == 2_000
    assert refused  # they are sent again
    assert stored(writer, [burst[-1]]) == [1]
    deliveries.store(warehouse)
    with warehouse.transaction() as connection:
        gaps = connection.execute(
            "select tenant_id, gap_reason from integration.webhooks where gap_since is not null"
        ).fetchall()
    assert gaps == [("t0", "more events came at once than are received")]


def test_the_memory_of_the_receiver_does_not_grow_with_events(
    warehouse: Warehouse, webhooks: list[Secrets]
) -> None:
    """It keeps a number for each webhook, and no event that was answered."""
    writer = EventWriter(warehouse, Deliveries(), RefusalCounter())
    sizes = []
    for record_id in range(ROUNDS + 1):
        stored(writer, [event(each, n, record_id) for n, each in enumerate(webhooks)])
        gc.collect()
        if not tracemalloc.is_tracing():
            tracemalloc.start()  # after a round in which everything is imported and cached
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert max(sizes) - sizes[1] < MEMORY_OF_A_ROUND * (ROUNDS - 1)
