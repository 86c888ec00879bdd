"""Reads given records again and merges them into raw, for a webhook or for a sweep.

It moves no cursor and no plan, so that it may run between the runs of any walk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipedrive_pipeline.connectors.contract import ApiCall, Children, Entity, Page
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.ingest.batches import Batch, batch_of, joined
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.due_parents import DueParents
from pipedrive_pipeline.ingest.outcome import Loaded, Refreshed
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.read_ahead import OpenSource
from pipedrive_pipeline.ingest.seen_keys import SeenKeys

NOTHING_LOADED = Loaded(0, 0, 0)


@dataclass(frozen=True)
class Refresher:
    """Reads given records of one tenant again."""

    entities: Mapping[str, Entity]
    raw: RawStore
    seen_keys: SeenKeys
    deletions: Deletions
    due_parents: DueParents
    open_source: OpenSource
    on_call: Callable[[ApiCall], None]
    before_load: Callable[[], None]  # raises where nothing may be written

    def refresh(self, entity: str, ids: Sequence[str]) -> Refreshed:
        """See `ingest.refresh`.

        Raises:
            BadInput: the system has no such kind of record.
        """
        if entity not in self.entities:
            raise BadInput(f"there is no entity {entity!r}; there are {', '.join(self.entities)}.")
        spec = self.entities[entity]
        batch = self.fetch(spec, ids)
        # Of children, `ids` are their parents', and a parent without any is not absent.
        is_of_parents = isinstance(spec.read, Children)
        present = set(ids) if is_of_parents else set(batch.keys)  # before erased ones are taken out
        loaded, restored = self.merge(batch)
        absent = tuple(key for key in ids if key not in present)
        return Refreshed(loaded.created, loaded.updated, loaded.unchanged, restored, absent)

    def fetch(self, entity: Entity, ids: Sequence[str]) -> Batch:
        """The records of these ids as the source has them now; of children, those of parents."""
        pages = asyncio.run(self._pages(entity, list(ids))) if ids else []
        return joined(entity, [batch_of(entity, page) for page in pages])

    async def _pages(self, entity: Entity, ids: list[str]) -> list[Page]:
        size = entity.read.batch if isinstance(entity.read, Children) else len(ids)
        async with self.open_source(self.on_call) as source:
            return [
                page
                for start in range(0, len(ids), size)
                for page in await source.records(entity, ids[start : start + size])
            ]

    def merge(self, batch: Batch) -> tuple[Loaded, int]:
        """Brings fetched records into raw; says what changed and how many were marked as gone."""
        self.before_load()
        loaded = NOTHING_LOADED
        if batch.table.num_rows or batch.rejected_records:
            self.seen_keys.renew([batch])
            self.due_parents.note(batch)
            loaded = self.raw.load([batch], is_of_few=True)[batch.entity.name]
        return loaded, self.deletions.unmark(batch)
