"""The rows of a tenant that changes to another company's account.

The former company's customers and contacts stay under their own id, marked as deleted, with the
former Pipedrive id in a column of its own: rows of an app that point to them stay valid. Raw
tables, watermarks, catalogue and mapping are reset, because their ids and field keys belong to the
former company.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts import events
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import lock_for_change

MARK = """
    update {}
    set deleted_at = coalesce(deleted_at, now()),
        deletion_reason = 'company_changed',
        former_remote_id = remote_id,
        remote_id = null,
        merged_into_remote_id = null,
        updated_at = now()
    where tenant_id = %s and system = %s and remote_id is not null
"""
FORGET = (
    "delete from integration.rejected_values where tenant_id = %s and system = %s",
    "delete from integration.held_deletions where tenant_id = %s and system = %s",
    # An erased record's id is another record's in the other company.
    "delete from integration.erased_records where tenant_id = %s and system = %s",
    # A deletion in the former company would mark a record of the new one.
    "delete from integration.webhook_events where tenant_id = %s and system = %s",
    "delete from integration.signals where tenant_id = %s and system = %s",
    "delete from integration.links where tenant_id = %s and system = %s",
    # The former company's webhook opens nothing any more; the new one gets its own.
    "delete from integration.webhooks where tenant_id = %s and system = %s",
    """
    update integration.field_mappings
    set is_active = false
    where tenant_id = %s and system = %s
    """,
    """
    update integration.mart_state
    set pending_loads = '{}', is_rebuild_due = true
    where tenant_id = %s and system = %s
    """,
    # The tenant's views read raw and are dropped with it; the sensor due_views makes them again for
    # the systems that stay.
    """
    update integration.mart_state
    set views_due_at = coalesce(views_due_at, now())
    where tenant_id = %s and system <> %s
    """,
)


def start_afresh(transaction: psycopg.Connection, scope: Scope) -> None:
    """Marks the former company's rows and deletes its raw data, in this transaction.

    A run that lost its lock and still holds the former company's rows cannot write them any more.

    Raises:
        Busy: a sync of this tenant runs; it would write the former company's rows again.
    """
    lock_for_change(transaction, scope)
    wanted = events.wanted_by_webhooks(transaction, scope.tenant)
    events.begin(transaction, wanted)
    for mart in MARTS:
        if mart.name in wanted:
            events.note_live_rows(transaction, scope.tenant, mart, scope.system)
        mark = sql.SQL(MARK).format(sql.Identifier(*mart.table))
        transaction.execute(mark, (scope.tenant.slug, scope.system))
    events.record(transaction, scope.tenant, wanted)
    for schema in (scope.raw_schema, scope.staging_schema):
        drop = sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema))
        transaction.execute(drop)
    for statement in FORGET:
        transaction.execute(statement, (scope.tenant.slug, scope.system))
