"""Writes one row of `integration.audit_log`, in the transaction of the change that it records."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.tenants import Tenant


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
