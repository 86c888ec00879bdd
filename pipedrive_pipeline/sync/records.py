"""What a run notes beside its data: calls spent, values that raw could not hold, progress.

Belongs here: the writes to `integration.api_usage`, `rejected_values` and a running row's
``progress``. Does not belong here: the history row's end (`history.py`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from uuid import UUID

from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.base import Call, EntitySpec
from pipedrive_pipeline.ingest.outcome import EntityRead, Rejected
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

PROGRESS_INTERVAL_SECONDS = 1.0
REJECTED_VALUES_PER_LOAD = 1_000  # a retyped field would else write a row per record


class UsageBook:
    """Calls of one run by kind; written to the company's account when asked."""

    def __init__(self, warehouse: Warehouse, tenant: Tenant, system: str) -> None:
        self._warehouse, self._tenant, self._system = warehouse, tenant, system
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self.api_calls = self.tokens_spent = 0  # of the whole run

    def on_call(self, call: Call) -> None:
        """Counts one call. Called by the reading thread."""
        with self._lock:
            self._calls[call.kind] += 1
            self._tokens[call.kind] += call.tokens
            self.api_calls += 1
            self.tokens_spent += call.tokens

    def write(self) -> None:
        """Adds what was counted since the last write to `integration.api_usage`."""
        with self._lock:
            calls, tokens = self._calls, self._tokens
            self._calls, self._tokens = Counter(), Counter()
        if not calls:
            return
        rows = [
            (self._tenant.slug, self._system, kind, calls[kind], tokens[kind])
            for kind in sorted(calls)
        ]
        with self._warehouse.transaction(tenant=self._tenant) as connection:
            connection.cursor().executemany(_USAGE, rows)


class ProgressNote:
    """Keeps a running row's progress no older than a second, whoever reads it."""

    def __init__(self, warehouse: Warehouse, tenant: Tenant, log_id: UUID) -> None:
        self._warehouse, self._tenant, self._log_id = warehouse, tenant, log_id
        self._started = self._written = time.monotonic()

    def on_page(self, read: EntityRead) -> None:
        """Notes how far one entity's walk is."""
        now = time.monotonic()
        if now - self._written < PROGRESS_INTERVAL_SECONDS:
            return
        self._written = now
        progress = {
            "stage": read.entity.name,
            "pages": read.pages,
            "rows": read.fetched,
            "seconds": round(now - self._started, 1),
        }
        with self._warehouse.transaction(tenant=self._tenant) as connection:
            connection.execute(
                "update integration.sync_logs set progress = %s where id = %s",
                [Jsonb(progress), self._log_id],
            )


def write_rejected(
    warehouse: Warehouse, tenant: Tenant, system: str, entity: EntitySpec, values: list[Rejected]
) -> None:
    """Keeps values that raw could not hold in their place, once each, with the reason."""
    rows = [
        (
            tenant.slug,
            system,
            entity.name,
            value.record_id,
            value.field,
            value.value,
            value.reason,
        )
        for value in values[:REJECTED_VALUES_PER_LOAD]
    ]
    with warehouse.transaction(tenant=tenant) as connection:
        connection.cursor().executemany(_REJECTED, rows)


_USAGE = """
insert into integration.api_usage as book
    (tenant_id, system, company_id, used_on, call_kind, calls, tokens)
select given.tenant_id, given.system, coalesce(connections.company_id, ''),
    (now() at time zone 'UTC')::date, given.call_kind, given.calls, given.tokens
from (values (%s, %s, %s, %s::bigint, %s::bigint))
    as given (tenant_id, system, call_kind, calls, tokens)
left join integration.connections as connections
    on connections.tenant_id = given.tenant_id and connections.system = given.system
on conflict (tenant_id, system, company_id, used_on, call_kind) do update
set calls = book.calls + excluded.calls, tokens = book.tokens + excluded.tokens
"""

_REJECTED = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (tenant_id, system, entity, record_id, field) do update
set value = excluded.value, reason = excluded.reason, last_seen_at = now()
"""
