"""An app's own keys of records: `integration.links`."""

from __future__ import annotations

import psycopg

from pipedrive_pipeline.scope import Scope


def linked(connection: psycopg.Connection, scope: Scope, mart: str, key: str) -> str | None:
    """The id in the CRM of the record with this key of the app's; None if it has none."""
    values = [scope.tenant.slug, scope.system, mart, key]
    row = connection.execute(_LINKED, values).fetchone()
    return row[0] if row else None


def link(
    connection: psycopg.Connection, scope: Scope, mart: str, key: str, remote_id: str, *, who: str
) -> None:
    """Remembers that a key of the app's names this record."""
    connection.execute(_LINK, [scope.tenant.slug, scope.system, mart, key, remote_id, who])


_LINKED = """
select links.remote_id
from integration.links
where links.tenant_id = %s
    and links.system = %s
    and links.mart = %s
    and links.external_key = %s
"""
_LINK = """
insert into integration.links (tenant_id, system, mart, external_key, remote_id, linked_by)
values (%s, %s, %s, %s, %s, %s)
on conflict (tenant_id, system, mart, external_key) do update
set remote_id = excluded.remote_id,
    linked_at = excluded.linked_at,
    linked_by = excluded.linked_by
"""
