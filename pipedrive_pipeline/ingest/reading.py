"""The chunk loop: pages in, loads out, a cursor only behind a whole walk.

A chunk may hold the end of one walk and the beginning of the next, so that a tenant in which
nothing changed costs one load. A failed walk commits its rows, which are right, and no cursor; of a
read of everything it commits the plan, so that the next one goes on where this one ended.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa

from pipedrive_pipeline.connectors.contract import (
    ApiCall,
    Children,
    CursorState,
    Entity,
    Page,
    Snapshot,
    Tombstone,
)
from pipedrive_pipeline.errors import GuardTripped
from pipedrive_pipeline.ingest.batches import Batch, joined
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.due_parents import DueParents, affordable
from pipedrive_pipeline.ingest.known_reads import KnownReads, may_be_kept
from pipedrive_pipeline.ingest.outcome import EntityRead, ReadPlan
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.read_ahead import (
    Bound,
    EntityWalk,
    Meter,
    OpenSource,
    PageRead,
    WalkWidened,
    read_ahead,
)
from pipedrive_pipeline.ingest.reconciliation import Reconciler
from pipedrive_pipeline.ingest.seen_keys import SeenKeys

STAMP = "%Y-%m-%dT%H:%M:%SZ"
CHUNK_BYTES = 40_000_000  # of answers
AHEAD_BYTES = 20_000_000  # read while a chunk is loaded; twice that takes 20 MB more
CHUNK_ROWS = 20_000  # 40,000 is no faster and takes 100 MB more


@dataclass
class Reader:
    """Reads entities of one tenant into raw."""

    raw: RawStore
    seen_keys: SeenKeys
    deletions: Deletions
    reconciler: Reconciler
    open_source: OpenSource
    on_call: Callable[[ApiCall], None]
    on_page: Callable[[EntityRead], None]
    before_load: Callable[[], None]  # raises where the run may not go on
    due_parents: DueParents
    known_reads: KnownReads
    now: Callable[[], datetime]
    after_chunk: Callable[[], None] = lambda: None  # between two loads: what cannot wait is done
    is_awaited: Callable[[], bool] = lambda: False  # True ends the chunk now: something cannot wait
    tokens_left: Callable[[], int] = lambda: sys.maxsize  # that this run may still spend
    chunk_rows: int = CHUNK_ROWS
    _is_increment: bool = False
    # Reads of everything of which no row is noted yet: the source may send what raw holds.
    _unnoted: dict[str, datetime] = field(default_factory=dict)

    def read(
        self, entities: Sequence[Entity], *, is_full: bool, is_restarted: bool = False
    ) -> Iterator[EntityRead]:
        """Yields each entity's read once it is committed whole, or has failed, in order.

        Args:
            entities: what to read.
            is_full: everything, not only what changed.
            is_restarted: an unfinished read of everything starts over instead of going on.

        Raises:
            DatabaseUnavailable, LoadRefused: a load failed; what was yielded is committed.
        """
        self._is_increment = not is_full
        for each in _passes(entities):
            reads: list[EntityRead] = []
            for read in self._read_pass(each, is_full=is_full, is_restarted=is_restarted):
                reads.append(read)
                yield read
            if any(read.error and not read.is_isolated_failure for read in reads):
                return

    def _read_pass(
        self, entities: Sequence[Entity], *, is_full: bool, is_restarted: bool
    ) -> Iterator[EntityRead]:
        """Reads entities none of which is a child of another one among them."""
        walks = [
            self._walk(entity, is_full=is_full, is_restarted=is_restarted) for entity in entities
        ]
        reads = {walk.entity.name: self._begun(walk) for walk in walks}
        meter = Meter(self.on_call)
        bound = Bound(self.chunk_rows, CHUNK_BYTES)
        chunk = _Chunk(self.now())
        # Arrow's own allocator keeps what was freed; a load of 80,000 records took 60 MB more.
        pa.set_memory_pool(pa.system_memory_pool())
        ahead = Bound(self.chunk_rows, AHEAD_BYTES)
        with _old_objects_left_alone(), read_ahead(self.open_source, walks, meter, ahead) as events:
            for event in events:
                if isinstance(event, WalkWidened):
                    reads[event.walk.entity.name] = self._begun(event.walk)
                    continue
                read = reads[event.walk.entity.name]
                if isinstance(event, PageRead):
                    chunk.add(event, read)
                else:
                    read.error = event.error
                    chunk.failed.append(read)
                usage = meter.of(read.entity.name)
                read.api_calls, read.tokens = usage.api_calls, usage.tokens
                self.on_page(read)
                if chunk.is_amid_list:
                    continue
                is_chunk_full = bound.is_reached(chunk.rows, chunk.size_bytes)
                if is_chunk_full or (chunk.rows and self.is_awaited()):
                    yield from self._commit(chunk, reads)
                    chunk = _Chunk(chunk.began_at)
                    self.after_chunk()
                    _give_memory_back()
        yield from self._commit(chunk, reads)

    def _walk(self, entity: Entity, *, is_full: bool, is_restarted: bool) -> EntityWalk:
        state = None if is_full else self.raw.cursors.get(entity.name)
        walk = EntityWalk(entity, state, None if state or is_restarted else self._plan(entity))
        return self._walk_of_lists(walk) if isinstance(entity.read, Children) else walk

    def _plan(self, entity: Entity) -> ReadPlan | None:
        """The unfinished read of everything to go on with: it is young, and its keys are kept."""
        plan = self.raw.plans.get(entity.name)
        if not plan or not plan.may_go_on(self.now()):
            return None
        return plan if self.seen_keys.are_of(entity, plan.began_at) else None

    def _walk_of_lists(self, walk: EntityWalk) -> EntityWalk:
        """The walk with the parents whose lists are due; a new read of everything takes all."""
        if walk.is_of_everything and not walk.plan:
            self.due_parents.note_all(walk.entity)
        return replace(
            walk,
            parents=affordable(walk.entity, self.due_parents.due(walk.entity), self.tokens_left),
            commit={"watermark": self.now().strftime(STAMP)},
        )

    def _begun(self, walk: EntityWalk) -> EntityRead:
        before, now = self.raw.cursors.get(walk.entity.name), self.now()
        if walk.is_of_everything and not walk.plan:
            self._unnoted[walk.entity.name] = now
        if walk.plan:
            began_at, rows = walk.plan.began_at, walk.plan.rows
            return EntityRead(walk.entity, before, began_at=began_at, resumed_rows=rows)
        return EntityRead(walk.entity, before, began_at=now)

    def _note_beginnings(self, batches: Sequence[Batch]) -> None:
        """Notes that reads of everything began, before the first of their rows is noted."""
        names = {batch.entity.name for batch in batches} & self._unnoted.keys()
        if names:
            self.seen_keys.begin({name: self._unnoted.pop(name) for name in names})
            self.raw.rejections.begin(names)

    def _commit(self, chunk: _Chunk, reads: dict[str, EntityRead]) -> Iterator[EntityRead]:
        """Loads a chunk and yields the reads that ended with it."""
        self.before_load()
        if chunk.batches:
            self._load(chunk, reads)
        for read in chunk.finished:
            is_compared = read.entity.name in chunk.of_everything - chunk.known
            if is_compared and read.entity.is_swept:
                self.reconciler.reconcile(read)
        self._end_plans(chunk)
        for read in chunk.finished:
            read.is_complete = read.error is None
        complete = {read.entity.name for read in chunk.finished if read.is_complete}
        if ended := complete & (chunk.of_everything - chunk.known):
            self.seen_keys.end(ended)  # after their plans, which go on by what was seen
            self.raw.rejections.end(ended)
        self.known_reads.remember(
            [chunk.whole[read.entity.name] for read in chunk.finished if chunk.is_proven(read)]
        )
        yield from chunk.finished
        yield from chunk.failed

    def _load(self, chunk: _Chunk, reads: dict[str, EntityRead]) -> None:
        batches = [joined(reads[name].entity, pages) for name, pages in chunk.batches.items()]
        self._set_known_aside(batches, chunk, reads)
        chunk.batches.clear()
        batches = [batch for batch in batches if batch.entity.name not in chunk.known]
        if batches:
            self._load_unknown(batches, chunk, reads)
        self.raw.move(chunk.cursors, chunk.plans)

    def _load_unknown(
        self, batches: list[Batch], chunk: _Chunk, reads: dict[str, EntityRead]
    ) -> None:
        """Loads batches of which raw may lack rows, and follows what came of them."""
        self._note_beginnings(batches)
        whole = [replace(batch) for batch in batches if batch.entity.name in chunk.of_everything]
        listed = {  # before erased ones are taken out
            batch.entity.name: batch.keys
            for batch in batches
            if isinstance(batch.entity.read, Children)
        }
        for batch in batches:
            self.due_parents.note(batch)
        self.seen_keys.renew(
            batch for batch in batches if batch.entity.name not in chunk.of_everything
        )
        with self._noting(whole) as wait_until_noted:
            loaded = self.raw.load(batches, before_rows=wait_until_noted)
        for batch in batches:
            read = reads[batch.entity.name]
            read.add(loaded[batch.entity.name])
            read.rejected += len(batch.rejected_records)
            read.rejected_values += len(batch.rejected_values)
            read.withheld += batch.withheld
            read.replaced += batch.replaced
            read.undeclared += batch.undeclared
            self._mark(read, batch, chunk.tombstones.get(batch.entity.name, []))
            if batch.entity.name in listed:
                self._end_lists(read, batch, listed[batch.entity.name], chunk)

    def _set_known_aside(
        self, batches: list[Batch], chunk: _Chunk, reads: dict[str, EntityRead]
    ) -> None:
        """Counts reads whose rows are all in raw as they are; the others go on to be loaded."""
        if not self._is_increment:
            return
        for batch in batches:
            name = batch.entity.name
            due_by = [
                child.read.due_by or batch.entity.version_column
                for child in self.due_parents.children_of(batch.entity)
                if isinstance(child.read, Children)
            ]
            if chunk.is_whole(reads[name]) and may_be_kept(batch, due_by):
                chunk.whole[name] = replace(batch)
        chunk.known = self.known_reads.unchanged([*chunk.whole.values()])
        for name in chunk.known:
            batch, read = chunk.whole.pop(name), reads[name]
            self._unnoted.pop(name, None)
            self.raw.note_known(batch)
            read.unchanged += batch.table.num_rows
            read.replaced += batch.replaced
            read.undeclared += batch.undeclared
            if name in chunk.of_everything and read.entity.is_swept:
                read.missing = read.extra = read.stale = 0
                read.swept_at = read.began_at

    @contextmanager
    def _noting(self, batches: Sequence[Batch]) -> Iterator[Callable[[], None]]:
        """Notes the batches' keys while dlt writes its files; yields a function that waits."""
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(self.seen_keys.note, batches).result

    def _end_plans(self, chunk: _Chunk) -> None:
        """Ends the plans of settled reads; the cursor moves only where nothing is in doubt.

        An empty or broken-off list looks like a whole one until it is compared with raw. Its cursor
        would hide for ever what was edited between the former one and now. A read that found
        nothing moves no cursor, but its plan ends too: it calls lists read that were empty then.
        """
        left_behind = chunk.unproven.keys() | (chunk.of_everything & self.raw.plans.keys())
        settled = [read for read in chunk.finished if read.entity.name in left_behind]
        if not settled:
            return
        self.before_load()
        names = [read.entity.name for read in settled if read.error is None]
        proven = [name for name in names if name in chunk.unproven]
        self.raw.move(
            {name: chunk.unproven[name] for name in proven},
            {read.entity.name: None for read in settled},
        )

    def _mark(self, read: EntityRead, batch: Batch, tombstones: list[Tombstone]) -> None:
        """Follows what the source itself says of presence; restored rows come back."""
        read.restored += self.deletions.unmark(batch)
        self.deletions.mark(batch.entity, tombstones)
        read.deleted += len(tombstones)
        gone = [stone.id for stone in tombstones]
        self.due_parents.mark_orphans(self.deletions, batch.entity, gone)

    def _end_lists(
        self, read: EntityRead, batch: Batch, keys: Sequence[str], chunk: _Chunk
    ) -> None:
        """Marks children that their parents' lists no longer hold; those parents are due no more.

        A read of everything is compared with raw as a whole, at its end.
        """
        entity, parents = batch.entity, chunk.parents.get(batch.entity.name, [])
        if parents and entity.name not in chunk.of_everything and not batch.rejected_records:
            known = self.due_parents.listed_in_raw(entity, parents)
            absent = sorted(set(known) - set(keys))
            try:
                self.reconciler.check_mass_deletion(read, absent)
            except GuardTripped as error:
                read.error = error
                return
            self.deletions.mark(entity, [Tombstone(key, "deleted") for key in absent])
            read.deleted += len(absent)
        if parents:
            self.due_parents.remove(entity, parents)


def _passes(entities: Sequence[Entity]) -> Iterator[list[Entity]]:
    """The entities in groups; a child comes in a later group than its parent."""
    left = [*entities]
    while left:
        names = {entity.name for entity in left}
        group = [
            entity
            for entity in left
            if not (isinstance(entity.read, Children) and entity.read.of in names)
        ]
        yield group
        left = [entity for entity in left if entity not in group]


def _may_hide_everything(walk: EntityWalk, read: EntityRead) -> bool:
    """True of a read of everything that found no entry, which may be true or a source's lie.

    Behind a cursor of it no record would be read before it is edited, so the next run reads
    everything again; of an empty list that costs as much as its changes. Lists of children are read
    by their parents, which would all be asked again.
    """
    is_list = isinstance(walk.entity.read, Children)
    return walk.is_of_everything and not is_list and not read.resumed_rows + read.fetched


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Exempts existing objects from garbage collection: Dagster alone has 250,000 of them.

    It looked at all of them after each chunk and now and then between, in a second of a full read.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _give_memory_back() -> None:
    """Frees what a load held: dlt's objects point in circles, and hold its tables."""
    gc.collect()
    pa.default_memory_pool().release_unused()


@dataclass
class _Chunk:
    """Pages since the last load."""

    began_at: datetime  # the run's read, for the plans that it leaves behind
    batches: dict[str, list[Batch]] = field(default_factory=dict)
    cursors: dict[str, CursorState] = field(default_factory=dict)
    unproven: dict[str, CursorState] = field(default_factory=dict)  # of reads of everything
    plans: dict[str, ReadPlan | None] = field(default_factory=dict)
    tombstones: dict[str, list[Tombstone]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)  # whose lists are complete
    of_everything: set[str] = field(default_factory=set)
    is_amid_list: bool = False  # more pages of the same parents follow
    known: set[str] = field(default_factory=set)  # whose rows are in raw as they are
    whole: dict[str, Batch] = field(default_factory=dict)  # all that a walk read
    finished: list[EntityRead] = field(default_factory=list)
    failed: list[EntityRead] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0

    def add(self, event: PageRead, read: EntityRead) -> None:
        """Takes a page in; with the last one its walk is finished."""
        walk, page = event.walk, event.page
        name = walk.entity.name
        self.batches.setdefault(name, []).append(event.batch)
        self.tombstones.setdefault(name, []).extend(page.tombstones)
        self.parents.setdefault(name, []).extend(event.parents)
        is_list = isinstance(walk.entity.read, Children)
        self.is_amid_list = is_list and not event.parents and not page.is_last
        self.rows += event.rows
        self.size_bytes += page.size_bytes
        read.pages += 1
        read.fetched += event.rows
        read.replaced += page.mended_count
        if walk.is_of_everything:
            self.of_everything.add(name)
            self._note_plan(walk, page, read)
        if page.is_last:
            self.finished.append(read)
            if page.commit is not None and not _may_hide_everything(walk, read):
                cursors = self.unproven if walk.is_of_everything else self.cursors
                cursors[name] = page.commit
                read.cursor_after = page.commit

    def is_whole(self, read: EntityRead) -> bool:
        """True if this chunk has all pages of a walk that said nothing but its rows."""
        name = read.entity.name
        is_finished = any(each is read for each in self.finished)
        is_all = is_finished and len(self.batches[name]) == read.pages
        # A read of everything proves what is gone, unless the entity is always read as a list.
        is_all &= name not in self.of_everything or isinstance(read.entity.read, Snapshot)
        said_more = self.parents[name] or self.tombstones[name] or name in self.plans
        return is_all and not (said_more or read.resumed_rows or read.error)

    def is_proven(self, read: EntityRead) -> bool:
        """True if a committed read left raw equal to what the source sent."""
        is_equal = not (read.missing or read.extra or read.stale or read.withheld)
        return read.entity.name in self.whole and read.is_complete and is_equal

    def _note_plan(self, walk: EntityWalk, page: Page, read: EntityRead) -> None:
        if page.resume and not page.is_last:
            rows = read.resumed_rows + read.fetched
            began_at = read.began_at or self.began_at
            self.plans[walk.entity.name] = ReadPlan(began_at, self.began_at, page.resume, rows)
