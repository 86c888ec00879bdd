"""Changes of the source's fields, as people read them: new, renamed, retyped, gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope

CHANGES_MAX: Final = 50


@dataclass(frozen=True)
class FieldChange:
    """One change of a field or of one of its options."""

    entity: str
    field_key: str
    field_name: str
    change: str  # as in integration.field_changes
    before: str | None
    after: str | None
    seen_at: datetime


def field_changes(
    connection: psycopg.Connection, scope: Scope, since: datetime, *, limit: int = CHANGES_MAX
) -> list[FieldChange]:
    """Returns the changes that were seen after an instant, newest first.

    Fields that were there when an entity's fields were first read are no changes.
    """
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "since": since,
        "limit": limit,
    }
    cursor = connection.cursor(row_factory=class_row(FieldChange))
    return cursor.execute(_CHANGES, values).fetchall()


_CHANGES = """
with first_looks as (
    select
        fields.entity,
        min(fields.first_seen_at) as at
    from integration.fields
    where fields.tenant_id = %(tenant)s
        and fields.system = %(system)s
    group by fields.entity
)
select
    field_changes.entity,
    field_changes.field_key,
    coalesce(fields.field_name, field_changes.field_key) as field_name,
    field_changes.change,
    field_changes.before,
    field_changes.after,
    field_changes.seen_at
from integration.field_changes
left join integration.fields
    on fields.tenant_id = field_changes.tenant_id
    and fields.system = field_changes.system
    and fields.entity = field_changes.entity
    and fields.field_key = field_changes.field_key
left join first_looks
    on first_looks.entity = field_changes.entity
where field_changes.tenant_id = %(tenant)s
    and field_changes.system = %(system)s
    and field_changes.seen_at > %(since)s
    and field_changes.seen_at > first_looks.at
order by field_changes.id desc
limit %(limit)s
"""
