"""Reads how fresh and how complete each entity of one tenant is, for users of that tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final


@dataclass(frozen=True)
class EntityOverview:
    """One entity: its current rows, and the results of its newest reads."""

    name: str
    rows: int
    watermark: datetime | None
    missing: int | None
    checked_at: datetime | None


# Organizations and persons of one tenant and system, in this order.
ENTITIES: Final = """
select
    entity.name,
    entity.rows,
    newest_walk.watermark,
    newest_comparison.missing,
    newest_comparison.checked_at
from (
    select
        'organizations' as name,
        count(*) as rows
    from crm.customers
    where customers.tenant_id = %(tenant)s
        and customers.pipedrive_id is not null
        and customers.deleted_at is null
    union all
    select
        'persons' as name,
        count(*) as rows
    from crm.contacts
    where contacts.tenant_id = %(tenant)s
        and contacts.pipedrive_id is not null
        and contacts.deleted_at is null
) as entity
left join lateral (
    select (sync_logs.watermarks -> entity.name ->> 'after')::timestamptz as watermark
    from integration.sync_logs
    where sync_logs.tenant_id = %(tenant)s
        and sync_logs.system = %(system)s
        and sync_logs.watermarks -> entity.name ->> 'after' is not null
    order by
        sync_logs.started_at desc,
        sync_logs.id desc
    limit 1
) as newest_walk on true
left join lateral (
    select
        (sync_logs.completeness -> entity.name ->> 'missing')::bigint as missing,
        (sync_logs.completeness -> entity.name ->> 'checked_at')::timestamptz as checked_at
    from integration.sync_logs
    where sync_logs.tenant_id = %(tenant)s
        and sync_logs.system = %(system)s
        and sync_logs.completeness -> entity.name ->> 'missing' is not null
    order by
        sync_logs.started_at desc,
        sync_logs.id desc
    limit 1
) as newest_comparison on true
order by entity.name asc
"""
