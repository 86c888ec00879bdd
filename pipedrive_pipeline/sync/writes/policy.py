"""What may be written: what the system supports, and what the tenant allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.writing import Operation, Verb, WriteSpec
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import ALL_MARTS, entities_read_of
from pipedrive_pipeline.sync.writes.errors import NotRead, NotSupported, WritingForbidden


def operations(system: str) -> Mapping[Operation, WriteSpec]:
    """What can be written in a system; empty where nothing can."""
    return registry.system(system).writes


def spec_of(system: str, mart: str, verb: Verb) -> WriteSpec:
    """The declaration of an operation.

    Raises:
        NotSupported: the system has no such operation.
    """
    spec = operations(system).get(Operation(mart, verb))
    if spec is None:
        known = [each.verb for each in operations(system) if each.mart == mart]
        there = f"there are {', '.join(known)}" if known else "they can only be read"
        label = registry.system(system).label
        raise NotSupported(f"{label}: these records have no operation {verb}; {there}.")
    return spec


def allowed_marts(connection: psycopg.Connection, scope: Scope) -> frozenset[str]:
    """The marts whose records the tenant lets be written, of those that the system can write."""
    row = connection.execute(_ALLOWED, [scope.tenant.slug, scope.system]).fetchone()
    named = set(row[0]) if row else set()
    writable = {operation.mart for operation in operations(scope.system)}
    return frozenset(writable if ALL_MARTS in named else writable & named)


def require_allowed(
    connection: psycopg.Connection, scope: Scope, mart: str, spec: WriteSpec
) -> None:
    """Returns if the tenant allows these records to be written, and reads them.

    Raises:
        WritingForbidden: it does not, which is the default.
        NotRead: a write could not be seen in the tables.
    """
    tenant = scope.tenant.slug
    if mart not in allowed_marts(connection, scope):
        raise WritingForbidden(
            f"{tenant} does not allow writing {mart}. An admin of the tenant allows it: setting "
            f"writes_allowed, such as `settings set --tenant {tenant} writes_allowed={mart}`."
        )
    if spec.entity not in entities_read_of(connection, scope):
        raise NotRead(
            f"{tenant} does not sync {spec.entity}, so that a write could not be seen in its "
            "tables. Switch them on in the sync settings first."
        )


_ALLOWED: Final = """
select sync_settings.writes_allowed
from integration.sync_settings
where sync_settings.tenant_id = %s
    and sync_settings.system = %s
"""
