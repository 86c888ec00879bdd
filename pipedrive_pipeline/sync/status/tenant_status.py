"""Reads each tenant's status from the control tables: its connections, last runs, entities."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from psycopg.rows import class_row

from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import is_free, locks_taken
from pipedrive_pipeline.sync.status.entity_states import UNREMARKABLE, EntityState, entity_states
from pipedrive_pipeline.sync.webhooks.live_status import Liveness, near_real_time
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

SPARKS = "▁▂▃▄▅▆▇█"
RECENT_RUNS = 12


@dataclass(frozen=True)
class _ConnectionRow:
    slug: str
    system: str | None
    state: str | None
    company_name: str | None
    last_status: str | None
    last_started_at: datetime | None
    last_message: str | None
    recent_rows: list[int] | None
    recent_seconds: list[int] | None


@dataclass(frozen=True)
class TenantStatus:
    """The connection, last run and entities of one tenant and system; without one, of neither."""

    tenant: Tenant
    is_running: bool
    row: _ConnectionRow
    entities: list[EntityState] = field(default_factory=list)
    near_real_time: Liveness | None = None  # None: not connected
    sink_faults: dict[str, str] = field(default_factory=dict)  # message by name of the sink

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "tenant",
        "system",
        "company",
        "state",
        "last run",
        "at (UTC)",
        "rows",
        "rows read",
        "seconds",
        "near real time",
    )

    @property
    def last_error(self) -> str | None:
        """Returns the error of the last run; None if it had none."""
        return self.row.last_message if self.row.last_status != "success" else None

    @property
    def rows(self) -> dict[str, int]:
        """Returns the number of live rows, by mart."""
        return {row.mart: row.rows or 0 for row in self.entities if row.mart}

    @property
    def remarks(self) -> list[str]:
        """Returns a sentence for each entity whose newest read is not complete, and for events."""
        entities = [
            f"{row.entity} is {row.state}: {row.reason or 'the run ended before it'}"
            for row in self.entities
            if row.state not in UNREMARKABLE
        ]
        entities += [f"sink {name}: {fault}" for name, fault in self.sink_faults.items()]
        trouble = self.near_real_time and self.near_real_time.trouble
        return [*entities, f"near real time: {trouble}"] if trouble else entities

    @property
    def why_not_live(self) -> str | None:
        """Returns why only syncs find changes; None if events tell them, or `remarks` says why."""
        live = self.near_real_time
        if live is None or live.state == "live" or live.trouble or not live.reason:
            return None
        return f"near real time is {live.state}: {live.reason}"

    def cells(self) -> list[Any]:
        """Returns the cells of a table row, in the order of `COLUMNS`."""
        began = self.row.last_started_at
        return [
            f"{self.tenant} (make-believe)" if self.tenant.is_make_believe else self.tenant.slug,
            self.row.system,
            self.row.company_name,
            self.row.state or "none",
            "running" if self.is_running else self.row.last_status or "never",
            f"{began:%m-%d %H:%M}" if began else None,
            ", ".join(f"{count:,} {mart}" for mart, count in self.rows.items()),
            trend(self.row.recent_rows or []),
            trend(self.row.recent_seconds or []),
            self.near_real_time.words() if self.near_real_time else None,
        ]

    def facts(self) -> dict[str, Any]:
        """Returns the values for JSON."""
        return {
            "tenant": self.tenant.slug,
            "system": self.row.system,
            "is_make_believe": self.tenant.is_make_believe,
            "company_name": self.row.company_name,
            "state": self.row.state,
            "is_running": self.is_running,
            "last_status": self.row.last_status,
            "last_started_at": self.row.last_started_at,
            "last_error": self.last_error,
            "rows": self.rows,
            "entities": {row.entity: row.facts() for row in self.entities},
            "rows_of_recent_runs": self.row.recent_rows or [],
            "seconds_of_recent_runs": self.row.recent_seconds or [],
            "near_real_time": self.near_real_time and self.near_real_time.facts(),
            "sink_faults": self.sink_faults,
        }


def tenant_statuses(warehouse: Warehouse, tenant: Tenant | None = None) -> list[TenantStatus]:
    """Returns the status of one tenant's systems, or of all tenants', by slug and system.

    Raises:
        UnknownTenant: this tenant is not registered.
    """
    with reusing(warehouse) as reused:
        with reused.transaction() as connection:
            rows = (
                connection.cursor(row_factory=class_row(_ConnectionRow))
                .execute(
                    _STATUS, {"recent": RECENT_RUNS, "tenant": tenant.slug if tenant else None}
                )
                .fetchall()
            )
            entities: dict[tuple[str, str | None], list[EntityState]] = defaultdict(list)
            for state in entity_states(connection, tenant):
                entities[state.tenant_id, state.system].append(state)
            faults = connection.execute(_SINK_FAULTS).fetchall()
            live = {each.scope: each for each in near_real_time(connection, tenant)}
        taken = locks_taken(reused)
    if tenant and not rows:
        raise UnknownTenant(tenant.slug)
    return [
        TenantStatus(
            Tenant(row.slug),
            not is_free(taken, Tenant(row.slug)),
            row,
            entities[row.slug, row.system],
            live.get(Scope(Tenant(row.slug), row.system)) if row.system else None,
            {
                name: text
                for slug, system, name, text in faults
                if (slug, system) == (row.slug, row.system)
            },
        )
        for row in rows
    ]


def sparkline(values: list[int]) -> str:
    """Returns the values as a line of bars, oldest first; empty for none."""
    highest = max(values, default=0) or 1
    return "".join(SPARKS[round(value / highest * (len(SPARKS) - 1))] for value in values)


def trend(values: list[int]) -> str:
    """Returns the values as bars, and the newest as a number; empty for none."""
    return f"{sparkline(values)} {values[-1]:,}" if values else ""


_SINK_FAULTS = """
select
    sink_states.tenant_id,
    sink_states.system,
    sink_states.sink,
    sink_states.fault ->> 'message'
from integration.sink_states
where sink_states.fault is not null
order by sink_states.sink
"""
_STATUS = """
select tenants.slug,
    connections.system,
    connections.state,
    connections.company_name,
    last_run.status as last_status,
    last_run.started_at as last_started_at,
    last_run.errors -> -1 ->> 'message' as last_message,
    recent.fetched as recent_rows,
    recent.seconds as recent_seconds
from integration.tenants
left join integration.connections
    on connections.tenant_id = tenants.slug
left join lateral (
    select runs.status, runs.started_at, runs.errors
    from integration.runs
    where runs.tenant_id = tenants.slug
        and runs.system = connections.system
    order by runs.started_at desc, runs.id desc
    limit 1
) as last_run on true
left join lateral (
    select array_agg(newest.fetched order by newest.started_at) as fetched,
        array_agg(newest.seconds order by newest.started_at) as seconds
    from (
        select
            (
                select coalesce(sum(run_entities.fetched), 0)::bigint
                from integration.run_entities
                where run_entities.run_id = runs.id
            ) as fetched,
            extract(epoch from runs.completed_at - runs.started_at)::bigint as seconds,
            runs.started_at
        from integration.runs
        where runs.tenant_id = tenants.slug
            and runs.system = connections.system
            and runs.status <> 'running'
        order by runs.started_at desc, runs.id desc
        limit %(recent)s
    ) as newest
) as recent on true
where %(tenant)s::text is null or tenants.slug = %(tenant)s
order by tenants.slug, connections.system
"""
