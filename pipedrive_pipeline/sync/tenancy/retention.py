"""What is older than `HISTORY_KEPT_DAYS` is forgotten, a bounded batch with each run of a tenant.

Belongs here: which rows of the control tables grow for ever, and which of them may go. Does not
belong here: rows of the CRM (`ageing.py`), the audit log, which is never shortened, and Dagster's
own records (`dagster.yaml`).

The newest row of each kind stays, whatever its age: it says when a sync is due, what a full read
costs, how old the last sweep is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.registry import connector
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

ROWS_PER_RUN: Final = 1_000  # of a table; the next run takes the next ones
STALE_CONSENT: Final = "interval '1 day'"  # after the ten minutes in which it could be used

log = logging.getLogger(__name__)


def delete_old_history(
    warehouse: Warehouse,
    tenant: Tenant,
    system: str,
    *,
    kept_days: int,
    batch_rows: int = ROWS_PER_RUN,
) -> Counter[str]:
    """How many rows of each table were forgotten; none where it could not be done this time."""
    forgotten: Counter[str] = Counter()
    parameters = {
        "tenant": tenant.slug,
        "system": system,
        "kept_days": kept_days,
        "limit": batch_rows,
    }
    try:
        with warehouse.transaction(tenant=tenant) as connection:
            for table, condition in _rules(connection, tenant, system):
                query = sql.SQL(_FORGET).format(
                    table=sql.Identifier("integration", table), condition=condition
                )
                forgotten[table] = connection.execute(query, parameters).rowcount
    except (PipelineError, psycopg.Error) as error:  # the run has ended; this waits for the next
        log.warning("%s: old history stays for now (%s)", tenant, type(error).__name__)
        return Counter()
    return forgotten


def _rules(
    connection: psycopg.Connection, tenant: Tenant, system: str
) -> Iterator[tuple[str, sql.Composable]]:
    for table, condition in _CONDITIONS.items():
        yield table, sql.SQL(condition)
    is_gone = sql.SQL(" and ").join(_not_in(connection, tenant, system))
    yield "rejected_values", sql.SQL(_REJECTED).format(is_gone=is_gone)


def _not_in(
    connection: psycopg.Connection, tenant: Tenant, system: str
) -> Iterator[sql.Composable]:
    """A condition for each entity: the value's record is none that raw still holds."""
    for entity in connector(system).entities.values():
        if is_there(connection, tenant.raw_schema(system), entity.name):
            yield sql.SQL(_NOT_IN_RAW).format(
                entity=sql.Literal(entity.name),
                raw=sql.Identifier(tenant.raw_schema(system), entity.name),
                key=sql.Identifier(entity.key.name),
            )
    yield sql.SQL("true")


# Rows that another session has in hand wait for the next run.
_FORGET = """
delete from {table}
where ctid = any(
    array(
        select old.ctid
        from {table} as old
        where old.tenant_id = %(tenant)s
            and old.system = %(system)s
            and {condition}
        limit %(limit)s
        for update skip locked
    )
)
"""

_CONDITIONS: Final = {
    "sync_requests": "old.settled_at < now() - make_interval(days => %(kept_days)s)",
    "sync_logs": """
        old.completed_at < now() - make_interval(days => %(kept_days)s)
        and exists (
            select
            from integration.sync_logs as newer
            where newer.tenant_id = old.tenant_id
                and newer.system = old.system
                and newer.sync_type = old.sync_type
                and newer.status = old.status
                and (newer.started_at, newer.id) > (old.started_at, old.id)
        )
    """,
    "api_usage": "old.used_on < (now() - make_interval(days => %(kept_days)s))::date",
    "alerts": "old.healed_at < now() - make_interval(days => %(kept_days)s)",
    "connect_links": f"old.expires_at < now() - {STALE_CONSENT}",
    "oauth_states": f"old.expires_at < now() - {STALE_CONSENT}",
    "pending_grants": f"old.expires_at < now() - {STALE_CONSENT}",
}

# A value whose record is there is listed for as long as it does not fit: the analysts' views show
# nothing in its place.
_REJECTED = """
    old.last_seen_at < now() - make_interval(days => %(kept_days)s)
    and {is_gone}
"""

_NOT_IN_RAW = """(
    old.entity <> {entity}
    or not exists (select from {raw} as raw where raw.{key}::text = old.record_id)
)"""
