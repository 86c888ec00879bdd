"""Compares a full read of an entity with raw: proves that it is complete, marks deleted records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from pipedrive_pipeline.connectors.contract import (
    ApiCall,
    Children,
    Entity,
    RecordStatus,
    Snapshot,
    Tombstone,
)
from pipedrive_pipeline.errors import (
    GuardTripped,
    IncompleteRead,
    Permanent,
    PipelineError,
)
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.outcome import EntityRead, Loaded
from pipedrive_pipeline.ingest.read_ahead import OpenSource
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.ingest.seen_keys import KeyComparison, SeenKeys

GUARD_SHARE = 0.10  # of an entity's rows
GUARD_ROWS = 50  # below it the share does not matter
LOOKS_MAX = 1_000  # calls for records that a sweep did not find, at one or two tokens each
SAMPLE_ROWS = 100  # of records that seem to be gone, read in one call before a person must confirm
UNLISTED_MAX = 10  # records that live and were not listed: rights and restores during a walk


class RowsMissing(Permanent):
    """Rows that the source sent are not in raw. Nothing was marked; somebody must look."""

    code = "rows_missing"


@dataclass
class Reconciler:
    """Reconciles complete reads of one tenant with raw."""

    tenant: str  # for messages
    seen_keys: SeenKeys
    deletions: Deletions
    open_source: OpenSource
    on_call: Callable[[ApiCall], None]
    refresher: Refresher
    is_confirmed: bool  # a person has confirmed that this many rows are gone
    confirmed: Mapping[str, int] = field(default_factory=dict)  # how many, by entity, at most

    def reconcile(self, read: EntityRead) -> None:
        """Marks records that are gone, takes back marks of those that are not, notes the proof.

        An error of ours becomes the read's own: its rows are committed and right, but whether they
        are all is in doubt, and with it the deletions of this entity and its cursor.
        """
        try:
            self._reconcile(read)
        except PipelineError as error:
            read.error = error

    def _reconcile(self, read: EntityRead) -> None:
        entity = read.entity
        compared = self._compared(read)
        read.missing, read.extra, read.stale = compared.missing, len(compared.extra), compared.stale
        self._refuse_missing(entity, compared)
        self.check_mass_deletion(
            read, compared.extra, known=compared.known, is_list_empty=not compared.seen
        )
        if _is_read_as_list(entity) and read.rejected:
            return  # an entry without a usable key may be any record that seems to be gone
        gone = [Tombstone(key, "deleted") for key in compared.expired]
        gone += self._gone(read, compared.extra)
        self.deletions.mark(entity, gone)
        read.deleted += len(gone)
        read.extra -= len(gone) - len(compared.expired)
        read.swept_at = read.began_at

    def _refuse_missing(self, entity: Entity, compared: KeyComparison) -> None:
        if compared.missing:
            raise RowsMissing(
                f"{self.tenant}: {compared.missing} {entity.name} that the source sent are not in "
                "raw; read them again with `sync --full --restart`, and report it if it stays."
            )

    def check_mass_deletion(
        self,
        read: EntityRead,
        extra: Sequence[str],
        *,
        known: int | None = None,
        is_list_empty: bool = False,
    ) -> None:
        """Refuses an implausible number of deletions, after reading a sample again.

        An empty list where raw holds rows is implausible however few they are: it is what a user
        who lost a right sees.

        Args:
            read: of the entity.
            extra: keys in raw that seem to be gone.
            known: rows in raw that are not marked as gone; None to count them now.
            is_list_empty: the source listed no record at all.

        Raises:
            GuardTripped: a person must confirm.
            IncompleteRead: the source gives many of them by their ids.
        """
        gone, name = len(extra), read.entity.name
        free = 0 if is_list_empty else GUARD_ROWS
        if self.is_confirmed or gone <= self.confirmed.get(name, 0) + free:
            return
        known = self.seen_keys.compare(read.entity).known if known is None else known
        if gone <= known * GUARD_SHARE and not is_list_empty:
            return
        if not _is_read_as_list(read.entity):
            sample = [*extra[:: ceil(gone / SAMPLE_ROWS)]]
            self._refuse_unlisted(read, len(sample) - len(self._refreshed(read, sample)))
        raise GuardTripped(
            f"{self.tenant}: {gone} of {known} {name} are no longer listed; nothing "
            "was marked as deleted. If the connected user's rights are as before and they are "
            f"really gone, confirm with `sweep --tenant {self.tenant} --confirm`.",
            gone=extra,
            known=known,
        )

    def _refuse_unlisted(self, read: EntityRead, live_count: int) -> None:
        """Refuses a list that left out records which the source gives by their ids."""
        if live_count > UNLISTED_MAX:
            raise IncompleteRead(
                f"{self.tenant}: the list of {read.entity.name} left out at least {live_count} "
                "records that the source gives by their ids. Its rows are kept, its watermark "
                "stays and nothing was marked as deleted; the next read of everything looks again."
                " If it stays so, ask the source's support."
            )

    def mark_absent(self, entity: Entity, keys: Sequence[str]) -> list[str]:
        """Marks records that no read by ids gives, and returns those that are gone.

        A list that is read whole says nothing here: the next read of everything compares it.
        """
        if not keys or _is_read_as_list(entity):
            return []
        statuses = asyncio.run(self._record_statuses(entity, list(keys[:LOOKS_MAX])))
        gone = _tombstones(statuses)
        self.deletions.mark(entity, gone)
        return [stone.id for stone in gone]

    def _compared(self, read: EntityRead) -> KeyComparison:
        """What was seen against raw, once rows that raw lacks or holds in an older version are in.

        A row is noted as seen before it is loaded; where a run died in between, and the row was
        deleted before the next one came by, it was seen and is nowhere.
        """
        comparison = self.seen_keys.compare(read.entity)
        if _is_read_as_list(read.entity) or not 0 < comparison.behind <= LOOKS_MAX:
            return comparison
        absent = self._refreshed(read, self.seen_keys.behind(read.entity))
        self.seen_keys.forget(read.entity, absent)
        return self.seen_keys.compare(read.entity)

    def _gone(self, read: EntityRead, keys: list[str]) -> list[Tombstone]:
        """Tombstones of keys that are no longer listed, with the reason of each.

        They are looked at again: a list may leave records out, and an edit may move one. Those
        that live are in raw as they are now. Beyond `LOOKS_MAX` calls the list is believed.
        """
        if not keys:
            return []
        if isinstance(read.entity.read, Children):  # no single record can be read
            return [Tombstone(key, "deleted") for key in keys]
        looks = LOOKS_MAX * read.entity.cost.ids_per_call
        absent = [*self._refreshed(read, keys[:looks]), *keys[looks:]]
        reasons: dict[str, RecordStatus] = {}
        if not _is_read_as_list(read.entity):
            reasons = asyncio.run(self._record_statuses(read.entity, absent[:LOOKS_MAX]))
        reason_of = {key: reasons.get(key, "deleted") for key in absent}
        gone = _tombstones(reason_of)
        self._refuse_unlisted(read, len(keys) - len(gone))
        return gone

    def _refreshed(self, read: EntityRead, keys: list[str]) -> list[str]:
        """Keys that the source does not give; the other records are in raw as they are now."""
        refreshed = self.refresher.refresh(read.entity.name, keys)
        read.add(Loaded(refreshed.created, refreshed.updated, refreshed.unchanged))
        read.restored += refreshed.restored
        return list(refreshed.absent)

    async def _record_statuses(self, entity: Entity, keys: list[str]) -> dict[str, RecordStatus]:
        async with self.open_source(self.on_call) as source:
            return await source.record_statuses(entity, keys)


def _tombstones(statuses: Mapping[str, RecordStatus]) -> list[Tombstone]:
    return [Tombstone(key, why) for key, why in statuses.items() if why != "live"]


def _is_read_as_list(entity: Entity) -> bool:
    """True if every read of it gives whole lists, and single records cannot be read."""
    return isinstance(entity.read, Snapshot | Children)
