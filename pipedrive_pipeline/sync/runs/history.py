"""The history of runs: a row of `integration.runs` for every run, however it ends.

Its entities and marts have rows of their own, written when it ends. A row that a dead run left open
is ended by the next run of the tenant.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import BudgetSpent, Cancelled, PipelineError, Superseded
from pipedrive_pipeline.ingest.outcome import EntityRead, watermark
from pipedrive_pipeline.marts import MartsBuilt
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison
from pipedrive_pipeline.marts.sinks import SinkFailed, SinkFed
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import held_deletions
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE, TenantLock, lock_of_run
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SyncType = Literal["full", "incremental", "sweep", "remap", "verify"]
Trigger = Literal["schedule", "manual", "backfill", "connect", "webhook"]
Status = Literal["running", "success", "partial", "failed", "paused", "cancelled"]
EntityStatus = Literal["complete", "partial", "failed", "skipped", "paused"]


@dataclass(frozen=True)
class RunFacts:
    """The tenant, kind and trigger of one run."""

    scope: Scope
    sync_type: SyncType
    trigger: Trigger
    dagster_run_id: str | None
    is_restarted: bool = False  # an unfinished full read starts over
    is_confirmed: bool = False  # a person has confirmed that many rows are gone


@dataclass
class HistoryRow:
    """The history row of one live run."""

    warehouse: Warehouse
    facts: RunFacts
    id: UUID
    reads: dict[str, EntityRead] = field(default_factory=dict)
    built: MartsBuilt | None = None
    sinks: list[SinkFed] = field(default_factory=list)
    erased: Counter[str] = field(default_factory=Counter)  # by entity; see `tenancy/expiry.py`
    errors: list[BaseException] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)  # message by code
    values: ValueComparison | None = None  # None if the run did not compare all values
    api_calls: int = 0  # of all attempts
    tokens_spent: int = 0

    def complete(self) -> Status:
        """Writes how the run ended, also to the connection if the run called the source."""
        status = _status(self.facts.scope.system, self.reads, self.errors)
        tenant, system = self.facts.scope.tenant.slug, self.facts.scope.system
        run = {
            "id": self.id,
            "status": status,
            "tokens_spent": self.tokens_spent,
            "api_calls": self.api_calls,
            "values_seen": self.values.seen if self.values else None,
            "values_lost": len(self.values.lost) if self.values else None,
            "resume_at": _resume_at(self.errors),
            "errors": Jsonb([_named(error) for error in self.errors]),
            "warnings": Jsonb(
                [{"code": code, "message": text} for code, text in self.warnings.items()]
            ),
        }
        with self.warehouse.transaction(tenant=self.facts.scope.tenant) as connection:
            connection.execute(_COMPLETE, run)
            for statement, rows in ((_ENTITIES, self._entities()), (_MARTS, self._marts())):
                connection.execute(statement, {"id": self.id, "rows": _listed(rows)})
            held_deletions.store(connection, self.facts.scope, self.id, self.reads.values())
            # After a superseded run, the connection may belong to another company or a newer run.
            is_superseded = any(isinstance(error, Superseded) for error in self.errors)
            if self.facts.sync_type not in WITHOUT_SOURCE and not is_superseded:
                connection.execute(
                    _CONNECTION_RESULT,
                    [status, _last_error(self.errors), tenant, system, self.id],
                )
        return status

    def comparison(self) -> dict[str, dict[str, int]]:
        """Returns counts of rows and values compared with raw; empty if not all were compared."""
        compared = self.built.compared if self.built else {}
        facts = {name: comparison.facts() for name, comparison in compared.items()}
        if self.values:
            facts["values"] = {"seen": self.values.seen, "lost": len(self.values.lost)}
        return facts

    def _entities(self) -> Iterator[dict[str, Any]]:
        """Yields the values of the entities that the run read or erased records of."""
        now = datetime.now(UTC)
        for name in self.reads | {name: None for name, count in self.erased.items() if count}:
            read = self.reads.get(name)
            yield {"entity": name, "erased": self.erased[name], **_facts(read, now)}

    def _marts(self) -> Iterator[dict[str, Any]]:
        """Yields the values of the marts that the run built."""
        if self.built is None:
            return
        entities = entity_by_mart(self.facts.scope.system)
        for name, counts in self.built.counts.items():
            compared = self.built.compared.get(name)
            yield {
                "mart": name,
                "entity": entities.get(name),
                "created": counts.created,
                "updated": counts.updated,
                "unchanged": counts.unchanged,
                "deleted": counts.deleted,
                "comparison": compared.facts() if compared else None,
            }


def entity_by_mart(system: str) -> dict[str, str]:
    """Returns the entity whose records are a mart's rows, by mart in build order.

    A mart with several rows per record has none: its rows do not count the entity's records.
    """
    return {source.name: source.entity for source in mart_sources(system) if not source.is_of_parts}


def begin(warehouse: Warehouse, facts: RunFacts) -> HistoryRow:
    """Opens the run's row. The caller holds the run's lock."""
    with warehouse.transaction(tenant=facts.scope.tenant) as connection:
        row = connection.execute(
            _BEGIN,
            [
                facts.scope.tenant.slug,
                facts.scope.system,
                facts.sync_type,
                facts.trigger,
                facts.dagster_run_id,
            ],
        ).fetchone()
    assert row is not None  # noqa: S101 - `returning` of an insert without conflict
    return HistoryRow(warehouse, facts, row[0])


def settle_dead(lock: TenantLock) -> list[str]:
    """Ends the rows of runs that died; returns their Dagster run ids.

    Calls and tokens are in the row already; what was read is taken from the last progress.

    A run holds its lock as long as it lives; the caller has the lock, so every other run is dead.
    """
    tenant = lock.tenant
    message = {"code": "killed", "message": f"{tenant}: the run ended without a word; it died."}
    with lock.warehouse.transaction(tenant=tenant) as connection:
        begun = connection.execute(_BEGUN, [tenant.slug]).fetchall()
        dead = [
            log_id
            for log_id, system, sync_type in begun
            if lock.covers(lock_of_run(Scope(tenant, system), sync_type))
        ]
        values = {"errors": Jsonb([message]), "reason": message["message"], "dead": dead}
        rows = connection.execute(_SETTLE, values).fetchall()
    return [row[0] for row in rows if row[0]]


def ends_of(warehouse: Warehouse, tenant: Tenant, dagster_run_id: str) -> dict[str, bool]:
    """Returns for each system with a row of this Dagster run whether the run completed the row.

    A run that died did not; one that never opened a row is absent.
    """
    with warehouse.transaction() as connection:
        return dict(connection.execute(_ENDS, [tenant.slug, dagster_run_id]).fetchall())


def _status(
    system: str, reads: Mapping[str, EntityRead], errors: Sequence[BaseException]
) -> Status:
    if not errors:
        return "success"
    if any(isinstance(error, Cancelled) for error in errors):
        return "cancelled"
    if any(isinstance(error, BudgetSpent) for error in errors):
        return "paused"
    if all(isinstance(error, SinkFailed) for error in errors):
        return "partial"  # all is read and built
    is_all_complete = all(read.is_complete or read.is_set_aside for read in reads.values())
    is_any_complete = any(
        reads[name].is_complete for name in entity_by_mart(system).values() if name in reads
    )
    return "partial" if is_any_complete and not is_all_complete else "failed"


def _facts(read: EntityRead | None, now: datetime) -> dict[str, Any]:
    """Returns the columns of `integration.run_entities`; without a read, those of none."""
    if read is None:
        return dict.fromkeys(_FACTS) | {"fetched": 0, "rejected": 0}
    status, error = ending(read), _named(read.error) if read.error else {}
    is_compared = read.missing is not None
    values = (
        status,
        error.get("code"),
        error.get("message"),
        read.fetched,
        read.rejected + read.rejected_values,
        watermark(read.cursor_before),
        watermark(read.cursor_after) if read.is_complete else None,
        read.missing,
        read.extra if is_compared else None,
        read.stale if is_compared else None,
        now if is_compared else None,
        read.swept_at if is_compared and read.is_complete else None,
    )
    return dict(zip(_FACTS, values, strict=True))


def _listed(rows: Iterable[Mapping[str, Any]]) -> Jsonb:
    """Returns rows as one value, which Postgres takes apart; times as ISO 8601."""
    return Jsonb([*rows], dumps=partial(json.dumps, default=datetime.isoformat))


def ending(read: EntityRead) -> EntityStatus:
    """Returns how a read ended; of one that goes on, how it would if the run ended now."""
    if read.is_complete:
        return "complete"
    if read.is_set_aside:
        return "skipped"
    if isinstance(read.error, BudgetSpent):
        return "paused"
    return "partial" if read.fetched else "failed"


def _resume_at(errors: Sequence[BaseException]) -> datetime | None:
    return next((error.resets_at for error in errors if isinstance(error, BudgetSpent)), None)


def _named(error: BaseException) -> dict[str, str]:
    """Returns code and message; only the type of a foreign error, whose text may quote data."""
    if isinstance(error, PipelineError):
        return {"code": error.code, "message": str(error)}
    return {"code": "unexpected", "message": f"{type(error).__name__}; the run's log has more."}


def _last_error(errors: list[BaseException]) -> str | None:
    return json.dumps(_named(errors[-1])) if errors else None


_COMPLETE = """
update integration.runs
set status = %(status)s,
    completed_at = clock_timestamp(),
    progress = null,
    tokens_spent = greatest(runs.tokens_spent, %(tokens_spent)s),
    api_calls = greatest(runs.api_calls, %(api_calls)s),
    values_seen = %(values_seen)s,
    values_lost = %(values_lost)s,
    resume_at = %(resume_at)s,
    errors = %(errors)s,
    warnings = %(warnings)s
where runs.id = %(id)s
"""

_FACTS: Final = (
    "status",
    "code",
    "reason",
    "fetched",
    "rejected",
    "watermark_before",
    "watermark_after",
    "missing",
    "extra",
    "stale",
    "checked_at",
    "swept_at",
)

# A run that was taken for dead has rows already, from its progress; it may end all the same.
_ENTITIES = """
insert into integration.run_entities (
    tenant_id, run_id, system, started_at, entity, status, code, reason, fetched, rejected, erased,
    watermark_before, watermark_after, missing, extra, stale, checked_at, swept_at
)
select
    runs.tenant_id, runs.id, runs.system, runs.started_at, given.entity, given.status, given.code,
    given.reason, given.fetched, given.rejected, given.erased, given.watermark_before,
    given.watermark_after, given.missing, given.extra, given.stale, given.checked_at, given.swept_at
from integration.runs
cross join jsonb_populate_recordset(null::integration.run_entities, %(rows)s) as given
where runs.id = %(id)s
on conflict (run_id, entity) do update
set status = excluded.status,
    code = excluded.code,
    reason = excluded.reason,
    fetched = excluded.fetched,
    rejected = excluded.rejected,
    erased = excluded.erased,
    watermark_before = excluded.watermark_before,
    watermark_after = excluded.watermark_after,
    missing = excluded.missing,
    extra = excluded.extra,
    stale = excluded.stale,
    checked_at = excluded.checked_at,
    swept_at = excluded.swept_at
"""

_MARTS = """
insert into integration.run_marts (
    tenant_id, run_id, system, mart, entity, created, updated, unchanged, deleted, comparison
)
select
    runs.tenant_id, runs.id, runs.system, given.mart, given.entity, given.created, given.updated,
    given.unchanged, given.deleted, given.comparison
from integration.runs
cross join jsonb_populate_recordset(null::integration.run_marts, %(rows)s) as given
where runs.id = %(id)s
"""

_BEGIN = """
insert into integration.runs
    (connection_id, tenant_id, system, sync_type, trigger, dagster_run_id, status, started_at)
select connections.id, given.tenant_id, given.system, given.sync_type, given.trigger,
    given.dagster_run_id, 'running', clock_timestamp()
from (values (%s, %s, %s, %s, %s))
    as given (tenant_id, system, sync_type, trigger, dagster_run_id)
left join integration.connections as connections
    on connections.tenant_id = given.tenant_id and connections.system = given.system
returning id
"""

_BEGUN = """
select id, system, sync_type from integration.runs
where tenant_id = %s and status = 'running'
"""

_SETTLE = """
with dead as (
    update integration.runs
    set status = 'failed',
        completed_at = clock_timestamp(),
        progress = null,
        errors = errors || %(errors)s
    where id = any(%(dead)s)
    returning id, dagster_run_id
),

-- Sees the rows as they were before this statement, with their progress.
read as (
    insert into integration.run_entities
        (tenant_id, run_id, system, entity, started_at, status, code, reason, fetched)
    select
        runs.tenant_id,
        runs.id,
        runs.system,
        entity.name,
        runs.started_at,
        entity.facts ->> 'status',
        case
            when entity.facts ->> 'status' <> 'complete'
                then coalesce(entity.facts ->> 'code', 'killed')
        end,
        case
            when entity.facts ->> 'status' <> 'complete' and entity.facts ->> 'code' is null
                then %(reason)s
        end,
        (entity.facts ->> 'fetched')::bigint
    from integration.runs
    cross join lateral jsonb_each(runs.progress -> 'entities') as entity (name, facts)
    where runs.id = any(%(dead)s)
        and entity.facts ? 'status'
),

unanswered as (
    update integration.sync_requests
    set state = 'failed', settled_at = clock_timestamp()
    from dead
    where sync_requests.run_id = dead.id and sync_requests.state = 'running'
)

select dead.dagster_run_id from dead
"""

_ENDS = """
select
    runs.system,
    bool_or(runs.status <> 'running' and not runs.errors @> '[{"code": "killed"}]')
from integration.runs
where runs.tenant_id = %s
    and runs.dagster_run_id = %s
group by runs.system
"""

# A run that lost its lock may end after a newer one; the newest run's result is shown.
_CONNECTION_RESULT = """
update integration.connections
set last_sync_at = clock_timestamp(), last_sync_status = %s, last_sync_error = %s
where connections.tenant_id = %s
    and connections.system = %s
    and not exists (
        select from integration.runs as own
        inner join integration.runs as newer
            on newer.tenant_id = own.tenant_id
            and newer.system = own.system
            and newer.started_at > own.started_at
        where own.id = %s
    )
"""
