"""Whether each tenant's changes arrive in near real time: in words, in seconds, as a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status import alerts
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

State = Literal["off", "making", "live", "failing"]
DEAD_AFTER_LOOKS = 2  # a ban of half an hour may be over at the next look
WAITING_TOO_LONG = timedelta(minutes=5)  # a full read serves signals every minute or so
EVENTS_MEASURED = 1_000  # the newest of the last hour
NOT_LOOKED_AT = "no webhook was made yet; the sensor webhooks of the Dagster daemon makes it"


class WebhookDead(PersonMustAct):
    """A tenant's changes do not arrive in near real time; the nightly sync still finds them."""

    code = "near_real_time"
    who_acts = "the operator"


@dataclass(frozen=True)
class Liveness:
    """One connected tenant and system.

    ``lag_seconds`` (95th percentile) and ``lag_median_seconds`` are from the arrival of an event to
    the commit of its rows, over the newest events of the last hour; None without any.
    """

    tenant_id: str
    system: str
    state: State
    reason: str | None
    attempts: int
    last_event_at: datetime | None
    events: int
    lag_seconds: float | None
    lag_median_seconds: float | None
    waiting_seconds: float | None  # of the oldest change that is not in a row yet
    paused_until: datetime | None = None  # the source may send nothing until then

    @property
    def scope(self) -> Scope:
        """The tenant and system."""
        return Scope(Tenant(self.tenant_id), self.system)

    @property
    def trouble(self) -> str | None:
        """Why a person must act; None if nobody need."""
        if self.state == "failing" and self.attempts >= DEAD_AFTER_LOOKS:
            return f"its webhook does not work: {self.reason}"
        waiting = timedelta(seconds=self.waiting_seconds or 0)
        if waiting > WAITING_TOO_LONG and self.state != "off":
            return f"changes wait for {_duration(waiting)}; does the Dagster daemon run?"
        return None

    def words(self, now: datetime | None = None) -> str:
        """Returns the state as a person reads it: `live, last event 12 s ago`."""
        if self.state != "live":
            return self.state
        if self.paused_until is not None:
            until = f"{self.paused_until.astimezone(UTC):%H:%M}"
            return f"live, but after failed deliveries the CRM may send nothing until {until} UTC"
        if self.last_event_at is None:
            return "live, no event yet"
        age = max(timedelta(), (now or datetime.now(UTC)) - self.last_event_at)
        return f"live, last event {_duration(age)} ago"

    def facts(self) -> dict[str, Any]:
        """Returns the values for JSON."""
        return {
            "state": self.state,
            "reason": self.reason if self.state != "live" else None,
            "last_event_at": self.last_event_at,
            "lag_seconds": self.lag_seconds,
            "lag_median_seconds": self.lag_median_seconds,
            "waiting_seconds": self.waiting_seconds,
        }


def near_real_time(
    connection: psycopg.Connection, tenant: Tenant | None = None, system: str | None = None
) -> list[Liveness]:
    """Returns the state of every connected tenant and system, or of those that are named."""
    values = {
        "tenant": tenant.slug if tenant else None,
        "system": system,
        "systems": [each.key for each in registry.systems() if each.webhooks],
        "not_looked_at": NOT_LOOKED_AT,
        "tells_nothing": "this system tells of no changes",
        "measured": EVENTS_MEASURED,
    }
    cursor = connection.cursor(row_factory=class_row(Liveness))
    return cursor.execute(_STATES, values).fetchall()


def alert(warehouse: Warehouse, settings: Settings, states: Sequence[Liveness]) -> None:
    """Alerts once on each trouble of these states, and once when it is over."""
    code = WebhookDead.code
    troubled = [
        alerts.Cause(
            state.scope.tenant,
            state.system,
            code,
            f"{state.scope}: {state.trouble}",
            WebhookDead.who_acts,
        )
        for state in states
        if state.trouble
    ]
    alerts.raise_unless_open(warehouse, settings, troubled)
    lasting = {(cause.tenant, cause.system) for cause in troubled}
    alerts.close_others(warehouse, settings, code, lasting)


def _duration(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h" if seconds < 172_800 else f"{seconds // 86_400} days"


_STATES = """
select
    connections.tenant_id,
    connections.system,
    case
        when connections.system <> all(%(systems)s) then 'off'
        else coalesce(webhooks.state, 'making')
    end as state,
    case
        when connections.system <> all(%(systems)s) then %(tells_nothing)s
        when webhooks.state is null then %(not_looked_at)s
        else webhooks.reason
    end as reason,
    coalesce(webhooks.attempts, 0) as attempts,
    -- The receiver notes arrivals by webhook every few seconds; an event is stored at once.
    greatest(
        webhooks.last_event_at,
        (
            select max(webhook_events.received_at)
            from integration.webhook_events
            where webhook_events.tenant_id = connections.tenant_id
                and webhook_events.system = connections.system
        )
    ) as last_event_at,
    served.events,
    served.lag_seconds,
    served.lag_median_seconds,
    waiting.seconds as waiting_seconds,
    case when webhooks.paused_until > now() then webhooks.paused_until end as paused_until
from integration.connections
left join integration.webhooks
    on webhooks.tenant_id = connections.tenant_id
    and webhooks.system = connections.system
cross join lateral (
    select
        count(*) as events,
        percentile_cont(0.95) within group (order by newest.seconds) as lag_seconds,
        percentile_cont(0.5) within group (order by newest.seconds) as lag_median_seconds
    from (
        select
            extract(epoch from webhook_events.served_at - webhook_events.received_at)::float8
                as seconds
        from integration.webhook_events
        where webhook_events.tenant_id = connections.tenant_id
            and webhook_events.system = connections.system
            and webhook_events.received_at > now() - interval '1 hour'
            and webhook_events.served_at is not null
        order by webhook_events.received_at desc
        limit %(measured)s
    ) as newest
) as served
cross join lateral (
    select extract(epoch from clock_timestamp() - min(signals.received_at))::float8 as seconds
    from integration.signals
    where signals.tenant_id = connections.tenant_id
        and signals.system = connections.system
) as waiting
where connections.state = 'connected'
    and (%(tenant)s::text is null or connections.tenant_id = %(tenant)s)
    and (%(system)s::text is null or connections.system = %(system)s)
order by
    connections.tenant_id asc,
    connections.system asc
"""
