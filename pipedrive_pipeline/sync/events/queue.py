"""The queue of deliveries in Postgres: which are due, what became of them, and replays.

Any number of processes take from it. A delivery that is taken has a lease and becomes due again
when the lease ends, so that a process that is killed loses nothing. Of the events of one record
only the oldest that is not delivered can be taken: they arrive in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.transport import Limits
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.marts.events import KEPT_DAYS, NAMES_OF_TYPE
from pipedrive_pipeline.sync.events.addresses import CALL_LIMITS
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log

TRIES_KEPT: Final = 20  # of a delivery, for the log
PRUNE_ROWS: Final = 10_000  # in one transaction


@dataclass(frozen=True)
class DeliveryTiming:
    """How often, how long and how much; tests pass smaller ones.

    Attributes:
        retries: the wait after each failed attempt; after the last one, that again.
        give_up_after: a webhook with an event that could not be delivered for so long is disabled.
        lease: longer than an attempt; when it ends, another process takes the delivery over.
        of_webhook: deliveries of one webhook that are made at the same time, in all processes.
        of_process: deliveries of all webhooks that a process makes at the same time.
        failures_before_pause: so many failures in a row make a webhook wait as a whole.
        pause, pause_max: that wait; it doubles with each further failure.
        retry_after_max: a receiver that asks for a longer wait gets this one.
        poll_seconds: between two looks at an empty queue.
        prune_seconds: between two deletions of old events.
        limits: of one attempt.
    """

    retries: tuple[timedelta, ...] = (
        timedelta(seconds=5),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(minutes=30),
        timedelta(hours=1),
        timedelta(hours=2),
        timedelta(hours=4),
        timedelta(hours=8),
        timedelta(hours=12),
    )
    give_up_after: timedelta = timedelta(days=3)
    lease: timedelta = timedelta(seconds=60)
    of_webhook: int = 4
    of_process: int = 200
    failures_before_pause: int = 5
    pause: timedelta = timedelta(seconds=5)
    pause_max: timedelta = timedelta(minutes=10)
    retry_after_max: timedelta = timedelta(hours=1)
    poll_seconds: float = 1.0
    prune_seconds: float = 600.0
    limits: Limits = CALL_LIMITS


TIMING: Final = DeliveryTiming()


@dataclass(frozen=True)
class RecordChange:
    """The content of an event, as typed rows of its mart.

    Attributes:
        mart: whose row it is.
        row: the row after the change, by column; None: it was erased.
        former_row: the row before; None for a new one.
        custom_fields: at that time, by readable name.
    """

    mart: str
    row_id: UUID
    row: Mapping[str, Any] | None = None
    former_row: Mapping[str, Any] | None = None
    custom_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DueDelivery:
    """A delivery that this process has taken, with its webhook's address and sealed secrets."""

    webhook_id: UUID
    event_id: int
    tenant_id: str
    url: str
    secret: str
    former_secret: str | None
    attempts: int  # with this one
    message_id: UUID
    system: str
    mart: str
    row_id: UUID
    type: str
    recorded_at: datetime


@dataclass(frozen=True)
class Attempt:
    """What became of one attempt.

    Attributes:
        is_delivered: the receiver took the event.
        status: of its answer; None if there was none.
        error: why it failed, in words; None if it did not.
        is_gone: the receiver wants nothing more (410).
        retry_after: how long it asked to be left alone.
    """

    at: datetime
    milliseconds: int
    status: int | None = None
    error: str | None = None
    is_delivered: bool = False
    is_gone: bool = False
    retry_after: timedelta | None = None

    def facts(self) -> dict[str, object]:
        """The attempt for the log."""
        return {
            "at": self.at.isoformat(),
            "status": self.status,
            "error": self.error,
            "milliseconds": self.milliseconds,
        }


@dataclass(frozen=True)
class DisabledWebhook:
    """A webhook that was just disabled."""

    id: UUID
    tenant_id: str
    system: str
    reason: str
    waiting: int


def take(
    connection: psycopg.Connection, lease: UUID, *, limit: int, timing: DeliveryTiming
) -> list[DueDelivery]:
    """Takes deliveries that are due, at most a few of each webhook, and returns them.

    Args:
        connection: a transaction; the deliveries are taken when it is committed.
        lease: of this process.
        limit: how many at most.
        timing: how long they are taken for.
    """
    if limit <= 0:
        return []
    values = {
        "lease": lease,
        "until": timing.lease,
        "limit": limit,
        "of_webhook": timing.of_webhook,
        "failures": timing.failures_before_pause,
    }
    return connection.cursor(row_factory=class_row(DueDelivery)).execute(_TAKE, values).fetchall()


def contents(
    connection: psycopg.Connection, deliveries: Sequence[DueDelivery]
) -> dict[int, RecordChange]:
    """Returns the content of each delivery's event, by the event's id: one query for each mart."""
    content_by_event: dict[int, RecordChange] = {}
    by_mart = sorted(deliveries, key=lambda each: each.mart)
    for name, group in groupby(by_mart, key=lambda each: each.mart):
        query = sql.SQL(_CONTENTS).format(mart=sql.Identifier(*mart(name).table))
        ids = {each.event_id: each.row_id for each in group}
        rows = connection.cursor(row_factory=dict_row).execute(query, [list(ids)]).fetchall()
        former = {row["event_id"]: row for row in rows if row["is_former"]}
        for row in rows:
            event_id = row["event_id"]
            if not row["is_former"]:
                content_by_event[event_id] = RecordChange(
                    name, ids[event_id], row, former.get(event_id), row["event_custom"] or {}
                )
        for event_id in ids.keys() - content_by_event.keys():
            content_by_event[event_id] = RecordChange(name, ids[event_id])
    return content_by_event


def settle(
    connection: psycopg.Connection,
    lease: UUID,
    outcomes: Iterable[tuple[DueDelivery, Attempt]],
    timing: DeliveryTiming,
) -> list[DisabledWebhook]:
    """Stores what became of attempts; returns the webhooks that are disabled because of it.

    Args:
        connection: a transaction.
        lease: of this process; a delivery that another one has taken over since is left alone.
        outcomes: the deliveries and their attempts.
        timing: when failed ones are tried again.
    """
    by_webhook: dict[UUID, list[tuple[DueDelivery, Attempt]]] = {}
    for delivery, attempt in outcomes:
        by_webhook.setdefault(delivery.webhook_id, []).append((delivery, attempt))
    disabled = []
    # In one order, and the webhook before its deliveries, so that processes wait in turn.
    for webhook_id in sorted(by_webhook):
        row = connection.execute(_LOCK, [webhook_id]).fetchone()
        if row is None:
            continue  # it was removed, and its deliveries with it
        done = by_webhook[webhook_id]
        if delivered := [pair for pair in done if pair[1].is_delivered]:
            _store_delivered(connection, lease, delivered)
            if row[0] >= timing.failures_before_pause:
                connection.execute(_TRY_NOW, [webhook_id])
        for delivery, attempt in done:
            if not attempt.is_delivered:
                disabled += _store_failure(connection, lease, delivery, attempt, timing)
    return disabled


def release(connection: psycopg.Connection, lease: UUID) -> None:
    """Gives back what this process has taken and did not send."""
    connection.execute(_RELEASE, [lease])


def replay(
    connection: psycopg.Connection,
    tenant: Tenant,
    webhook_id: UUID,
    *,
    since: datetime,
    until: datetime | None = None,
    who: str,
) -> int:
    """Delivers the recorded events of a time again, or for the first time; returns how many.

    Args:
        connection: the caller's.
        tenant: whose.
        webhook_id: of the tenant.
        since: the first event was recorded then or later.
        until: the last one was recorded before; None: now.
        who: asked for it, for the audit log.
    """
    values = {"tenant": tenant.slug, "id": webhook_id, "since": since, "until": until}
    count = connection.execute(_REPLAY, values).rowcount
    audit_log.note(
        connection, tenant, who=who, action="app_webhook.replay", subject=str(webhook_id),
        after={"since": since.isoformat(), "events": count},
    )  # fmt: skip
    return count


def delete_old(connection: psycopg.Connection) -> int:
    """Deletes events that are older than a week, with their deliveries; returns how many."""
    return connection.execute(_PRUNE, [KEPT_DAYS, PRUNE_ROWS]).rowcount


def _store_delivered(
    connection: psycopg.Connection, lease: UUID, done: Sequence[tuple[DueDelivery, Attempt]]
) -> None:
    """Stores deliveries of one webhook, whose receiver works."""
    values = {
        "lease": lease,
        "id": done[0][0].webhook_id,
        "events": [delivery.event_id for delivery, _ in done],
        "tries": [Jsonb([attempt.facts()]) for _, attempt in done],
        "kept": TRIES_KEPT,
    }
    connection.execute(_DELIVERED, values)
    connection.execute(_WORKS, [done[0][0].webhook_id])


def _store_failure(
    connection: psycopg.Connection,
    lease: UUID,
    delivery: DueDelivery,
    attempt: Attempt,
    timing: DeliveryTiming,
) -> list[DisabledWebhook]:
    place = min(delivery.attempts, len(timing.retries)) - 1
    asked = min(attempt.retry_after or timedelta(), timing.retry_after_max)
    values = {
        "lease": lease,
        "id": delivery.webhook_id,
        "event": delivery.event_id,
        "system": delivery.system,
        "try": Jsonb([attempt.facts()]),
        "kept": TRIES_KEPT,
        "error": attempt.error,
        "is_gone": attempt.is_gone,
        "wait": max(timing.retries[place], asked),
        "asked": asked,
        "failures": timing.failures_before_pause,
        "pause": timing.pause,
        "pause_max": timing.pause_max,
        "give_up": timing.give_up_after,
    }
    if connection.execute(_FAILED, values).rowcount == 0:
        return []  # it was replayed meanwhile, or another process has taken it over
    connection.execute(_FAILS, values)
    cursor = connection.cursor(row_factory=class_row(DisabledWebhook))
    return cursor.execute(_GIVE_UP, values).fetchall()


_TAKE: Final = """
with due as materialized (
    select
        picked.webhook_id,
        picked.event_id
    from (
        select *
        from integration.app_webhooks
        where app_webhooks.state = 'active'
            and app_webhooks.resume_at <= clock_timestamp()
        -- None comes last each time where there are more deliveries than a process can make.
        order by random()
    ) as app_webhooks
    cross join lateral (
        select
            event_deliveries.webhook_id,
            event_deliveries.event_id
        from integration.event_deliveries
        where event_deliveries.webhook_id = app_webhooks.id
            and event_deliveries.delivered_at is null
            and event_deliveries.next_attempt_at <= clock_timestamp()
            -- One look into the index for each. As `not exists` it was a join, for which a planner
            -- without statistics read all that waits, again and again.
            and event_deliveries.event_id = (
                select min(oldest.event_id)
                from integration.event_deliveries as oldest
                where oldest.webhook_id = event_deliveries.webhook_id
                    and oldest.row_id = event_deliveries.row_id
                    and oldest.delivered_at is null
            )
        order by event_deliveries.event_id asc
        limit greatest(
            0,
            -- One at a time tries whether a receiver that fails again and again works.
            case when app_webhooks.failures >= %(failures)s then 1 else %(of_webhook)s end
            - (
                select count(*)
                from integration.event_deliveries as taken
                where taken.webhook_id = app_webhooks.id
                    and taken.lease is not null
                    and taken.next_attempt_at > clock_timestamp()
            )
        )
        for update skip locked
    ) as picked
    limit %(limit)s
),
taken as (
    update integration.event_deliveries
    set lease = %(lease)s,
        next_attempt_at = clock_timestamp() + %(until)s,
        attempts = event_deliveries.attempts + 1,
        first_attempt_at = coalesce(event_deliveries.first_attempt_at, clock_timestamp())
    from due
    where event_deliveries.webhook_id = due.webhook_id
        and event_deliveries.event_id = due.event_id
    returning
        event_deliveries.webhook_id,
        event_deliveries.event_id,
        event_deliveries.attempts
)
select
    taken.webhook_id,
    taken.event_id,
    app_webhooks.tenant_id,
    app_webhooks.url,
    app_webhooks.secret,
    case
        when app_webhooks.former_secret_until > clock_timestamp() then app_webhooks.former_secret
    end as former_secret,
    taken.attempts,
    record_events.message_id,
    record_events.system,
    record_events.mart,
    record_events.row_id,
    record_events.type,
    record_events.recorded_at
from taken
inner join integration.app_webhooks
    on app_webhooks.id = taken.webhook_id
inner join integration.record_events
    on record_events.id = taken.event_id
order by taken.event_id asc
"""
# The values of a row, in the types of its table.
_CONTENTS: Final = """
select
    record_events.id as event_id,
    record_events.custom_fields as event_custom,
    images.is_former,
    typed.*
from integration.record_events
cross join lateral (
    values
        (false, record_events.record),
        (true, record_events.record || record_events.former)
) as images (is_former, image)
cross join lateral jsonb_populate_record(null::{mart}, images.image) as typed
where record_events.id = any (%s)
    and images.image is not null
"""
_LOCK: Final = """
select app_webhooks.failures
from integration.app_webhooks
where app_webhooks.id = %s
for no key update
"""
_DELIVERED: Final = """
update integration.event_deliveries
set delivered_at = clock_timestamp(),
    lease = null,
    tries = jsonb_path_query_array(
        done.tries || event_deliveries.tries,
        '$[0 to $kept]',
        jsonb_build_object('kept', %(kept)s::integer - 1)
    )
from unnest(%(events)s::bigint[], %(tries)s::jsonb[]) as done (event_id, tries)
where event_deliveries.webhook_id = %(id)s
    and event_deliveries.event_id = done.event_id
    and event_deliveries.lease = %(lease)s
"""
_WORKS: Final = """
update integration.app_webhooks
set failures = 0,
    failing_since = null,
    last_delivered_at = clock_timestamp()
where app_webhooks.id = %s
    and (
        app_webhooks.failing_since is not null
        or app_webhooks.last_delivered_at is null
        or app_webhooks.last_delivered_at < clock_timestamp() - interval '5 seconds'
    )
"""
# A receiver that is back is sent at once what failed while it was away.
_TRY_NOW: Final = """
update integration.event_deliveries
set next_attempt_at = 'epoch'
where event_deliveries.webhook_id = %s
    and event_deliveries.delivered_at is null
    and event_deliveries.lease is null
"""
_FAILED: Final = """
update integration.event_deliveries
set lease = null,
    next_attempt_at = clock_timestamp() + %(wait)s,
    tries = jsonb_path_query_array(
        %(try)s || event_deliveries.tries,
        '$[0 to $kept]',
        jsonb_build_object('kept', %(kept)s::integer - 1)
    )
where event_deliveries.webhook_id = %(id)s
    and event_deliveries.event_id = %(event)s
    and event_deliveries.lease = %(lease)s
"""
_FAILS: Final = """
update integration.app_webhooks
set failures = app_webhooks.failures + 1,
    failing_since = coalesce(app_webhooks.failing_since, clock_timestamp()),
    failed_system = %(system)s,
    last_failure = %(error)s,
    resume_at = greatest(
        app_webhooks.resume_at,
        clock_timestamp() + %(asked)s,
        case
            when app_webhooks.failures + 1 >= %(failures)s
                then clock_timestamp() + least(
                    %(pause_max)s,
                    %(pause)s * power(2, least(app_webhooks.failures + 1 - %(failures)s, 20))
                )
        end
    )
where app_webhooks.id = %(id)s
"""
_GIVE_UP: Final = """
update integration.app_webhooks
set state = 'disabled',
    disabled_at = clock_timestamp(),
    state_reason = case
        when %(is_gone)s then 'The receiver says that it is gone (410).'
        else 'Events could not be delivered for too long; last: ' || %(error)s
    end
from integration.event_deliveries
where app_webhooks.id = %(id)s
    and app_webhooks.state = 'active'
    and event_deliveries.webhook_id = app_webhooks.id
    and event_deliveries.event_id = %(event)s
    and (
        %(is_gone)s
        or least(event_deliveries.first_attempt_at, app_webhooks.failing_since)
        < clock_timestamp() - %(give_up)s
    )
returning
    app_webhooks.id,
    app_webhooks.tenant_id,
    %(system)s as system,
    app_webhooks.state_reason as reason,
    (
        select count(*)
        from integration.event_deliveries as waiting
        where waiting.webhook_id = app_webhooks.id
            and waiting.delivered_at is null
    ) as waiting
"""
_RELEASE: Final = """
update integration.event_deliveries
set lease = null,
    next_attempt_at = 'epoch',
    attempts = greatest(event_deliveries.attempts - 1, 0)
where event_deliveries.lease = %s
"""
_REPLAY: Final = f"""
insert into integration.event_deliveries as known (webhook_id, event_id, tenant_id, row_id)
select app_webhooks.id, record_events.id, record_events.tenant_id, record_events.row_id
from integration.app_webhooks
inner join integration.record_events
    on record_events.tenant_id = app_webhooks.tenant_id
    and app_webhooks.event_types && {NAMES_OF_TYPE.format(type="record_events.type")}
where app_webhooks.tenant_id = %(tenant)s
    and app_webhooks.id = %(id)s
    and record_events.recorded_at >= %(since)s
    and (%(until)s::timestamptz is null or record_events.recorded_at < %(until)s::timestamptz)
order by record_events.id asc
on conflict (webhook_id, event_id) do update
set delivered_at = null,
    attempts = 0,
    first_attempt_at = null,
    next_attempt_at = 'epoch',
    lease = null
"""
_PRUNE: Final = """
delete from integration.record_events
where record_events.id in (
    select old.id
    from integration.record_events as old
    where old.recorded_at < now() - make_interval(days => %s)
    limit %s
    for update skip locked
)
"""
