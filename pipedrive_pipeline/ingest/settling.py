"""What follows when everything of an entity was read: proof of completeness, and deletions.

Belongs here: judging the comparison of what was seen with raw; the guard against believing too
much. Does not belong here: reading (`reading.py`), the marks themselves (`deletions.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pipedrive_pipeline.connectors.base import Call, EntitySpec, Snapshot, Standing, Tombstone
from pipedrive_pipeline.errors import GuardTripped, Permanent, PipelineError, SourceBroke
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.outcome import EntityRead, Loaded
from pipedrive_pipeline.ingest.refreshing import Refresher
from pipedrive_pipeline.ingest.seen import Comparison, SeenKeys
from pipedrive_pipeline.ingest.walks import OpenSource

GUARD_SHARE = 0.10  # of an entity's rows
GUARD_ROWS = 50  # below it the share does not matter
LOOKS_MAX = 1_000  # single records looked at in one sweep, at one token each


class RowsMissing(Permanent):
    """Rows that the source sent are not in raw. Nothing was marked; somebody must look."""

    code = "rows_missing"


@dataclass
class Settler:
    """Settles complete reads of one tenant."""

    tenant: str  # for messages
    seen: SeenKeys
    deletions: Deletions
    open_source: OpenSource
    on_call: Callable[[Call], None]
    refresher: Refresher
    is_confirmed: bool  # a person has confirmed that this many rows are gone

    def settle(self, read: EntityRead) -> None:
        """Marks what is gone, takes back marks of what is there, and notes the proof.

        An error of ours becomes the read's own: its rows are committed and right, but whether they
        are all is in doubt, and with it the deletions of this entity and its cursor.
        """
        try:
            self._settle(read)
        except PipelineError as error:
            read.error = error

    def _settle(self, read: EntityRead) -> None:
        entity = read.entity
        found = self._compared(read)
        read.missing, read.extra, read.stale = found.missing, len(found.extra), found.stale
        self._refuse_the_unbelievable(entity, found)
        gone = self._gone(read, found.extra)
        self.deletions.mark(entity, gone)
        read.deleted += len(gone)
        read.extra -= len(gone)

    def _refuse_the_unbelievable(self, entity: EntitySpec, found: Comparison) -> None:
        if found.missing:
            raise RowsMissing(
                f"{self.tenant}: {found.missing} {entity.name} that the source sent are not in "
                "raw; read them again with `sync --full --restart`, and report it if it stays."
            )
        if found.known and not found.seen:
            raise SourceBroke(
                f"{self.tenant}: the source suddenly holds none of {found.known} known "
                f"{entity.name}; nothing was marked as deleted. Check the connected user's rights."
            )
        gone = len(found.extra)
        if self.is_confirmed or gone <= GUARD_ROWS or gone <= found.known * GUARD_SHARE:
            return
        raise GuardTripped(
            f"{self.tenant}: {gone} of {found.known} {entity.name} are no longer listed; nothing "
            "was marked as deleted. If the connected user's rights are as before and they are "
            f"really gone, confirm with `sweep --tenant {self.tenant} --confirm`."
        )

    def _compared(self, read: EntityRead) -> Comparison:
        """What was seen against raw, once rows that raw lacks or holds in an older version are in.

        A row is noted as seen before it is loaded; where a run died in between, and the row was
        deleted before the next one came by, it was seen and is nowhere.
        """
        found = self.seen.compare(read.entity)
        if isinstance(read.entity.cursor, Snapshot) or not 0 < found.behind <= LOOKS_MAX:
            return found
        absent = self._refreshed(read, self.seen.behind(read.entity))
        self.seen.forget(read.entity, absent)
        return self.seen.compare(read.entity)

    def _gone(self, read: EntityRead, keys: list[str]) -> list[Tombstone]:
        """Tombstones of keys that are no longer listed, and of each why.

        Those that live in spite of it are read again: an edit may have moved them out of the list.
        """
        if isinstance(read.entity.cursor, Snapshot) and read.rejected:
            return []  # it may be any of these: an entry has no key that could be read
        if isinstance(read.entity.cursor, Snapshot) or not keys:
            return [Tombstone(key, "deleted") for key in keys]
        absent = self._refreshed(read, keys)
        looked_at = asyncio.run(self._standings(read.entity, absent[:LOOKS_MAX]))
        standings = ((key, looked_at.get(key, "deleted")) for key in absent)
        return [Tombstone(key, why) for key, why in standings if why != "live"]

    def _refreshed(self, read: EntityRead, keys: list[str]) -> list[str]:
        """Which of these keys the source does not give; the others are in raw as they are now."""
        refreshed = self.refresher.refresh(read.entity.name, keys)
        read.add(Loaded(refreshed.created, refreshed.updated, refreshed.unchanged))
        read.restored += refreshed.restored
        return list(refreshed.absent)

    async def _standings(self, entity: EntitySpec, keys: list[str]) -> dict[str, Standing]:
        async with self.open_source(self.on_call) as source:
            return await source.standings(entity, keys)
