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
from pipedrive_pipeline.ingest.rejections import forget_rejected
from pipedrive_pipeline.marts.erasure import ErasureRefused, erase_rows, needed_for_links
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

RECORDS_PER_RUN = 1_000  # of each entity; the next run erases further ones

log = logging.getLogger(__name__)


def erase_expired(warehouse: Warehouse, scope: Scope) -> Counter[str]:
    """Returns the number of erased records by entity; empty if the tenant keeps them."""
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
    for source in mart_sources(scope.system):
        if source.entity == entity.name:
            needed = needed_for_links(connection, scope, source.mart, keys)
            keys = [key for key in keys if key not in needed]
            keys = _let_go(connection, scope, source, keys)
    raw.erase(entity, keys)
    forget_rejected(connection, scope, entity, keys, with_unidentified=False)
    return len(keys)


def _let_go(
    connection: psycopg.Connection, scope: Scope, source: MartSource, keys: Sequence[str]
) -> list[str]:
    """Returns the records whose rows could be deleted: all at once, otherwise one by one."""
    try:
        erase_rows(connection, scope, source, keys)
    except ErasureRefused:
        return _one_by_one(connection, scope, source, keys)
    return list(keys)


def _one_by_one(
    connection: psycopg.Connection, scope: Scope, source: MartSource, keys: Sequence[str]
) -> list[str]:
    gone: list[str] = []
    for key in keys:
        try:
            erase_rows(connection, scope, source, [key])
        except ErasureRefused as refused:
            log.warning("%s", refused)
        else:
            gone.append(key)
    return gone
