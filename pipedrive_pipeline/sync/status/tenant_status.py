"""Reads each tenant's status from the control tables: its connection, its last run, its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from psycopg.rows import class_row

from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.sync.runs.lock import is_free, locks_taken
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SPARKS = "▁▂▃▄▅▆▇█"
RECENT_RUNS = 12


@dataclass(frozen=True)
class _Row:
    slug: str
    state: str | None
    company_name: str | None
    last_status: str | None
    last_started_at: datetime | None
    last_message: str | None
    customers: int
    contacts: int
    recent_rows: list[int] | None
    recent_seconds: list[int] | None


@dataclass(frozen=True)
class TenantStatus:
    """The connection, last run and rows of one tenant."""

    tenant: Tenant
    is_running: bool
    row: _Row

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "tenant",
        "company",
        "state",
        "last run",
        "at (UTC)",
        "customers",
        "contacts",
        "rows read",
        "seconds",
    )

    @property
    def last_error(self) -> str | None:
        """Returns the error of the last run; None if it had none."""
        return self.row.last_message if self.row.last_status != "success" else None

    def cells(self) -> list[Any]:
        """Returns the cells of a table row, in the order of `COLUMNS`."""
        began = self.row.last_started_at
        return [
            f"{self.tenant} (make-believe)" if self.tenant.is_make_believe else self.tenant.slug,
            self.row.company_name,
            self.row.state or "none",
            "running" if self.is_running else self.row.last_status or "never",
            f"{began:%m-%d %H:%M}" if began else None,
            self.row.customers,
            self.row.contacts,
            trend(self.row.recent_rows or []),
            trend(self.row.recent_seconds or []),
        ]

    def facts(self) -> dict[str, Any]:
        """Returns the values for JSON."""
        return {
            "tenant": self.tenant.slug,
            "is_make_believe": self.tenant.is_make_believe,
            "company_name": self.row.company_name,
            "state": self.row.state,
            "is_running": self.is_running,
            "last_status": self.row.last_status,
            "last_started_at": self.row.last_started_at,
            "last_error": self.last_error,
            "customers": self.row.customers,
            "contacts": self.row.contacts,
            "rows_of_recent_runs": self.row.recent_rows or [],
            "seconds_of_recent_runs": self.row.recent_seconds or [],
        }


def tenant_statuses(warehouse: Warehouse, tenant: Tenant | None = None) -> list[TenantStatus]:
    """Returns the status of one tenant, or of all, by slug.

    Raises:
        UnknownTenant: this tenant is not registered.
    """
    with warehouse.transaction() as connection:
        rows = (
            connection.cursor(row_factory=class_row(_Row))
            .execute(_STATUS, {"recent": RECENT_RUNS, "tenant": tenant.slug if tenant else None})
            .fetchall()
        )
    if tenant and not rows:
        raise UnknownTenant(tenant.slug)
    taken = locks_taken(warehouse)
    return [
        TenantStatus(Tenant(row.slug), not is_free(taken, Tenant(row.slug)), row) for row in rows
    ]


def sparkline(values: list[int]) -> str:
    """Returns the values as a line of bars, oldest first; empty for none."""
    highest = max(values, default=0) or 1
    return "".join(SPARKS[round(value / highest * (len(SPARKS) - 1))] for value in values)


def trend(values: list[int]) -> str:
    """Returns the values as bars, and the newest as a number; empty for none."""
    return f"{sparkline(values)} {values[-1]:,}" if values else ""


_STATUS = """
select tenants.slug,
    connections.state,
    connections.company_name,
    last_run.status as last_status,
    last_run.started_at as last_started_at,
    last_run.errors -> -1 ->> 'message' as last_message,
    (
        select count(*) from crm.customers as customers
        where customers.tenant_id = tenants.slug and customers.deleted_at is null
            and customers.pipedrive_id is not null
    ) as customers,
    (
        select count(*) from crm.contacts as contacts
        where contacts.tenant_id = tenants.slug and contacts.deleted_at is null
            and contacts.pipedrive_id is not null
    ) as contacts,
    recent.fetched as recent_rows,
    recent.seconds as recent_seconds
from integration.tenants as tenants
left join integration.connections as connections on connections.tenant_id = tenants.slug
left join lateral (
    select sync_logs.status, sync_logs.started_at, sync_logs.errors
    from integration.sync_logs as sync_logs
    where sync_logs.tenant_id = tenants.slug
    order by sync_logs.started_at desc, sync_logs.id desc
    limit 1
) as last_run on true
left join lateral (
    select array_agg(newest.fetched order by newest.started_at) as fetched,
        array_agg(newest.seconds order by newest.started_at) as seconds
    from (
        select sync_logs.organizations_fetched + sync_logs.persons_fetched as fetched,
            extract(epoch from sync_logs.completed_at - sync_logs.started_at)::bigint as seconds,
            sync_logs.started_at
        from integration.sync_logs as sync_logs
        where sync_logs.tenant_id = tenants.slug and sync_logs.status <> 'running'
        order by sync_logs.started_at desc, sync_logs.id desc
        limit %(recent)s
    ) as newest
) as recent on true
where %(tenant)s::text is null or tenants.slug = %(tenant)s
order by tenants.slug
"""
