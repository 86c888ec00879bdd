"""What people see and decide of writes: the newest, conflicts, and those of erased records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.entries import COLUMNS, State, WriteEntry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log

Decision = Literal["overwrite", "discard"]


def newest(
    connection: psycopg.Connection,
    tenant: Tenant,
    state: State | None,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    requested_by: str | None = None,
) -> list[WriteEntry]:
    """The tenant's writes, the newest first.

    Args:
        connection: in a transaction.
        tenant: whose writes.
        state: of these writes; None: every state.
        limit: at most as many.
        before: time and id of the last one of the page before; None: the first page.
        requested_by: of this caller; None: everybody's.
    """
    values = {
        "tenant": tenant.slug,
        "state": state,
        "at": before and before[0],
        "id": before and before[1],
        "limit": limit,
        "who": requested_by,
    }
    cursor = connection.cursor(row_factory=class_row(WriteEntry))
    return cursor.execute(_NEWEST.encode(), values).fetchall()


def decide(
    connection: psycopg.Connection,
    scope: Scope,
    mart: str,
    decision: Decision,
    *,
    who: str,
    entry_id: UUID | None = None,
) -> int:
    """Sends writes that met a conflict over the records as they are now, or gives them up.

    Args:
        connection: in a transaction.
        scope: whose writes.
        mart: of which records.
        decision: what a person decided.
        who: that person, for the audit log.
        entry_id: one write; None: all of the mart.

    Returns:
        How many waited for it.
    """
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "mart": mart,
        "id": entry_id,
    }
    query = _OVERWRITE if decision == "overwrite" else _DISCARD
    count = connection.execute(query.encode(), values).rowcount
    if count:
        audit_log.note(
            connection,
            scope.tenant,
            who=who,
            action=f"writes.{decision}",
            subject=f"{scope.system} {mart}",
            before={"conflicts": count},
            after={"decision": decision},
        )
    return count


def forget_writes(
    connection: psycopg.Connection, scope: Scope, mart: str, ids: Sequence[str]
) -> None:
    """Deletes the writes of erased records, and an app's own keys of them."""
    values = [scope.tenant.slug, scope.system, mart, list(ids)]
    connection.execute(_FORGET, values)
    connection.execute(_FORGET_LINKS, values)


_NEWEST: Final = f"""
select {COLUMNS}
from integration.outbox
where outbox.tenant_id = %(tenant)s
    and (%(state)s::text is null or outbox.state = %(state)s)
    and (%(who)s::text is null or outbox.requested_by = %(who)s)
    and (
        %(at)s::timestamptz is null
        or (outbox.created_at, outbox.id) < (%(at)s::timestamptz, %(id)s::uuid)
    )
order by
    outbox.created_at desc,
    outbox.id desc
limit %(limit)s
"""
_IN_CONFLICT: Final = """
where outbox.tenant_id = %(tenant)s
    and outbox.system = %(system)s
    and outbox.mart = %(mart)s
    and outbox.state = 'conflict'
    and (%(id)s::uuid is null or outbox.id = %(id)s)
"""
_OVERWRITE: Final = f"""
update integration.outbox
set state = 'intended',
    expected_version = null,
    answer = null,
    next_attempt_at = clock_timestamp()
{_IN_CONFLICT}
"""
_DISCARD: Final = f"""
update integration.outbox
set state = 'refused',
    status = 412,
    body = null,
    match = null,
    settled_at = clock_timestamp()
{_IN_CONFLICT}
"""
_FORGET: Final = """
delete from integration.outbox
where outbox.tenant_id = %s
    and outbox.system = %s
    and outbox.mart = %s
    and outbox.remote_id = any (%s)
"""
_FORGET_LINKS: Final = """
delete from integration.links
where links.tenant_id = %s
    and links.system = %s
    and links.mart = %s
    and links.remote_id = any (%s)
"""
