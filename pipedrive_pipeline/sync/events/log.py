"""The log of a webhook's deliveries, the newest event first; it holds no record's values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.tenants import Tenant

DeliveryState = Literal["waiting", "delivered"]


@dataclass(frozen=True)
class EventLogEntry:
    """One event and what became of it at one webhook."""

    event_id: int
    message_id: UUID
    type: str
    mart: str
    row_id: UUID
    recorded_at: datetime
    attempts: int
    next_attempt_at: datetime | None  # None: it is delivered, or due now
    delivered_at: datetime | None
    tries: list[dict[str, Any]]  # the newest first


def deliveries_of(
    connection: psycopg.Connection,
    tenant: Tenant,
    webhook_id: UUID,
    *,
    state: DeliveryState | None = None,
    before: int | None = None,
    limit: int,
) -> list[EventLogEntry]:
    """Returns deliveries of a webhook, the newest event first.

    Args:
        connection: the caller's.
        tenant: whose webhook.
        webhook_id: its id.
        state: only these.
        before: the last event of the page before.
        limit: at most as many.
    """
    values = {
        "tenant": tenant.slug,
        "id": webhook_id,
        "is_delivered": None if state is None else state == "delivered",
        "before": before,
        "limit": limit,
    }
    cursor = connection.cursor(row_factory=class_row(EventLogEntry))
    return cursor.execute(_LOG, values).fetchall()


_LOG: Final = """
select
    event_deliveries.event_id,
    record_events.message_id,
    record_events.type,
    record_events.mart,
    record_events.row_id,
    record_events.recorded_at,
    event_deliveries.attempts,
    case
        when event_deliveries.delivered_at is null
            and event_deliveries.next_attempt_at > clock_timestamp()
            then event_deliveries.next_attempt_at
    end as next_attempt_at,
    event_deliveries.delivered_at,
    event_deliveries.tries
from integration.event_deliveries
inner join integration.record_events
    on record_events.id = event_deliveries.event_id
where event_deliveries.tenant_id = %(tenant)s
    and event_deliveries.webhook_id = %(id)s
    and (
        %(is_delivered)s::boolean is null
        or (event_deliveries.delivered_at is not null) = %(is_delivered)s::boolean
    )
    and (%(before)s::bigint is null or event_deliveries.event_id < %(before)s::bigint)
order by event_deliveries.event_id desc
limit %(limit)s
"""
