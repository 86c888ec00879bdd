"""Entities that a sync of changes leaves out, because they are read less often than the others."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import cycles_of
from pipedrive_pipeline.warehouse.database import Warehouse

# Of a cycle: runs begin some seconds or minutes apart from their time, and a cycle of a day must
# not become one of two.
EARLY_SHARE = 0.1


def entities_waiting(warehouse: Warehouse, scope: Scope, now: datetime) -> frozenset[str]:
    """Returns the entities whose last complete read is younger than their cycle."""
    with warehouse.transaction(scope.tenant) as connection:
        cycles = cycles_of(connection, scope)
        if not cycles:
            return frozenset()
        values = {
            "tenant": scope.tenant.slug,
            "system": scope.system,
            "entities": [*cycles],
        }
        last_reads: dict[str, datetime] = dict(connection.execute(_LAST_READS, values).fetchall())
    return frozenset(
        name
        for name, last_read_at in last_reads.items()
        if now - last_read_at < (1 - EARLY_SHARE) * timedelta(hours=cycles[name])
    )


# Since the tenant last connected: another company's records were never read.
_LAST_READS = """
select
    run_entities.entity,
    max(run_entities.started_at)
from integration.run_entities
inner join integration.connections
    on connections.tenant_id = run_entities.tenant_id
    and connections.system = run_entities.system
    and (connections.connected_at is null or connections.connected_at <= run_entities.started_at)
where run_entities.tenant_id = %(tenant)s
    and run_entities.system = %(system)s
    and run_entities.entity = any(%(entities)s)
    and run_entities.status = 'complete'
group by run_entities.entity
"""
