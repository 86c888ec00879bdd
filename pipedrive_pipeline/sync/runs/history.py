"""The history of runs: one row of `integration.sync_logs` for every run, however it ends.

A row that a dead run left open is ended by the next run of the tenant.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import BudgetSpent, PipelineError, Superseded
from pipedrive_pipeline.ingest.outcome import EntityRead, watermark
from pipedrive_pipeline.marts import MartsBuilt
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE, TenantLock, lock_of_run
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SyncType = Literal["full", "incremental", "sweep", "remap", "verify"]
Trigger = Literal["schedule", "manual", "backfill", "connect", "webhook"]
Status = Literal["running", "success", "partial", "failed", "paused"]

COUNTED_ENTITIES = ("organizations", "persons")
COUNTED_MARTS = ("customers", "contacts")  # in the same order
MART_COUNTS = ("created", "updated", "unchanged", "deleted")


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
    erased: Counter[str] = field(default_factory=Counter)  # by entity; see `tenancy/expiry.py`
    errors: list[BaseException] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)  # message by code
    values: ValueComparison | None = None  # None if the run did not compare all values
    api_calls: int = 0  # of all attempts
    tokens_spent: int = 0

    def complete(self) -> Status:
        """Writes how the run ended, also to the connection if the run called the source."""
        status = _status(self.reads, self.errors)
        values: dict[str, Any] = {
            **_counts(self.reads, self.built),
            **{f"{name}_erased": self.erased[name] for name in COUNTED_ENTITIES},
            "status": status,
            "tokens_spent": self.tokens_spent,
            "api_calls": self.api_calls,
            "watermarks": Jsonb(_watermarks(self.reads)),
            "completeness": Jsonb(_completeness(self.reads)),
            "resume_at": _resume_at(self.errors),
            "errors": Jsonb([_named(error) for error in self.errors]),
            "warnings": Jsonb(
                [{"code": code, "message": text} for code, text in self.warnings.items()]
            ),
            "comparison": Jsonb(self.comparison()),
        }
        with self.warehouse.transaction(tenant=self.facts.scope.tenant) as connection:
            connection.execute(_update(values), [*values.values(), self.id])
            # After a superseded run, the connection may belong to another company or a newer run.
            is_superseded = any(isinstance(error, Superseded) for error in self.errors)
            if self.facts.sync_type not in WITHOUT_SOURCE and not is_superseded:
                connection.execute(
                    _CONNECTION_RESULT,
                    [
                        status,
                        _last_error(self.errors),
                        self.facts.scope.tenant.slug,
                        self.facts.scope.system,
                        self.id,
                    ],
                )
        return status

    def comparison(self) -> dict[str, dict[str, int]]:
        """Returns counts of rows and values compared with raw; empty if not all were compared."""
        compared = self.built.compared if self.built else {}
        facts = {name: comparison.facts() for name, comparison in compared.items()}
        if self.values:
            facts["values"] = {"seen": self.values.seen, "lost": len(self.values.lost)}
        return facts


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
        rows = connection.execute(_SETTLE, [Jsonb([message]), dead]).fetchall()
    return [row[0] for row in rows if row[0]]


def ends_of(warehouse: Warehouse, tenant: Tenant, dagster_run_id: str) -> dict[str, bool]:
    """Returns for each system with a row of this Dagster run whether the run completed the row.

    A run that died did not; one that never opened a row is absent.
    """
    with warehouse.transaction() as connection:
        return dict(connection.execute(_ENDS, [tenant.slug, dagster_run_id]).fetchall())


def _status(reads: Mapping[str, EntityRead], errors: list[BaseException]) -> Status:
    if not errors:
        return "success"
    if any(isinstance(error, BudgetSpent) for error in errors):
        return "paused"
    is_all_complete = all(read.is_complete for read in reads.values())
    is_any_complete = any(reads[name].is_complete for name in COUNTED_ENTITIES if name in reads)
    return "partial" if is_any_complete and not is_all_complete else "failed"


def _counts(reads: Mapping[str, EntityRead], built: MartsBuilt | None) -> dict[str, int]:
    """Returns the counts of records read and of mart rows changed, by column of the history."""
    counts: dict[str, int] = {}
    for name in COUNTED_ENTITIES:
        if name in reads:
            counts[f"{name}_fetched"] = reads[name].fetched
            counts[f"{name}_rejected"] = reads[name].rejected + reads[name].rejected_values
    if built:
        for name, mart in zip(COUNTED_ENTITIES, COUNTED_MARTS, strict=True):
            counts |= {
                f"{name}_{count}": getattr(built.counts[mart], count) for count in MART_COUNTS
            }
    return counts


def _watermarks(reads: Mapping[str, EntityRead]) -> dict[str, Any]:
    return {
        name: {
            "before": watermark(read.cursor_before),
            "after": watermark(read.cursor_after) if read.is_complete else None,
        }
        for name, read in reads.items()
    }


def _completeness(reads: Mapping[str, EntityRead]) -> dict[str, Any]:
    """Returns raw compared with the source, for entities that were read completely."""
    checked_at = _instant(datetime.now(UTC))
    return {
        name: {
            "missing": read.missing,
            "extra": read.extra,
            "stale": read.stale,
            "checked_at": checked_at,
            "swept_at": _instant(read.swept_at) if read.is_complete else None,
        }
        for name, read in reads.items()
        if read.missing is not None
    }


def _instant(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else None


def _resume_at(errors: list[BaseException]) -> datetime | None:
    return next((error.resets_at for error in errors if isinstance(error, BudgetSpent)), None)


def _named(error: BaseException) -> dict[str, str]:
    """Returns code and message; only the type of a foreign error, whose text may quote data."""
    if isinstance(error, PipelineError):
        return {"code": error.code, "message": str(error)}
    return {"code": "unexpected", "message": f"{type(error).__name__}; the run's log has more."}


def _last_error(errors: list[BaseException]) -> str | None:
    return json.dumps(_named(errors[-1])) if errors else None


def _update(values: Mapping[str, Any]) -> sql.Composed:
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values
    )
    return sql.SQL(
        "update integration.sync_logs set completed_at = clock_timestamp(), progress = null,"
        " {assignments} where id = %s"
    ).format(assignments=assignments)


_BEGIN = """
insert into integration.sync_logs
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
select id, system, sync_type from integration.sync_logs
where tenant_id = %s and status = 'running'
"""

_SETTLE = """
with dead as (
    update integration.sync_logs
    set status = 'failed', completed_at = clock_timestamp(), progress = null, errors = errors || %s
    where id = any(%s)
    returning id, dagster_run_id
),

unanswered as (
    update integration.sync_requests
    set state = 'failed', settled_at = clock_timestamp()
    from dead
    where sync_requests.sync_log_id = dead.id and sync_requests.state = 'running'
)

select dead.dagster_run_id from dead
"""

_ENDS = """
select
    sync_logs.system,
    bool_or(
        sync_logs.status <> 'running' and not sync_logs.errors @> '[{"code": "killed"}]'
    )
from integration.sync_logs
where sync_logs.tenant_id = %s
    and sync_logs.dagster_run_id = %s
group by sync_logs.system
"""

# A run that lost its lock may end after a newer one; the newest run's result is shown.
_CONNECTION_RESULT = """
update integration.connections
set last_sync_at = clock_timestamp(), last_sync_status = %s, last_sync_error = %s
where connections.tenant_id = %s
    and connections.system = %s
    and not exists (
        select from integration.sync_logs as own
        inner join integration.sync_logs as newer
            on newer.tenant_id = own.tenant_id
            and newer.system = own.system
            and newer.started_at > own.started_at
        where own.id = %s
    )
"""
