"""Writes rows of `integration.audit_log`, each in its change's transaction, and lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.tenants import Tenant


@dataclass(frozen=True)
class AuditEntry:
    """One change: who did what to what, and the values before and after, without secrets."""

    id: int
    at: datetime
    who: str
    tenant_id: str | None
    action: str
    subject: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def of_tenant(
    connection: psycopg.Connection, tenant: Tenant, *, before: int | None = None, limit: int
) -> list[AuditEntry]:
    """The tenant's entries, newest first.

    Args:
        connection: as the app.
        tenant: whose entries.
        before: number of the last entry of the page before.
        limit: at most as many.
    """
    values = {"tenant": tenant.slug, "before": before, "limit": limit}
    return connection.cursor(row_factory=class_row(AuditEntry)).execute(_LISTED, values).fetchall()


def newest(
    connection: psycopg.Connection, *, tenant: str | None = None, limit: int
) -> list[AuditEntry]:
    """The newest entries, newest first.

    Args:
        connection: as the engine.
        tenant: slug; its entries stay when it is removed. None: of all tenants.
        limit: at most as many.
    """
    values = {"tenant": tenant, "limit": limit}
    return connection.cursor(row_factory=class_row(AuditEntry)).execute(_NEWEST, values).fetchall()


def note(
    connection: psycopg.Connection,
    tenant: Tenant,
    *,
    who: str,
    action: str,
    subject: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Writes an audit entry, committed with the change of the caller's transaction or not.

    Args:
        connection: the transaction of the change.
        tenant: whom it concerns.
        who: a key's name, the operator, the command line.
        action: a stable word, such as `key.add`.
        subject: what it was done to.
        before: the values before, without secrets.
        after: the values after, without secrets.
    """
    connection.execute(
        """
        insert into integration.audit_log (who, tenant_id, action, subject, before, after)
        values (%s, %s, %s, %s, %s, %s)
        """,
        [who, tenant.slug, action, subject, before and Jsonb(before), after and Jsonb(after)],
    )


_ENTRIES = """
select
    audit_log.id,
    audit_log.at,
    audit_log.who,
    audit_log.tenant_id,
    audit_log.action,
    audit_log.subject,
    audit_log.before,
    audit_log.after
from integration.audit_log
"""
_LISTED = f"""
{_ENTRIES}
where audit_log.tenant_id = %(tenant)s
    and (
        %(before)s::bigint is null
        or (audit_log.at, audit_log.id) < (
            select last.at, last.id
            from integration.audit_log as last
            where last.tenant_id = %(tenant)s
                and last.id = %(before)s::bigint
        )
    )
order by audit_log.at desc, audit_log.id desc
limit %(limit)s::integer
"""

_NEWEST = f"""
{_ENTRIES}
where %(tenant)s::text is null
    or audit_log.tenant_id = %(tenant)s
order by audit_log.at desc, audit_log.id desc
limit %(limit)s::integer
"""
