"""Times in which events may have been lost, and the syncs that find what changed in them.

The receiver notes every few seconds that it is alive. If it was not for longer than a source
repeats an event, events of that source may be lost; so they may if it had to refuse some. After
failed deliveries a source may also send nothing for a while, and ten events of a bulk edit fail
within the restart of an app. So after each silence the sensor looks at the webhooks of active
tenants: one whose last delivery failed is made again, which ends a pause. Where the source shows
no failure, a sync finds what was missed, once a pause must be over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.webhooks.rows import WHO
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SILENT_AFTER = timedelta(seconds=3)  # the receiver notes every two seconds that it is alive
ALL_LOOKED_AT_AFTER = timedelta(seconds=30)


def note_alive(warehouse: Warehouse) -> None:
    """Notes that events can be received; marks a gap where they could not for too long."""
    with warehouse.transaction() as connection:
        row = connection.execute(_ALIVE).fetchone()
        silent_for, silent_since = row or (None, None)
        if silent_for is None or silent_since is None or silent_for < SILENT_AFTER:
            return
        if silent_for > ALL_LOOKED_AT_AFTER:
            connection.execute(_LOOK_AT_ALL)
        for key, webhooks in ((each.key, each.webhooks) for each in registry.systems()):
            if webhooks is None:
                continue
            values = {"system": key, "since": silent_since, "paused_for": webhooks.paused_for}
            connection.execute(_PAUSED, values)
            if silent_for > webhooks.retried_for:
                reason = f"no events could be received since {silent_since:%Y-%m-%d %H:%M} UTC"
                connection.execute(_SILENT, values | {"reason": reason})


def note_events(
    warehouse: Warehouse, newest: Mapping[UUID, datetime], refused: Iterable[UUID]
) -> None:
    """Stores when the newest event of each webhook arrived, and which had to be refused events."""
    with warehouse.transaction() as connection:
        connection.execute(_EVENTS, (list(newest), list(newest.values())))
        connection.execute(_REFUSED, (list(refused),))


def request_syncs(warehouse: Warehouse) -> list[tuple[Scope, str]]:
    """Requests a sync for each gap of a connected tenant, and returns whose, with the reason.

    A sync that runs already does not count: it may have read a record before it changed.
    """
    with warehouse.transaction() as connection:
        requested = connection.execute(_REQUEST, {"who": WHO}).fetchall()
    return [(Scope(Tenant(slug), system), reason) for slug, system, reason in requested]


# Only the first of several processes sees how long none was alive.
_ALIVE = """
with former as (
    select receiver.alive_at
    from integration.receiver
    for update
),
noted as (
    insert into integration.receiver (alive_at)
    values (clock_timestamp())
    on conflict (is_only) do update
    set alive_at = greatest(excluded.alive_at, integration.receiver.alive_at)
)
select
    clock_timestamp() - former.alive_at,
    former.alive_at
from former
"""
_LOOK_AT_ALL = """
update integration.webhooks
set next_check_at = clock_timestamp()
where webhooks.state = 'live'
"""
# Tenants without an event in the day before had hardly enough for a pause. Each is looked at every
# ten minutes at most: a receiver that is short of processor time is silent again and again. For the
# same reason a time that is noted stays: its sync would be put off for ever.
_PAUSED = """
update integration.webhooks
set paused_until = coalesce(webhooks.paused_until, clock_timestamp() + %(paused_for)s),
    next_check_at = least(
        webhooks.next_check_at,
        greatest(clock_timestamp(), webhooks.checked_at + interval '10 minutes')
    )
where webhooks.system = %(system)s
    and webhooks.last_event_at > %(since)s::timestamptz - interval '1 day'
    and %(paused_for)s > interval '0'
"""
_SILENT = """
update integration.webhooks
set gap_since = %(since)s,
    gap_reason = %(reason)s
where webhooks.system = %(system)s
    and webhooks.token_hash is not null
    and webhooks.gap_since is null
"""
_EVENTS = """
update integration.webhooks
set last_event_at = greatest(webhooks.last_event_at, newest.arrived_at)
from unnest(%s::uuid[], %s::timestamptz[]) as newest (id, arrived_at)
where webhooks.id = newest.id
"""
_REFUSED = """
update integration.webhooks
set gap_since = clock_timestamp(),
    gap_reason = 'more events came at once than are received'
where webhooks.id = any(%s::uuid[])
    and webhooks.gap_since is null
"""
_REQUEST = """
with gap as (
    select
        webhooks.tenant_id,
        webhooks.system,
        coalesce(
            webhooks.gap_reason,
            'the source may have sent nothing for a while, after deliveries that failed'
        ) as reason
    from integration.webhooks
    inner join integration.connections
        on connections.tenant_id = webhooks.tenant_id
        and connections.system = webhooks.system
        and connections.state = 'connected'
    where webhooks.gap_since is not null
        or webhooks.paused_until <= now()
    for update of webhooks
),
requested as (
    insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
    select
        gap.tenant_id,
        gap.system,
        'incremental',
        'webhook',
        %(who)s || ': ' || gap.reason
    from gap
    where not exists (
        select
        from integration.sync_requests
        where sync_requests.tenant_id = gap.tenant_id
            and sync_requests.system = gap.system
            and sync_requests.sync_type = 'full'
            and sync_requests.state = 'queued'
    )
    on conflict (tenant_id, system, sync_type) where state = 'queued' do nothing
)
update integration.webhooks
set gap_since = null,
    gap_reason = null,
    paused_until = case when webhooks.paused_until > now() then webhooks.paused_until end
from gap
where webhooks.tenant_id = gap.tenant_id
    and webhooks.system = gap.system
returning
    webhooks.tenant_id,
    webhooks.system,
    gap.reason
"""
