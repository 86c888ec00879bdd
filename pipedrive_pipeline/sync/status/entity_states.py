"""Reads `integration.entity_status`: the state of each entity of a tenant and system."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.tenants import Tenant

UNREMARKABLE = frozenset({"complete", "off"})  # states that need nobody's attention


@dataclass(frozen=True)
class EntityState:
    """One row of the view; its columns' comments say what each value is."""

    tenant_id: str
    system: str
    entity: str
    state: str
    code: str | None
    reason: str | None
    last_read_at: datetime | None
    as_of: datetime | None
    missing: int | None
    checked_at: datetime | None
    last_sweep_at: datetime | None
    mart: str | None
    rows: int | None
    extra: int | None

    @property
    def listed(self) -> int | None:
        """Returns how many records the source listed when it was last compared; None if unknown."""
        if self.rows is None or self.missing is None:
            return None
        return self.rows + self.missing - (self.extra or 0)

    def facts(self) -> dict[str, Any]:
        """Returns the values for JSON, without those that name the row."""
        named = {"tenant_id", "system", "entity"}
        return {name: value for name, value in asdict(self).items() if name not in named}


@dataclass(frozen=True)
class SourceComparison:
    """The last comparison of an entity's raw table with everything that the source listed."""

    missing: int
    extra: int
    stale: int
    compared_at: datetime | None


def last_comparisons(
    connection: psycopg.Connection, tenant: Tenant, system: str
) -> dict[str, SourceComparison]:
    """Returns the last comparison of each entity that had one, by name."""
    rows = connection.execute(_COMPARISONS, [tenant.slug, system]).fetchall()
    return {entity: SourceComparison(*values) for entity, *values in rows}


def entity_states(
    connection: psycopg.Connection, tenant: Tenant | None = None, system: str | None = None
) -> list[EntityState]:
    """Returns the entities that were ever read, by tenant, system and name."""
    parameters = {"tenant": tenant and tenant.slug, "system": system}
    cursor = connection.cursor(row_factory=class_row(EntityState))
    return cursor.execute(_STATES, parameters).fetchall()


_STATES = """
select
    entity_status.tenant_id,
    entity_status.system,
    entity_status.entity,
    entity_status.state,
    entity_status.code,
    entity_status.reason,
    entity_status.last_read_at,
    entity_status.as_of,
    entity_status.missing,
    entity_status.checked_at,
    entity_status.last_sweep_at,
    entity_status.mart,
    entity_status.rows,
    entity_status.extra
from integration.entity_status
where (%(tenant)s::text is null or entity_status.tenant_id = %(tenant)s)
    and (%(system)s::text is null or entity_status.system = %(system)s)
order by
    entity_status.tenant_id asc,
    entity_status.system asc,
    entity_status.entity asc
"""
_COMPARISONS = """
select
    entity_status.entity,
    entity_status.missing,
    coalesce(entity_status.extra, 0),
    coalesce(entity_status.stale, 0),
    entity_status.checked_at
from integration.entity_status
where entity_status.tenant_id = %s
    and entity_status.system = %s
    and entity_status.missing is not null
"""
