"""A tenant with deals that change, webhooks of an app, and the loop that delivers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.rows import dict_row

from pipedrive_pipeline.connect.api.crm.event_data import event_data
from pipedrive_pipeline.connectors.transport import Limits
from pipedrive_pipeline.marts.build import build
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.events import webhooks
from pipedrive_pipeline.sync.events.delivering import deliver_until
from pipedrive_pipeline.sync.events.queue import DeliveryTiming
from pipedrive_pipeline.sync.events.webhooks import AppWebhook, NewSecret
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.events.receivers import Behaviour, EventReceiver, honest
from pipedrive_pipeline_tests.marts.raw_tables import RawTables, deal
from pipedrive_pipeline_tests.sandbox.receiving import served
from pipedrive_pipeline_tests.waiting import wait_until

PATIENCE_SECONDS = 120
# As in production, but that all waits are short.
QUICK = DeliveryTiming(
    retries=(timedelta(milliseconds=20),),
    lease=timedelta(seconds=2),
    pause=timedelta(milliseconds=20),
    pause_max=timedelta(milliseconds=100),
    poll_seconds=0.05,
    limits=Limits(connect_seconds=1, read_seconds=0.3, call_seconds=0.5, body_bytes=16_384),
)


@dataclass(frozen=True)
class EventWorld:
    """A warehouse with tenants whose raw tables are filled by hand."""

    warehouse: Warehouse
    settings: Settings
    raw_tables: dict[Tenant, RawTables] = field(default_factory=dict)

    def raw(self, tenant: Tenant) -> RawTables:
        """The tenant's raw tables."""
        return self.raw_tables.setdefault(tenant, RawTables(self.warehouse, tenant))

    def subscribe(self, tenant: Tenant, url: str, types: Sequence[str] = ("*",)) -> NewSecret:
        """A webhook of the tenant."""
        with self.warehouse.as_app(tenant) as connection:
            return webhooks.add(
                connection,
                tenant,
                url=url,
                event_types=types,
                description=None,
                settings=self.settings,
                cipher=open_vault(self.warehouse, self.settings).cipher,
                who="a test",
            )

    def rotate(self, webhook: AppWebhook, overlap: timedelta) -> NewSecret:
        """Gives a webhook a new secret."""
        tenant = Tenant(webhook.tenant_id)
        cipher = open_vault(self.warehouse, self.settings).cipher
        with self.warehouse.as_app(tenant) as connection:
            return webhooks.rotate(
                connection, tenant, webhook, overlap=overlap, cipher=cipher, who="a test"
            )

    @contextmanager
    def receiver(
        self, tenant: Tenant, behaviour: Behaviour = honest, types: Sequence[str] = ("*",)
    ) -> Iterator[tuple[EventReceiver, AppWebhook]]:
        """A receiver that is served, and its webhook."""
        receiver = EventReceiver(behaviour=behaviour)
        with served(receiver):
            new = self.subscribe(tenant, receiver.url, types)
            receiver.secrets = [new.secret.get_secret_value()]
            yield receiver, new.webhook

    @contextmanager
    def delivering(self, timing: DeliveryTiming = QUICK, loops: int = 1) -> Iterator[None]:
        """The loop in threads of their own, until the end of the block."""
        stop = threading.Event()
        threads = [
            threading.Thread(
                target=deliver_until,
                args=(stop, self.warehouse, self.settings, event_data),
                kwargs={"timing": timing},
            )
            for _ in range(loops)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def deliver_all(
        self,
        timing: DeliveryTiming = QUICK,
        loops: int = 1,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Delivers until no active webhook has an event that waits."""
        with self.delivering(timing, loops):
            wait_until(lambda: self.waiting() == 0, patience_seconds, every_seconds=0.1)

    def waiting(self) -> int:
        """How many deliveries of active webhooks wait."""
        rows = self.rows(
            "select count(*) as count from integration.event_deliveries"
            " inner join integration.app_webhooks on app_webhooks.id = webhook_id"
            " where delivered_at is null and state = 'active'"
        )
        count: int = rows[0]["count"]
        return count

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query."""
        with self.warehouse.transaction() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        """Executes a statement."""
        with self.warehouse.transaction() as connection:
            connection.execute(statement.encode(), values)

    def webhook(self, webhook: AppWebhook) -> AppWebhook:
        """The webhook as it is now."""
        with self.warehouse.as_app(Tenant(webhook.tenant_id)) as connection:
            now = webhooks.webhook_of(connection, Tenant(webhook.tenant_id), webhook.id)
        assert now is not None
        return now


def change_deals(raw: RawTables, deals: int, rounds: int) -> int:
    """Makes deals and changes each in every round, with a build after each; returns the changes."""
    for number in range(rounds):
        raw.load(deals=[deal(key, title=f"{number}") for key in range(1, deals + 1)])
        build(raw.warehouse, Scope(raw.tenant, raw.system))
    return deals * rounds


def check_order(receiver: EventReceiver, deals: int, rounds: int) -> None:
    """Each record's events came once at least, and first in the order of its changes."""
    titles: dict[str, list[str]] = {}
    for _, event in receiver.first_arrivals:
        record = event["data"]["record"]
        titles.setdefault(record["id"], []).append(record["title"])
    expected = [str(number) for number in range(rounds)]
    assert len(titles) == deals
    assert [each for each in titles.values() if each != expected] == []
    assert receiver.refused == []
    assert receiver.paths == {"/hook"}
