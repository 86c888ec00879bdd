"""The sources of a build, with the columns that the tenant's active mapping fills.

An entry is not used while its field is removed, has a type that no longer fits, belongs to another
account, or is a custom field that the tenant does not want. Its target then keeps its values, and
`mapping show` names the entry.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg

from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted
from pipedrive_pipeline.marts.mapping.expressions import mapped_source, sources_of
from pipedrive_pipeline.marts.mapping.form import BadMapping, Mapping
from pipedrive_pipeline.marts.mapping.store import active
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.scope import Scope


def mapped_sources(
    connection: psycopg.Connection,
    scope: Scope,
    fields: list[Field],
    marts: tuple[MartSource, ...],
) -> tuple[MartSource, ...]:
    """Returns the marts' sources with the columns that the tenant's active mapping fills."""
    mapping = active(connection, scope).mapping
    if not mapping.entries:
        return marts
    sources = sources_of(connection, scope, mapping, fields)
    unused = set(unusable_entries(scope, mapping, fields))
    if not are_custom_fields_wanted(connection, scope):
        unused |= {
            entry.name
            for entry in mapping.entries
            if (field := sources.fields.get((entry.entity, entry.field_key))) and field.is_custom
        }
    sources = replace(sources, unused=frozenset(unused))
    return tuple(mapped_source(mart, sources) for mart in marts)


def unusable_entries(scope: Scope, mapping: Mapping, fields: list[Field]) -> dict[str, str]:
    """Returns the entries that cannot be used with the current fields: reason by name."""
    live = {field.identity for field in fields if field.removed_at is None}
    reasons = {}
    try:
        validated(scope, mapping.written(), fields)
    except BadMapping as refused:
        reasons = {issue.field: issue.issue for issue in refused.issues}
    gone = [entry.name for entry in mapping.entries if (entry.entity, entry.field_key) not in live]
    return reasons | dict.fromkeys(gone, "this field is gone")
