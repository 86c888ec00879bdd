"""The active mapping in a build.

Belongs here: which of its entries count now. Does not belong here: their SQL (`expressions.py`).
"""

from __future__ import annotations

import psycopg

from pipedrive_pipeline.marts.catalogue import Field
from pipedrive_pipeline.marts.mapping.checking import checked
from pipedrive_pipeline.marts.mapping.expressions import mapped_target, sources_of
from pipedrive_pipeline.marts.mapping.form import BadMapping, Mapping
from pipedrive_pipeline.marts.mapping.store import active
from pipedrive_pipeline.marts.targets import Target
from pipedrive_pipeline.tenants import Tenant


def mapped(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    fields: list[Field],
    targets: tuple[Target, ...],
) -> tuple[Target, ...]:
    """The targets with what the tenant's active mapping fills."""
    mapping = working(tenant, active(connection, tenant, system).mapping, fields)
    if not mapping.entries:
        return targets
    sources = sources_of(connection, tenant, system, mapping, fields)
    return tuple(mapped_target(target, sources) for target in targets)


def working(tenant: Tenant, mapping: Mapping, fields: list[Field]) -> Mapping:
    """The entries that can be used with the fields as they are now.

    A field that was retyped may no longer fit its target, another company has other fields: such an
    entry rests, and its target keeps its values, until somebody looks (`mapping show` names it).
    """
    kept = mapping
    try:
        return checked(tenant, kept.written(), fields)
    except BadMapping as refused:
        resting = {one.field for one in refused.issues}
        kept = Mapping(tuple(one for one in mapping.entries if one.name not in resting))
    return kept
