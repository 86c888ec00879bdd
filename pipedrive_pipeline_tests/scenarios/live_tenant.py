"""A sandbox whose webhook's events are received into a world's signals, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psycopg

from pipedrive_pipeline.connectors.pipedrive.webhooks import WEBHOOKS
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.serving import Served, together
from pipedrive_pipeline.sync.signals.store import receive
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing
from pipedrive_pipeline_tests.sandbox.receiving import Delivery, receiving
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

HOOK = "hook"
NOW_UNAVAILABLE = 503
SETTLED_SECONDS = 120


@dataclass
class LiveTenant:
    """A world with an event for every edit, as long as it is connected to this company."""

    world: World
    sandbox: Sandbox
    scope: Scope
    warehouse: Warehouse  # the receiver's, which keeps its connection as the app does

    def receive(self, delivery: Delivery) -> int:
        """The status of the answer; 200 once the event is committed, or is of another company."""
        notices = WEBHOOKS.notices(delivery.body)
        try:
            if {notice.company_id for notice in notices} <= {self.company_id()}:
                receive(self.warehouse, self.scope, HOOK, notices)
        except (PipelineError, psycopg.Error):
            return NOW_UNAVAILABLE
        return httpx.codes.OK

    def company_id(self) -> str | None:
        """The company that the tenant is connected to."""
        with self.warehouse.transaction() as connection:
            row = connection.execute(
                "select company_id from integration.connections where tenant_id = %s",
                [self.scope.tenant.slug],
            ).fetchone()
        return row[0] if row else None

    def arrived(self) -> None:
        """Returns when everything that is due was delivered."""
        assert self.sandbox.webhooks.settled(SETTLED_SECONDS)

    def serve(self) -> Served:
        """What became of all signals that wait."""
        self.arrived()
        turns = [self.serve_once()]
        while turns[-1].count:
            turns.append(self.serve_once())
        return together(turns)

    def serve_once(self) -> Served:
        """One refresh."""
        return serve_waiting(self.world.warehouse, self.world.settings, self.scope)


@contextmanager
def live_by_webhook(world: World, sandbox: Sandbox, tenant: Tenant = ACME) -> Iterator[LiveTenant]:
    """The world with a webhook for every event, for the length of the block."""
    with reusing(world.warehouse) as reused, receiving() as receiver:
        live = LiveTenant(world, sandbox, Scope(tenant, SYSTEM), reused)
        receiver.on_arrival = live.receive
        webhook = {
            "subscription_url": receiver.url,
            "event_action": "*",
            "event_object": "*",
            "name": "every event",
        }
        made = httpx.post(
            f"{sandbox.url}/v1/webhooks",
            json=webhook,
            headers={"x-api-token": sandbox.api_token},
        )
        assert made.status_code == httpx.codes.CREATED, made.text
        yield live
