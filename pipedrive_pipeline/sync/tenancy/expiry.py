"""Erases records that were deleted at the source `erase_deleted_after_days` ago, in each run.

An erased record that somebody restores at the source is read again. Records that are merely
invisible stay: otherwise a right that was withdrawn by mistake would erase them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.ingest.erasure import RawErasure
from pipedrive_pipeline.marts.erasure import ErasureRefused, needed_for_links
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.record_erasure import erase_with_children, sources_of
from pipedrive_pipeline.warehouse.database import Contended, Warehouse

RECORDS_PER_RUN = 1_000  # of each entity; the next run erases further ones

log = logging.getLogger(__name__)


def erase_expired(warehouse: Warehouse, scope: Scope) -> Counter[str]:
    """Returns the number of erased records by entity; empty if the tenant keeps them.

    Also if an app has some of their rows locked: the marts are built, and the next run erases them.
    """
    try:
        return _erased(warehouse, scope)
    except Contended as error:
        log.warning("%s: records that are due to be erased wait for the next run: %s", scope, error)
        return Counter()


def _erased(warehouse: Warehouse, scope: Scope) -> Counter[str]:
    erased: Counter[str] = Counter()
    with warehouse.transaction(tenant=scope.tenant) as connection:
        days = _days(connection, scope)
        if days is None:
            return erased
        for entity in registry.system(scope.system).entities:
            erased[entity.name] += _erase_aged(connection, scope, entity, days)
        counts = {name: count for name, count in erased.items() if count}
        if counts:
            connection.execute(
                "insert into integration.audit_log (who, tenant_id, action, subject, after)"
                " values ('the engine', %s, 'records.erase_deleted', %s, %s)",
                [scope.tenant.slug, scope.system, Jsonb({**counts, "after_days": days})],
            )
    return erased


def _days(connection: psycopg.Connection, scope: Scope) -> int | None:
    row = connection.execute(
        "select erase_deleted_after_days from integration.sync_settings"
        " where tenant_id = %s and system = %s",
        [scope.tenant.slug, scope.system],
    ).fetchone()
    return row[0] if row else None


def _erase_aged(connection: psycopg.Connection, scope: Scope, entity: Entity, days: int) -> int:
    raw = RawErasure(connection, scope)
    keys = raw.aged(entity, days, RECORDS_PER_RUN)
    if not keys:
        return 0
    for source in sources_of(scope.system, entity):
        needed = needed_for_links(connection, scope, source.mart, keys)
        keys = [key for key in keys if key not in needed]
    return _let_go(connection, scope, entity, keys)


def _let_go(
    connection: psycopg.Connection, scope: Scope, entity: Entity, keys: Sequence[str]
) -> int:
    """Returns how many records could be erased: all at once, otherwise one by one."""
    try:
        with connection.transaction():
            erase_with_children(connection, scope, entity, keys, with_unidentified=False)
    except ErasureRefused as refused:
        if len(keys) == 1:
            log.warning("%s", refused)
            return 0
        return sum(_let_go(connection, scope, entity, [key]) for key in keys)
    return len(keys)
