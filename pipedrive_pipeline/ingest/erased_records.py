"""Records that were erased here: what keeps them out of raw until they are edited at the source.

A record is known by its key and the version that was erased, and by nothing else. Any other version
is an edit: it is read by a request that was sent after the erasure, since both need the tenant's
lock. Its time stamp may well be smaller, where the source's clock went back.
"""

from __future__ import annotations

from datetime import datetime

import psycopg
import pyarrow as pa

from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse


class ErasedRecords:
    """The erased records of one tenant and system, read once.

    Every load and every erasure holds the tenant's lock, so the set cannot change in between.
    """

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._known: dict[str, dict[str, datetime | None]] | None = None

    def withhold(self, batch: Batch) -> list[str]:
        """Takes erased records out of a batch; returns the keys of those that come back.

        Those were edited since, and are erased no more once their load is committed (`let_back`).
        """
        erased = self._erased(batch.entity.name) if batch.table.num_rows else {}
        keys = batch.keys if erased else []
        if erased.keys().isdisjoint(keys):
            return []
        column = batch.entity.version_column
        versions = batch.table[column].to_pylist() if column else [None] * len(keys)
        read = {key: version for key, version in zip(keys, versions, strict=True) if key in erased}
        withheld = {key for key, version in read.items() if not is_edited(version, erased[key])}
        batch.table = batch.table.filter(pa.array([key not in withheld for key in keys]))
        batch.withheld += len(withheld)
        return sorted(read.keys() - withheld)

    def let_back(self, entity: str, keys: list[str]) -> None:
        """Forgets that these were erased: raw holds another version of them."""
        if keys:
            for key in keys:
                self._erased(entity).pop(key, None)
            with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
                connection.execute(
                    _LET_BACK, [self._scope.tenant.slug, self._scope.system, entity, keys]
                )

    def _erased(self, entity: str) -> dict[str, datetime | None]:
        if self._known is None:
            with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
                self._known = erased_versions(connection, self._scope)
        return self._known.get(entity, {})


def erased_versions(
    connection: psycopg.Connection, scope: Scope
) -> dict[str, dict[str, datetime | None]]:
    """Erased records by entity and key: the version that was erased, if it is known."""
    versions: dict[str, dict[str, datetime | None]] = {}
    for entity, key, version in connection.execute(_ERASED, [scope.tenant.slug, scope.system]):
        versions.setdefault(entity, {})[key] = version
    return versions


def is_edited(version: datetime | None, erased: datetime | None) -> bool:
    """True for any known version but the erased one; an unknown version proves no edit."""
    return version is not None and version != erased


_ERASED = """
select erased_records.entity, erased_records.record_id, erased_records.version
from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
"""

_LET_BACK = """
delete from integration.erased_records
where erased_records.tenant_id = %s
    and erased_records.system = %s
    and erased_records.entity = %s
    and erased_records.record_id = any(%s)
"""
