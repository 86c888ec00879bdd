"""What needs a person: derived from the state of connections, runs, values and mappings.

Nothing is stored for it: a problem is over when its cause is. `resolved_problems` reads what ended
it: alerts that closed, connections and webhooks that were made again, decisions, reads that are
complete again, and mappings that no longer use a field that is gone. Values that fit now leave no
trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.tenants import Tenant

RESOLVED_DAYS: Final = 14  # so long a resolved problem is shown
LISTED_MAX: Final = 100


class ProblemKind(StrEnum):
    """The kinds of problems, the worst first."""

    RECONNECT = "reconnect"  # the source no longer accepts the connection
    FAILED = "failed"  # the last run failed for a cause that no rerun mends
    DELETIONS = "deletions"  # too many records would be marked as deleted
    FIELD_GONE = "field_gone"  # a mapped field no longer exists
    RIGHT_MISSING = "right_missing"  # one kind of records may not be read
    WRITE = "write"  # a write met a record that had moved; a person decides
    WEBHOOK = "webhook"  # events do not arrive any more; syncs still find them
    SINK = "sink"  # an app's table could not be fed
    EVENTS = "events"  # a webhook of an app is disabled, and events wait for it
    VALUES = "values"  # values that do not fit their column

    @property
    def stops_data(self) -> bool:
        """True if nothing new is read until a person has acted."""
        return self in {ProblemKind.RECONNECT, ProblemKind.FAILED}


@dataclass(frozen=True)
class Problem:
    """One thing that needs a person, or did."""

    tenant_id: str
    tenant_name: str
    system: str
    kind: ProblemKind
    subject: str | None  # an entity; of a field that is gone its name; of a failure its code
    entity: str | None
    count: int | None  # records or values that wait
    of_count: int | None
    code: str | None  # of the failure, or why the connection ended
    message: str | None
    since: datetime
    resolved_at: datetime | None = None
    resolved_by: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ProblemKind(self.kind))


@dataclass(frozen=True)
class ProblemCounts:
    """Open problems by their effect."""

    stopping: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """All open problems."""
        return self.stopping + self.held


def open_problems(
    connection: psycopg.Connection,
    tenant: Tenant | None = None,
    *,
    stops_data: bool | None = None,
    limit: int = LISTED_MAX,
) -> list[Problem]:
    """The open problems of a tenant, or of all as the engine: those that stop data first."""
    cursor = connection.cursor(row_factory=class_row(Problem))
    values = _values(tenant) | {"stops_data": stops_data, "limit": limit}
    return cursor.execute(_LIST_OPEN.encode(), values).fetchall()


def count_problems(connection: psycopg.Connection, tenant: Tenant | None = None) -> ProblemCounts:
    """How many problems are open."""
    row = connection.execute(_COUNT_OPEN.encode(), _values(tenant)).fetchone()
    return ProblemCounts(*row) if row else ProblemCounts()


def resolved_problems(
    connection: psycopg.Connection, tenant: Tenant | None = None, *, limit: int = LISTED_MAX
) -> list[Problem]:
    """The problems of the last fourteen days that are over, the newest first."""
    cursor = connection.cursor(row_factory=class_row(Problem))
    values = _values(tenant) | {"days": RESOLVED_DAYS, "limit": limit}
    return cursor.execute(_RESOLVED.encode(), values).fetchall()


def _values(tenant: Tenant | None) -> dict[str, object]:
    return {
        "tenant": tenant and tenant.slug,
        "stopping": [kind.value for kind in ProblemKind if kind.stops_data],
        "kinds": [kind.value for kind in ProblemKind],
    }


# The newest refusal of each entity.
_REFUSED: Final = """
select distinct on (run_entities.tenant_id, run_entities.system, run_entities.entity)
    run_entities.tenant_id,
    run_entities.system,
    run_entities.entity,
    run_entities.code,
    run_entities.started_at
from integration.run_entities
where run_entities.code in ('scope_missing', 'source_refused')
    and run_entities.status = 'skipped'
    and run_entities.started_at > now() - interval '90 days'
    and (%(tenant)s::text is null or run_entities.tenant_id = %(tenant)s)
order by
    run_entities.tenant_id,
    run_entities.system,
    run_entities.entity,
    run_entities.started_at desc
"""
# Needs the parameter tenant, null for all.
OPEN_PROBLEMS: Final = f"""
select
    connections.tenant_id,
    connections.system,
    'reconnect' as kind,
    connections.company_name as subject,
    null::text as entity,
    null::bigint as count,
    null::bigint as of_count,
    connections.state_reason as code,
    null::text as message,
    coalesce(alerts.began_at, connections.updated_at) as since
from integration.connections
left join integration.alerts
    on alerts.tenant_id = connections.tenant_id
    and alerts.system = connections.system
    and alerts.code = 'needs_reauth'
    and alerts.healed_at is null
where connections.state = 'needs_reauth'
    and (%(tenant)s::text is null or connections.tenant_id = %(tenant)s)
union all
select
    alerts.tenant_id,
    alerts.system,
    'failed',
    alerts.code,
    null,
    null,
    null,
    alerts.code,
    alerts.message,
    alerts.began_at
from integration.alerts
inner join integration.connections
    on connections.tenant_id = alerts.tenant_id
    and connections.system = alerts.system
    and connections.state = 'connected'
where alerts.healed_at is null
    and alerts.code not in ('needs_reauth', 'guard_tripped', 'sink_failed')
    and (%(tenant)s::text is null or alerts.tenant_id = %(tenant)s)
union all
select
    refused.tenant_id,
    refused.system,
    'right_missing',
    refused.entity,
    refused.entity,
    null,
    null,
    refused.code,
    null,
    refused.started_at
from ({_REFUSED}) as refused
inner join integration.connections
    on connections.tenant_id = refused.tenant_id
    and connections.system = refused.system
    and connections.state = 'connected'
left join integration.sync_settings
    on sync_settings.tenant_id = refused.tenant_id
    and sync_settings.system = refused.system
where not coalesce(refused.entity = any (sync_settings.entities_off), false)
    and not exists (
        select
        from integration.run_entities as later
        where later.tenant_id = refused.tenant_id
            and later.system = refused.system
            and later.entity = refused.entity
            and later.started_at > refused.started_at
            and later.status = 'complete'
    )
union all
select
    held_deletions.tenant_id,
    held_deletions.system,
    'deletions',
    held_deletions.entity,
    held_deletions.entity,
    held_deletions.gone,
    held_deletions.known,
    null,
    null,
    held_deletions.found_at
from integration.held_deletions
where held_deletions.decision is null
    and (%(tenant)s::text is null or held_deletions.tenant_id = %(tenant)s)
union all
select
    outbox.tenant_id,
    outbox.system,
    'write',
    outbox.mart,
    null,
    count(*),
    null,
    'record_moved',
    null,
    min(outbox.created_at)
from integration.outbox
where outbox.state = 'conflict'
    and (%(tenant)s::text is null or outbox.tenant_id = %(tenant)s)
group by
    outbox.tenant_id,
    outbox.system,
    outbox.mart
union all
select
    webhooks.tenant_id,
    webhooks.system,
    'webhook',
    null,
    null,
    null,
    null,
    null,
    webhooks.reason,
    coalesce(webhooks.gap_since, webhooks.checked_at)
from integration.webhooks
where webhooks.state = 'failing'
    and (%(tenant)s::text is null or webhooks.tenant_id = %(tenant)s)
union all
select
    sink_states.tenant_id,
    sink_states.system,
    'sink',
    sink_states.sink,
    sink_states.app_table,
    nullif(sink_states.refused_count, 0),
    null,
    sink_states.fault ->> 'code',
    sink_states.fault ->> 'message',
    sink_states.fault_since
from integration.sink_states
where sink_states.fault is not null
    and (%(tenant)s::text is null or sink_states.tenant_id = %(tenant)s)
union all
select
    app_webhooks.tenant_id,
    app_webhooks.failed_system,
    'events',
    substring(app_webhooks.url from '^https?://([^/?#]+)'),
    null,
    (
        select count(*)
        from integration.event_deliveries
        where event_deliveries.webhook_id = app_webhooks.id
            and event_deliveries.delivered_at is null
    ),
    null,
    null,
    app_webhooks.state_reason,
    app_webhooks.disabled_at
from integration.app_webhooks
where app_webhooks.state = 'disabled'
    and (%(tenant)s::text is null or app_webhooks.tenant_id = %(tenant)s)
union all
select
    rejected_values.tenant_id,
    rejected_values.system,
    'values',
    rejected_values.entity,
    rejected_values.entity,
    count(*),
    null,
    null,
    null,
    min(rejected_values.first_seen_at)
from integration.rejected_values
where rejected_values.is_confirmed
    and (%(tenant)s::text is null or rejected_values.tenant_id = %(tenant)s)
group by
    rejected_values.tenant_id,
    rejected_values.system,
    rejected_values.entity
union all
select
    field_mappings.tenant_id,
    field_mappings.system,
    'field_gone',
    min(fields.field_name),
    fields.entity,
    null,
    null,
    null,
    fields.field_key,
    min(fields.removed_at)
from integration.field_mappings
cross join lateral jsonb_each(field_mappings.mapping) as mapped (entity, targets)
cross join lateral jsonb_object_keys(mapped.targets) as source (name)
inner join integration.fields
    on fields.tenant_id = field_mappings.tenant_id
    and fields.system = field_mappings.system
    and fields.entity = mapped.entity
    and fields.field_key in (source.name, split_part(source.name, '.', 1))
    and fields.removed_at is not null
where field_mappings.is_active
    and (%(tenant)s::text is null or field_mappings.tenant_id = %(tenant)s)
group by
    field_mappings.tenant_id,
    field_mappings.system,
    fields.entity,
    fields.field_key
"""
_LIST_OPEN = f"""
select
    problems.tenant_id,
    coalesce(nullif(tenants.display_name, ''), tenants.slug) as tenant_name,
    problems.system,
    problems.kind,
    problems.subject,
    problems.entity,
    problems.count,
    problems.of_count,
    problems.code,
    problems.message,
    problems.since
from ({OPEN_PROBLEMS}) as problems
inner join integration.tenants
    on tenants.slug = problems.tenant_id
where %(stops_data)s::boolean is null
    or %(stops_data)s = (problems.kind = any (%(stopping)s))
order by
    array_position(%(kinds)s::text[], problems.kind),
    problems.since desc,
    problems.tenant_id,
    problems.system,
    problems.subject
limit %(limit)s
"""
_COUNT_OPEN = f"""
select
    count(*) filter (where problems.kind = any (%(stopping)s)),
    count(*) filter (where problems.kind <> all (%(stopping)s))
from ({OPEN_PROBLEMS}) as problems
"""
_RESOLVED = f"""
with over as (
    select
        alerts.tenant_id,
        alerts.system,
        'failed' as kind,
        alerts.code as subject,
        null::text as entity,
        alerts.code,
        alerts.began_at as since,
        alerts.healed_at as resolved_at,
        null::text as resolved_by
    from integration.alerts
    where alerts.healed_at > now() - make_interval(days => %(days)s)
        and alerts.code not in ('needs_reauth', 'guard_tripped')
        and (%(tenant)s::text is null or alerts.tenant_id = %(tenant)s)
    union all
    select
        audit_log.tenant_id,
        audit_log.subject,
        'reconnect',
        null,
        null,
        audit_log.before ->> 'reason',
        audit_log.at,
        audit_log.at,
        audit_log.who
    from integration.audit_log
    where audit_log.at > now() - make_interval(days => %(days)s)
        and audit_log.action = 'connection.state'
        and audit_log.before ->> 'state' = 'needs_reauth'
        and audit_log.after ->> 'state' = 'connected'
        and (%(tenant)s::text is null or audit_log.tenant_id = %(tenant)s)
    union all
    select
        audit_log.tenant_id,
        split_part(audit_log.subject, ' ', 1),
        'deletions',
        null,
        null,
        'guard_tripped',
        audit_log.at,
        audit_log.at,
        audit_log.who
    from integration.audit_log
    where audit_log.at > now() - make_interval(days => %(days)s)
        and audit_log.action in ('deletions.confirmed', 'deletions.refused')
        and (%(tenant)s::text is null or audit_log.tenant_id = %(tenant)s)
    union all
    select
        webhooks.tenant_id,
        webhooks.system,
        'webhook',
        null,
        null,
        null,
        webhooks.since,
        webhooks.at,
        null
    from (
        select
            audit_log.tenant_id,
            audit_log.subject as system,
            audit_log.action,
            audit_log.at,
            lag(audit_log.action) over webhook as former_action,
            lag(audit_log.at) over webhook as since
        from integration.audit_log
        where audit_log.action in ('webhook.make', 'webhook.fail')
            and audit_log.at > now() - interval '90 days'
            and (%(tenant)s::text is null or audit_log.tenant_id = %(tenant)s)
        window webhook as (
            partition by audit_log.tenant_id, audit_log.subject order by audit_log.at, audit_log.id
        )
    ) as webhooks
    where webhooks.action = 'webhook.make'
        and webhooks.former_action = 'webhook.fail'
        and webhooks.at > now() - make_interval(days => %(days)s)
    union all
    select
        refused.tenant_id,
        refused.system,
        'right_missing',
        refused.entity,
        refused.entity,
        refused.code,
        refused.started_at,
        complete.started_at,
        null
    from ({_REFUSED}) as refused
    cross join lateral (
        select min(later.started_at) as started_at
        from integration.run_entities as later
        where later.tenant_id = refused.tenant_id
            and later.system = refused.system
            and later.entity = refused.entity
            and later.started_at > refused.started_at
            and later.status = 'complete'
    ) as complete
    where complete.started_at > now() - make_interval(days => %(days)s)
    union all
    select
        saved.tenant_id,
        saved.system,
        'field_gone',
        min(fields.field_name),
        fields.entity,
        null,
        min(fields.removed_at),
        saved.created_at,
        saved.created_by
    from integration.field_mappings as saved
    inner join integration.field_mappings as former
        on former.tenant_id = saved.tenant_id
        and former.system = saved.system
        and former.version = saved.version - 1
    cross join lateral jsonb_each(former.mapping) as mapped (entity, targets)
    cross join lateral jsonb_object_keys(mapped.targets) as source (name)
    inner join integration.fields
        on fields.tenant_id = saved.tenant_id
        and fields.system = saved.system
        and fields.entity = mapped.entity
        and fields.field_key in (source.name, split_part(source.name, '.', 1))
        and fields.removed_at < saved.created_at
    where saved.created_at > now() - make_interval(days => %(days)s)
        and not coalesce(saved.mapping -> mapped.entity ? source.name, false)
        and (%(tenant)s::text is null or saved.tenant_id = %(tenant)s)
    group by
        saved.tenant_id,
        saved.system,
        fields.entity,
        fields.field_key,
        saved.created_at,
        saved.created_by
)
select
    over.tenant_id,
    coalesce(nullif(tenants.display_name, ''), tenants.slug) as tenant_name,
    over.system,
    over.kind,
    over.subject,
    over.entity,
    null::bigint as count,
    null::bigint as of_count,
    over.code,
    null as message,
    over.since,
    over.resolved_at,
    over.resolved_by
from over
inner join integration.tenants
    on tenants.slug = over.tenant_id
order by
    over.resolved_at desc,
    over.tenant_id
limit %(limit)s
"""
