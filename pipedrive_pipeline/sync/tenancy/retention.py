"""Deletes rows of the control tables older than `HISTORY_KEPT_DAYS`, one batch per tenant run.

The newest row of each kind stays at any age: it says when a sync is due, what a full read costs and
how old the last sweep is. The audit log is never shortened.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import tables_of
from pipedrive_pipeline.warehouse.database import Warehouse

ROWS_PER_RUN: Final = 1_000  # per table; the next run deletes further ones
STALE_CONSENT: Final = "interval '1 day'"  # a consent can be used for ten minutes only

log = logging.getLogger(__name__)


def delete_old_history(
    warehouse: Warehouse,
    scope: Scope,
    *,
    kept_days: int,
    batch_rows: int = ROWS_PER_RUN,
) -> Counter[str]:
    """Returns the number of deleted rows by table; empty if the deletion failed this time."""
    forgotten: Counter[str] = Counter()
    parameters = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "kept_days": kept_days,
        "limit": batch_rows,
    }
    try:
        with warehouse.transaction(tenant=scope.tenant) as connection:
            forgotten.update(dict(connection.execute(_query(connection, scope), parameters)))
    except (PipelineError, psycopg.Error) as error:  # the run has ended; the next one tries again
        log.warning("%s: old history stays for now (%s)", scope, type(error).__name__)
        return Counter()
    return forgotten


def _query(connection: psycopg.Connection, scope: Scope) -> sql.Composed:
    """Returns one statement that deletes from every table, and yields each with its count."""
    rules = dict(_rules(connection, scope))
    deleted = [
        sql.SQL(_FORGET).format(
            name=sql.Identifier(name),
            table=sql.Identifier("integration", name),
            condition=condition,
        )
        for name, condition in rules.items()
    ]
    counted = [
        sql.SQL("select {}, count(*) from {}").format(sql.Literal(name), sql.Identifier(name))
        for name in rules
    ]
    return sql.SQL("with {} {}").format(
        sql.SQL(", ").join(deleted), sql.SQL(" union all ").join(counted)
    )


def _rules(connection: psycopg.Connection, scope: Scope) -> Iterator[tuple[str, sql.Composable]]:
    for table, condition in _CONDITIONS.items():
        yield table, sql.SQL(condition)
    is_gone = sql.SQL(" and ").join(_not_in(connection, scope))
    yield "rejected_values", sql.SQL(_REJECTED).format(is_gone=is_gone)


def _not_in(connection: psycopg.Connection, scope: Scope) -> Iterator[sql.Composable]:
    """Returns a condition for each entity: the value's record is no longer in raw."""
    tables = tables_of(connection, scope.raw_schema)
    for entity in registry.system(scope.system).entities:
        if entity.name in tables:
            yield sql.SQL(_NOT_IN_RAW).format(
                entity=sql.Literal(entity.name),
                raw=sql.Identifier(scope.raw_schema, entity.name),
                key=sql.Identifier(entity.key.name),
            )
    yield sql.SQL("true")


# Rows that another session has locked are left to the next run.
_FORGET = """{name} as (
    delete from {table}
    where ctid = any(
        array(
            select old.ctid
            from {table} as old
            where old.tenant_id = %(tenant)s
                and old.system = %(system)s
                and ({condition})
            limit %(limit)s
            for update skip locked
        )
    )
    returning 1
)"""

_CONDITIONS: Final = {
    "sync_requests": "old.settled_at < now() - make_interval(days => %(kept_days)s)",
    "runs": """
        old.completed_at < now() - make_interval(days => %(kept_days)s)
        and exists (
            select
            from integration.runs as newer
            where newer.tenant_id = old.tenant_id
                and newer.system = old.system
                and newer.sync_type = old.sync_type
                and newer.status = old.status
                and (newer.started_at, newer.id) > (old.started_at, old.id)
        )
    """,
    "api_usage": "old.used_on < (now() - make_interval(days => %(kept_days)s))::date",
    "alerts": "old.healed_at < now() - make_interval(days => %(kept_days)s)",
    "webhook_events": "old.received_at < now() - interval '7 days'",  # serving deletes most before
    # A body that nobody came back for may hold a person's data.
    "outbox": """
        old.settled_at < now() - interval '7 days'
        or (
            old.state = 'intended'
            and not old.is_async
            and old.created_at < now() - interval '1 day'
        )
    """,
    "connect_links": f"old.expires_at < now() - {STALE_CONSENT}",
    "oauth_states": f"old.expires_at < now() - {STALE_CONSENT}",
    "pending_grants": f"old.expires_at < now() - {STALE_CONSENT}",
}

# A rejected value stays listed while its record exists, because the analysts' views show null
# for it.
_REJECTED = """
    old.last_seen_at < now() - make_interval(days => %(kept_days)s)
    and {is_gone}
"""

_NOT_IN_RAW = """(
    old.entity <> {entity}
    or not exists (select from {raw} as raw where raw.{key}::text = old.record_id)
)"""
