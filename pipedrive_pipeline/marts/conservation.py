"""Whether the views show every value that raw has: non-null there = shown here + rejected.

Belongs here: the comparison, from the views themselves and not from the rules that made them. Does
not belong here: those rules (`checking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.columns import OVERFLOW_COLUMN, ViewColumn, held_columns
from pipedrive_pipeline.marts.remaking import tables_of
from pipedrive_pipeline.marts.targets import TARGETS, Target
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

NEWEST: Final = 5_000  # records a mart, those that were written last


@dataclass(frozen=True)
class Conservation:
    """Values that are not null in raw: how many the views show, and which are nowhere."""

    seen: int
    lost: tuple[tuple[str, int, str], ...]  # entity, id, field key; the first hundred


def conservation(
    warehouse: Warehouse, tenant: Tenant, system: str, *, newest: int = NEWEST
) -> Conservation:
    """Compare the newest rows of the tenant's views with raw.

    Args:
        warehouse: where both lie.
        tenant: whose.
        system: of which CRM.
        newest: how many rows of each mart, from the one that was written last.
    """
    seen = 0
    lost: list[tuple[str, int, str]] = []
    with warehouse.transaction(tenant) as connection:
        tables = tables_of(connection, tenant.raw_schema(system))
        for target in TARGETS:
            if target.entity in tables:
                facts = {"entity": target.entity, "newest": newest}
                facts |= {"tenant": tenant.slug, "system": system}
                query = _query(connection, tenant, system, target)
                count, offenders = connection.execute(query, facts).fetchone() or (0, None)
                seen += count
                lost += [(target.entity, one["id"], one["field"]) for one in offenders or []]
    return Conservation(seen, tuple(lost))


def _query(
    connection: psycopg.Connection, tenant: Tenant, system: str, target: Target
) -> sql.Composed:
    columns = held_columns(connection, tenant, system, target.name)
    shown = [
        _shown_key(key, list(rows)) for key, rows in groupby(columns, lambda one: one.field_key)
    ]
    return sql.SQL(_LOST).format(
        shown=sql.SQL("array[{}]::text[]").format(sql.SQL(", ").join(shown)),
        view=sql.Identifier(tenant.analytics_schema, f"{target.name}_all"),
        records=sql.Identifier(tenant.raw_schema(system), target.entity),
    )


def _shown_key(key: str, columns: list[ViewColumn]) -> sql.Composed:
    """The field's key where any of its columns holds something."""
    if columns[0].is_overflow:
        name = sql.Literal(columns[0].column_name)
        is_shown = sql.SQL("view.{} ? {}").format(sql.Identifier(OVERFLOW_COLUMN), name)
    else:
        names = sql.SQL(", ").join(sql.Identifier("view", one.column_name) for one in columns)
        is_shown = sql.SQL("num_nonnulls({}) > 0").format(names)
    return sql.SQL("case when {} then {} end").format(is_shown, sql.Literal(key))


_LOST = """
with compared as (
    select
        view.pipedrive_id,
        entry.key as field_key,
        entry.key = any (view.shown) or exists (
            select
            from integration.rejected_values
            where rejected_values.tenant_id = %(tenant)s
                and rejected_values.system = %(system)s
                and rejected_values.entity = %(entity)s
                and rejected_values.record_id = view.pipedrive_id::text
                and rejected_values.field = entry.key
        ) as is_kept
    from (
        select
            view.pipedrive_id,
            {shown} as shown
        from {view} as view
        -- Chosen first: columns of custom fields are dear, and were worked out for every row.
        where view.pipedrive_id = any (array(
            select newest.pipedrive_id
            from {view} as newest
            where newest.pipedrive_id is not null
            order by
                newest.pipedrive_synced_at desc,
                newest.pipedrive_id desc
            limit %(newest)s
        ))
    ) as view
    inner join {records} as record
        on record.id = view.pipedrive_id
    cross join lateral jsonb_each(
        case when jsonb_typeof(record.custom_fields) = 'object' then record.custom_fields end
    ) as entry (key, value)
    where jsonb_strip_nulls(entry.value) not in ('null', '{{}}')
)
select
    count(*),
    (
        select jsonb_agg(jsonb_build_object('id', lost.pipedrive_id, 'field', lost.field_key))
        from (
            select
                compared.pipedrive_id,
                compared.field_key
            from compared
            where compared.is_kept is not true
            order by
                compared.pipedrive_id asc,
                compared.field_key asc
            limit 100
        ) as lost
    )
from compared
"""
