"""Health figures of a tenant's committed marts: contacts without a company, and lost volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.row_comparison import LastComparison, last_comparison
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.marts.views.view_ddl import tables_of
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

VOLUME_DAYS: Final = 7  # a working week and a weekend
DROP_SHARE: Final = 0.10  # as the guard of a sweep, which many small drops can pass
DROP_ROWS: Final = 50
IDS_SHOWN: Final = 10


@dataclass(frozen=True)
class Orphans:
    """Live contacts without a customer although their person has an organization."""

    count: int
    pipedrive_ids: tuple[int, ...]  # the lowest ids


@dataclass(frozen=True)
class Volume:
    """Number of live rows of one mart that came from the source, now and a week ago."""

    now: int
    before: int

    @property
    def is_dropped(self) -> bool:
        """True if more rows are gone than a week's work explains."""
        gone = self.before - self.now
        return gone > DROP_ROWS and gone > self.before * DROP_SHARE


@dataclass(frozen=True)
class MartHealth:
    """Health figures of one tenant's marts."""

    orphans: Orphans
    volumes: dict[str, Volume]  # by mart
    comparison: LastComparison


def mart_health(connection: psycopg.Connection, tenant: Tenant, system: str) -> MartHealth:
    """Returns orphans, the volume of each mart, and the result of the last comparison with raw."""
    return MartHealth(
        _orphans(connection, tenant, system),
        {mart.name: _volume(connection, tenant, mart) for mart in mart_sources(system)},
        last_comparison(connection, Scope(tenant, system)),
    )


def _orphans(connection: psycopg.Connection, tenant: Tenant, system: str) -> Orphans:
    schema = Scope(tenant, system).raw_schema
    if "persons" not in tables_of(connection, schema):
        return Orphans(0, ())
    query = sql.SQL(_ORPHANS).format(persons=sql.Identifier(schema, "persons"))
    count, ids = connection.execute(query, [IDS_SHOWN, tenant.slug]).fetchone() or (0, None)
    return Orphans(count, tuple(ids or ()))


def _volume(connection: psycopg.Connection, tenant: Tenant, mart: MartSource) -> Volume:
    query = sql.SQL(_VOLUME).format(table=mart.identifier)
    values = {"tenant": tenant.slug, "system": mart.system, "days": VOLUME_DAYS}
    row = connection.execute(query, values).fetchone()
    return Volume(*row) if row else Volume(0, 0)


_ORPHANS = """
select count(*), (array_agg(contacts.pipedrive_id order by contacts.pipedrive_id))[:%s]
from crm.contacts as contacts
inner join {persons} as persons on persons.id = contacts.pipedrive_id
where contacts.tenant_id = %s and contacts.customer_id is null and contacts.deleted_at is null
    and persons.org_id is not null
"""

_VOLUME = """
select
    count(*) filter (where deleted_at is null),
    count(*) filter (
        where created_at <= now() - make_interval(days => %(days)s)
            and (deleted_at is null or deleted_at > now() - make_interval(days => %(days)s))
    )
from {table}
where tenant_id = %(tenant)s and system = %(system)s and remote_id is not null
"""
