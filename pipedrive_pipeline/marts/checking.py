"""Every value of a custom field either fits its type or is listed as rejected.

Belongs here: looking at values once when they arrive or their field's type changes, and at what the
views show of them. Does not belong here: the rules (`pipeline.misfit` in
`sql/schema/0020_fields.sql`), values that raw itself could not hold (`ingest/`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.catalogue import Field
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.sql_files import mart_file

EDITION = "1"  # of the rules; a new one looks at all values again


@dataclass(frozen=True)
class ValueCounts:
    """Values that are not null in the source: looked at, of which some do not fit their type."""

    seen: int = 0
    rejected: int = 0

    @property
    def kept(self) -> int:
        """How many fit."""
        return self.seen - self.rejected

    def __add__(self, other: ValueCounts) -> ValueCounts:
        return ValueCounts(self.seen + other.seen, self.rejected + other.rejected)


def types_of(fields: Iterable[Field]) -> str:
    """A fingerprint that changes with the type of any custom field."""
    types = sorted((*one.identity, one.field_type) for one in fields if one.is_custom)
    return hashlib.sha256(repr((EDITION, types)).encode()).hexdigest()


def check_values(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    entity: str,
    among: sql.Composable,
) -> ValueCounts:
    """List the values that do not fit, once each, and strike off those that do by now.

    Args:
        connection: the build's own, with the tenant's raw schema first on its search_path.
        tenant: whose values.
        system: of which CRM.
        entity: of which records.
        among: a condition on ``pipedrive_id`` that the records to look at meet.
    """
    query = sql.SQL(_CHECK).format(values=mart_file(f"{entity}_values").query, among=among)
    whose = {"tenant": tenant.slug, "system": system, "entity": entity}
    row = connection.execute(query, whose).fetchone()
    connection.execute(sql.SQL(_STRIKE).format(among=among), whose)
    return ValueCounts(*row) if row else ValueCounts()


_CHECK = """
with checked as materialized (
    select
        record_values.pipedrive_id,
        record_values.value_count,
        record_values.misfits
    from ({values}) as record_values
    where record_values.{among}
),
misfits as (
    select
        checked.pipedrive_id::text as record_id,
        misfit.item ->> 'field' as field,
        misfit.item ->> 'value' as value,
        misfit.item ->> 'reason' as reason
    from checked
    cross join lateral jsonb_array_elements(checked.misfits) as misfit (item)
),
listed as (
    insert into integration.rejected_values
        (tenant_id, system, entity, record_id, field, value, reason)
    select %(tenant)s, %(system)s, %(entity)s, record_id, field, value, reason
    from misfits
    on conflict (tenant_id, system, entity, record_id, field) do update
    set value = excluded.value, reason = excluded.reason, last_seen_at = now()
)
select
    coalesce(sum(checked.value_count), 0)::bigint,
    coalesce(sum(jsonb_array_length(checked.misfits)), 0)::bigint
from checked
"""
# What was listed in this transaction has its time; the rest of these records' custom fields fits.
_STRIKE = """
delete from integration.rejected_values
using integration.fields
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = %(entity)s
    and rejected_values.last_seen_at < now()
    and fields.tenant_id = rejected_values.tenant_id
    and fields.system = rejected_values.system
    and fields.entity = rejected_values.entity
    and fields.field_key = rejected_values.field
    and fields.is_custom
    and exists (
        select
        from (
            select rejected_values.record_id::bigint as pipedrive_id
            where rejected_values.record_id ~ '^[0-9]{{1,18}}$'
        ) as record
        where record.{among}
    )
"""
