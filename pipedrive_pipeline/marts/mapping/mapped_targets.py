"""The active mapping in a build.

Belongs here: which of its entries count now. Does not belong here: their SQL (`expressions.py`).

An entry that cannot be used rests, and its target keeps its values, until somebody looks (`mapping
show` names it): its field is gone, was retyped and no longer fits, belongs to another company; or
the tenant does not want its custom fields for now.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg

from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted
from pipedrive_pipeline.marts.mapping.expressions import mapped_target, sources_of
from pipedrive_pipeline.marts.mapping.form import BadMapping, Mapping
from pipedrive_pipeline.marts.mapping.store import active
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.marts.targets import Target
from pipedrive_pipeline.tenants import Tenant


def mapped_targets(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    fields: list[Field],
    targets: tuple[Target, ...],
) -> tuple[Target, ...]:
    """The targets with what the tenant's active mapping fills."""
    mapping = active(connection, tenant, system).mapping
    if not mapping.entries:
        return targets
    sources = sources_of(connection, tenant, system, mapping, fields)
    unused = set(unusable_entries(tenant, mapping, fields))
    if not are_custom_fields_wanted(connection, tenant, system):
        unused |= {
            one.name
            for one in mapping.entries
            if (field := sources.fields.get((one.entity, one.field_key))) and field.is_custom
        }
    sources = replace(sources, unused=frozenset(unused))
    return tuple(mapped_target(target, sources) for target in targets)


def unusable_entries(tenant: Tenant, mapping: Mapping, fields: list[Field]) -> dict[str, str]:
    """Entries that cannot be used with the fields as they are now: the reason by name."""
    live = {one.identity for one in fields if one.removed_at is None}
    reasons = {}
    try:
        validated(tenant, mapping.written(), fields)
    except BadMapping as refused:
        reasons = {one.field: one.issue for one in refused.issues}
    gone = [one.name for one in mapping.entries if (one.entity, one.field_key) not in live]
    return reasons | dict.fromkeys(gone, "this field is gone")
