"""Pages read ahead: a thread walks the source while the caller loads what came before.

Pages become tables here, too, each while the source makes the next one: a table is smaller than the
answer that it was made of.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    contextmanager,
    suppress,
)
from contextvars import ContextVar
from dataclasses import dataclass, replace

from pipedrive_pipeline.connectors.contract import (
    ApiCall,
    Children,
    CursorState,
    Entity,
    Page,
    Resume,
    Source,
    Window,
    next_number,
)
from pipedrive_pipeline.connectors.refusals import StateExpired
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.ingest.batches import Batch, batch_of
from pipedrive_pipeline.ingest.outcome import OF_ONE_ENTITY, ReadPlan

log = logging.getLogger(__name__)

WALKS_AT_ONCE = 4  # of entities; a sync without changes is a call for each of them
SHORT_WALK_PAGES = 2  # longer walks go on one after the other: two take 100 MB more than one
WAIT_SECONDS = 0.01  # until the reader looks again whether there is room

OpenSource = Callable[[Callable[[ApiCall], None]], AbstractAsyncContextManager[Source]]
"""Opens a tenant's source; the meter it takes is called after every HTTP call."""

_current_entity: ContextVar[str] = ContextVar("current_entity", default="")


@dataclass(frozen=True)
class EntityWalk:
    """One entity to be read, from where its last committed walk ended; None reads everything."""

    entity: Entity
    state: CursorState | None
    plan: ReadPlan | None = None  # an unfinished read of everything that goes on
    parents: tuple[str, ...] = ()  # of an entity that is read as `Children`: whose lists to read
    commit: CursorState | None = None  # of such an entity: what the engine commits at the end

    @property
    def is_of_everything(self) -> bool:
        """True if records that it does not find are gone."""
        return self.state is None


@dataclass(frozen=True)
class PageRead:
    """A page of a walk, whose records are a batch by now; the last one says so."""

    walk: EntityWalk
    page: Page  # without its records
    batch: Batch
    rows: int  # as many as the source sent
    parents: tuple[str, ...] = ()  # whose lists are complete with this page


@dataclass(frozen=True)
class WalkFailed:
    """A walk that ended in an error. Others may go on where only this entity is concerned."""

    walk: EntityWalk
    error: PipelineError


@dataclass(frozen=True)
class WalkWidened:
    """A walk of changes that becomes one of everything: its cursor was rejected."""

    walk: EntityWalk


Event = PageRead | WalkFailed | WalkWidened
_Event = Event | BaseException | None


@dataclass(frozen=True)
class Bound:
    """The limit of a chunk, or of the pages that wait while a chunk is loaded."""

    rows: int
    size_bytes: int  # of answers

    def is_reached(self, rows: int, size_bytes: int) -> bool:
        """True if there is no room for another page."""
        return rows >= self.rows or size_bytes >= self.size_bytes


class _Ahead:
    """The queue of pages read ahead, up to its bound."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._events = queue.SimpleQueue[_Event]()
        self._rows = self._size_bytes = 0
        self._is_ended = False
        self._lock = threading.Lock()

    async def offer(self, event: _Event) -> None:
        """Puts an event in as soon as there is room."""
        # Polled, because another thread makes room.
        while self._bound.is_reached(self._rows, self._size_bytes):  # noqa: ASYNC110
            await asyncio.sleep(WAIT_SECONDS)
        self._count(event, 1)
        self._events.put(event)

    async def offer_end(self, failure: WalkFailed) -> None:
        """Puts a failure in that ends the reading; those of other walks, which are alike, are not.

        All of them meet a dead token or a spent budget at once.
        """
        if not self._is_ended:
            self._is_ended = True
            await self.offer(failure)

    def taken(self) -> _Event:
        """The next event, waited for."""
        event = self._events.get()
        self._count(event, -1)
        return event

    def _count(self, event: _Event, sign: int) -> None:
        if isinstance(event, PageRead):
            with self._lock:
                self._rows += sign * max(1, event.rows)
                self._size_bytes += sign * event.page.size_bytes


@dataclass
class Usage:
    """Calls and tokens spent on one entity."""

    api_calls: int = 0
    tokens: int = 0


class Meter:
    """Counts calls per entity; the connector calls it, the engine reads it."""

    def __init__(self, on_call: Callable[[ApiCall], None]) -> None:
        self._on_call = on_call
        self._usage: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def __call__(self, call: ApiCall) -> None:
        """Counts one call for the entity that the caller is reading."""
        with self._lock:
            usage = self._usage.setdefault(_current_entity.get(), Usage())
            usage.api_calls += 1
            usage.tokens += call.tokens
        self._on_call(call)

    def of(self, entity: str) -> Usage:
        """Calls and tokens spent on this entity so far."""
        with self._lock:
            return self._usage.get(entity, Usage())


@contextmanager
def read_ahead(
    open_source: OpenSource, walks: Sequence[EntityWalk], meter: Meter, bound: Bound
) -> Iterator[Iterator[Event]]:
    """An iterator over all pages of all walks, read by a thread that ends with the block.

    A few walks are read at once, begun in order; of long ones, one. The thread runs ahead until the
    bound is reached, beyond it by the page of each walk that reaches it and by those that were
    requested meanwhile.
    An error that concerns one entity alone (a missing right, a broken answer) is one
    ``WalkFailed``, and the others go on; any other ends the reading after its ``WalkFailed``.
    """
    ahead = _Ahead(bound)
    begun: Future[Callable[[], None]] = Future()
    reader = threading.Thread(
        target=_read, args=(open_source, walks, meter, ahead, begun), name="reader", daemon=True
    )
    reader.start()
    try:
        yield _read_events(ahead)
    finally:
        begun.result()()
        reader.join()


def _read_events(ahead: _Ahead) -> Iterator[Event]:
    while (event := ahead.taken()) is not None:
        if isinstance(event, BaseException):
            raise event
        yield event


def _read(
    open_source: OpenSource,
    walks: Sequence[EntityWalk],
    meter: Meter,
    ahead: _Ahead,
    begun: Future[Callable[[], None]],
) -> None:
    """Reads all walks in this thread; ``begun`` gets a function that ends it at once."""

    async def read_all() -> None:
        # One converts a page, the other lends a credential or resolves a host's name; each thread
        # keeps memory of its own.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        begun.set_result(_ending(asyncio.get_running_loop()))
        try:
            async with open_source(meter) as source:
                await _walk_all(source, walks, ahead)
            await ahead.offer(None)
        except asyncio.CancelledError:
            raise  # the caller left; nobody waits for more
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
            await ahead.offer(error)

    with suppress(asyncio.CancelledError):
        asyncio.run(read_all())


def _ending(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Returns a function that cancels the current task from another thread, if it still runs."""
    task = asyncio.current_task(loop)

    def end() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(task.cancel)  # type: ignore[union-attr] # a task runs us

    return end


async def _walk_all(source: Source, walks: Sequence[EntityWalk], ahead: _Ahead) -> None:
    """Offers every page of all walks, until one fails in a way that concerns the others.

    Lists of children are walked one after the other, and last: a load holds whole lists.
    """
    turns, long_turn = asyncio.Semaphore(WALKS_AT_ONCE), asyncio.Lock()

    async def in_turn(walk: EntityWalk) -> bool:
        async with turns:
            return await _walk(source, walk, ahead, long_turn)

    of_children = [walk for walk in walks if isinstance(walk.entity.read, Children)]
    tasks = [asyncio.create_task(in_turn(walk)) for walk in walks if walk not in of_children]
    try:
        for ended in asyncio.as_completed(tasks):
            if not await ended:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for walk in of_children:
        if not await _walk(source, walk, ahead, long_turn):
            return


async def _walk(source: Source, walk: EntityWalk, ahead: _Ahead, long_turn: asyncio.Lock) -> bool:
    """Offers every page of one walk; says whether the next walk may begin."""
    _current_entity.set(walk.entity.name)
    try:
        async with (
            aclosing(_pages(source, walk)) as pages,
            aclosing(_asked_early(pages)) as asked,
            AsyncExitStack() as turn,
        ):
            page_count = 0
            async for page, parents in asked:
                await ahead.offer(await asyncio.to_thread(_page_read, walk, page, parents))
                page_count += 1
                if page_count == SHORT_WALK_PAGES and not page.is_last:
                    await turn.enter_async_context(long_turn)
    except StateExpired as expired:
        if walk.is_of_everything and not walk.plan:
            await ahead.offer_end(WalkFailed(walk, expired))
            return False
        log.warning("%s", expired)
        widened = EntityWalk(walk.entity, None)
        await ahead.offer(WalkWidened(widened))
        return await _walk(source, widened, ahead, long_turn)
    except OF_ONE_ENTITY as error:
        await ahead.offer(WalkFailed(walk, error))
    except PipelineError as error:
        await ahead.offer_end(WalkFailed(walk, error))
        return False
    return True


Parents = tuple[str, ...]


async def _pages(source: Source, walk: EntityWalk) -> AsyncGenerator[tuple[Page, Parents], None]:
    """The pages of a walk, each with the parents whose lists are complete with it."""
    if isinstance(walk.entity.read, Children):
        async for listed in _lists(source, walk, walk.entity.read.batch):
            yield listed
    else:
        resume = walk.plan.resume if walk.plan else None
        async with aclosing(source.pages(walk.entity, walk.state, resume)) as pages:
            async for page in pages:
                yield page, ()


async def _lists(
    source: Source, walk: EntityWalk, size: int
) -> AsyncIterator[tuple[Page, Parents]]:
    """The lists of the walk's parents; the last page ends the walk.

    A walk over everything goes on with the parents that are still due, so every page says so.
    """
    resume = Resume((Window(),), {}) if walk.is_of_everything else None
    for start in range(0, len(walk.parents), size):
        parents = walk.parents[start : start + size]
        pages = await source.records(walk.entity, list(parents)) or [_empty_page()]
        for page in pages[:-1]:
            yield replace(page, resume=resume), ()
        yield replace(pages[-1], resume=resume), parents
    yield replace(_empty_page(), is_last=True, commit=walk.commit), ()


def _empty_page() -> Page:
    number = next_number()
    return Page([], sent=number, arrived=number)


async def _asked_early(
    pages: AsyncIterator[tuple[Page, Parents]],
) -> AsyncGenerator[tuple[Page, Parents], None]:
    """The pages, each requested while the caller works on the previous page."""

    async def following() -> tuple[Page, Parents] | None:
        return await anext(pages, None)

    coming = asyncio.create_task(following())
    try:
        while page := await coming:
            coming = asyncio.create_task(following())
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _page_read(walk: EntityWalk, page: Page, parents: Parents) -> PageRead:
    rows = len(page.records) + len(page.misfits)
    batch = batch_of(walk.entity, page)
    return PageRead(walk, replace(page, records=[], misfits=()), batch, rows, parents)
