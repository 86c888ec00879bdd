"""A tenant moves to another company's account: what becomes of the former one's rows.

Belongs here: the one statement of each table that this takes. Does not belong here: asking whether
it is meant (`routes.py`, the command line), and reading the new company (the sync does).

The former company's customers and contacts stay, marked, under their own id, with the former
Pipedrive id kept beside: rows of an app that point to them keep pointing. Raw, watermarks,
catalogue and mapping start afresh, since every id and field key in them is another company's.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import Busy
from pipedrive_pipeline.tenants import Tenant

MARK = """
    update {}
    set deleted_at = coalesce(deleted_at, now()),
        deletion_reason = 'company_changed',
        former_pipedrive_id = pipedrive_id,
        pipedrive_id = null,
        merged_into = null,
        updated_at = now()
    where tenant_id = %s and pipedrive_id is not null
"""
MARTS = (sql.Identifier("crm", "customers"), sql.Identifier("crm", "contacts"))
FORGET = (
    "delete from integration.rejected_values where tenant_id = %s and system = %s",
    # An erased record's id is another record's in the other company.
    "delete from integration.erased_records where tenant_id = %s and system = %s",
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
)


def start_afresh(transaction: psycopg.Connection, tenant: Tenant, system: str) -> None:
    """Mark the former company's rows and forget what was read of it, in this transaction.

    Raises:
        Busy: a sync of this tenant runs; it would write the former company's rows again.
    """
    row = transaction.execute("select pg_try_advisory_xact_lock(%s)", (tenant.lock_key,)).fetchone()
    if row is None or not row[0]:
        raise Busy(tenant.slug)
    for mart in MARTS:
        transaction.execute(sql.SQL(MARK).format(mart), (tenant.slug,))
    for schema in (tenant.raw_schema(system), tenant.staging_schema(system)):
        drop = sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema))
        transaction.execute(drop)
    for statement in FORGET:
        transaction.execute(statement, (tenant.slug, system))
