"""The chunk loop: pages in, loads out, a cursor only behind a whole walk.

Belongs here: collecting pages into chunks, committing them, and what each entity's read came to.
Does not belong here: history, locks, price (`sync/`), HTTP (`connectors/`).

A chunk may hold the end of one walk and the beginning of the next, so that a tenant in which
nothing changed costs one load. A failed walk commits its rows, which are right, and no cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipedrive_pipeline.connectors.base import (
    Call,
    CursorState,
    EntitySpec,
    Record,
    Snapshot,
    Tombstone,
)
from pipedrive_pipeline.errors import SourceBroke
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.outcome import EntityRead, Rejected
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.tables import batch_of
from pipedrive_pipeline.ingest.walks import Meter, OpenSource, PageRead, Walk, read_ahead

CHUNK_ROWS = 20_000  # 40,000 is no faster and takes 100 MB more


@dataclass
class Reader:
    """Reads entities of one tenant into raw."""

    raw: RawStore
    deletions: Deletions
    open_source: OpenSource
    on_call: Callable[[Call], None]
    on_page: Callable[[EntityRead], None]
    on_rejected: Callable[[EntitySpec, list[Rejected]], None]
    before_load: Callable[[], None]  # raises where the run may not go on

    def read(self, entities: Sequence[EntitySpec], *, is_full: bool) -> Iterator[EntityRead]:
        """Yields each entity's read once it is committed whole, or has failed, in order.

        Raises:
            DatabaseUnavailable, LoadRefused: a load failed; what was yielded is committed.
        """
        self.deletions.prepare()
        cursors = self.raw.cursors
        walks = [Walk(entity, None if is_full else cursors.get(entity.name)) for entity in entities]
        reads = {
            walk.entity.name: EntityRead(walk.entity, cursors.get(walk.entity.name))
            for walk in walks
        }
        meter = Meter(self.on_call)
        chunk = _Chunk()
        with read_ahead(self.open_source, walks, meter) as events:
            for event in events:
                read = reads[event.walk.entity.name]
                if isinstance(event, PageRead):
                    chunk.add(event, read)
                else:
                    read.error = event.error
                    chunk.failed.append(read)
                usage = meter.of(read.entity.name)
                read.api_calls, read.tokens = usage.api_calls, usage.tokens
                self.on_page(read)
                if chunk.rows >= CHUNK_ROWS:
                    yield from self._commit(chunk, reads)
                    chunk = chunk.successor()
        yield from self._commit(chunk, reads)

    def _commit(self, chunk: _Chunk, reads: dict[str, EntityRead]) -> Iterator[EntityRead]:
        """Loads a chunk and yields the reads that ended with it."""
        self.before_load()
        if chunk.records:
            self._load(chunk, reads)
        for read in chunk.finished:
            self._settle(read, chunk.seen.pop(read.entity.name, None))
        yield from chunk.finished
        yield from chunk.failed

    def _load(self, chunk: _Chunk, reads: dict[str, EntityRead]) -> None:
        batches = [batch_of(reads[name].entity, rows) for name, rows in chunk.records.items()]
        loaded = self.raw.load(batches, chunk.cursors)
        for batch in batches:
            read = reads[batch.entity.name]
            read.add(loaded[batch.entity.name])
            read.rejected += batch.rejected_records
            read.replaced += batch.replaced
            read.undeclared += batch.undeclared
            if batch.rejected:
                self.on_rejected(batch.entity, batch.rejected)

    def _settle(self, read: EntityRead, seen: set[str] | None) -> None:
        """Marks a walk as complete; where it saw everything, what it did not see is gone."""
        if seen is not None:
            known = self.raw.keys(read.entity)
            if known and not seen:
                read.error = SourceBroke(
                    f"{read.entity.name}: the source suddenly holds none of {len(known)} known "
                    "rows; nothing was marked as deleted. Check the rights of the connected user."
                )
                return
            gone = known - seen
            self.deletions.mark(read.entity.name, [Tombstone(key, "deleted") for key in gone])
            self.deletions.unmark(read.entity.name, seen)
            read.deleted = len(gone)
        read.is_complete = True


@dataclass
class _Chunk:
    """Pages since the last load."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    cursors: dict[str, CursorState] = field(default_factory=dict)
    finished: list[EntityRead] = field(default_factory=list)
    failed: list[EntityRead] = field(default_factory=list)
    seen: dict[str, set[str]] = field(default_factory=dict)  # keys, of snapshots only
    rows: int = 0

    def add(self, event: PageRead, read: EntityRead) -> None:
        """Takes a page in; with the last one its walk is finished."""
        entity, page = event.walk.entity, event.page
        self.records.setdefault(entity.name, []).extend(page.records)
        self.rows += len(page.records)
        read.pages += 1
        read.fetched += len(page.records)
        if isinstance(entity.cursor, Snapshot):
            keys = self.seen.setdefault(entity.name, set())
            keys.update(_text(record, entity) for record in page.records)
        if page.is_last:
            self.finished.append(read)
            if page.commit is not None:
                self.cursors[entity.name] = page.commit
                read.cursor_after = page.commit

    def successor(self) -> _Chunk:
        """An empty chunk that remembers the keys of snapshots still being walked."""
        return _Chunk(seen=self.seen)


def _text(record: Record, entity: EntitySpec) -> str:
    return bytes(record.get(entity.key.name, b"")).decode(errors="replace").strip('"')
