"""One list in windows of time that a few workers read at once.

A long list is split while it is read: a new worker begins at a later time within the largest window
that is left. A window ends where it meets a record of the window behind it, with the same id and
stamp. Stamps alone do not decide: a record may show another one than that by which the source sorts
and filters it. So nothing lies between two windows, and a list that ends before the meeting is not
read whole.

A record that is edited meanwhile moves to the end of the list, into the window without an end. That
window is read to its end last: a worker that arrives there earlier leaves it, and its last page is
read once more after all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter

from pipedrive_pipeline.connectors.contract import Record, Window
from pipedrive_pipeline.connectors.pipedrive.envelope import (
    STAMP,
    ListPage,
    Version,
    stamp,
    text_of,
    version,
)

WORKERS_MAX = 4  # of one list: with them, loading takes longer than reading
PAGES_PER_SPLIT = 4  # read before each split, whose last page may be read in vain
PAGES_LEFT = 10  # by estimate, in a window that is worth a split
SHARE, SMALL_SHARE = 0.5, 0.0625  # of the time left; the small one behind a part of a single page
SECOND = timedelta(seconds=1)


def versions(page: ListPage) -> frozenset[Version]:
    """Those of a page's records."""
    return frozenset(map(version, page.records))


def before_any(records: list[Record], of: frozenset[Version]) -> list[Record] | None:
    """The records before the first one of these versions; None if none of them is there."""
    at = next((at for at, record in enumerate(records) if version(record) in of), None)
    return None if at is None else records[:at]


def _without_rows(page: ListPage) -> ListPage:
    return replace(page, records=[], misfits=(), size_bytes=0, mended_count=0)


def chain(windows: Sequence[Window]) -> list[Window]:
    """The windows that follow each other from a list's beginning to its end; empty if one lacks."""
    inner = {window.since: window for window in windows if window.until is not None}
    found = list[Window]()
    since: str | None = None
    while (window := inner.pop(since, None)) is not None:
        found.append(window)
        since = window.until
    ends = [window for window in windows if window.until is None and window.since == since]
    return [*found, *ends[:1]] if ends else []


def _stamp_at(page: ListPage, place: int) -> datetime | None:
    return stamp(text_of(page.records[place], "update_time")) if page.records else None


@dataclass(eq=False)
class WindowRead:
    """A window, and how far its worker has read it."""

    window: Window
    later: WindowRead | None = None  # begins where this one ends
    delivered: Window | None = None  # as far as the caller has its pages; None: it has none
    first_versions: frozenset[Version] | None = None  # what its first page holds
    # The same, once the caller gets that page before any page by which the window before it ends.
    head: asyncio.Future[frozenset[Version]] | None = None
    page_count: int = 0
    place: datetime | None = None  # stamp of the last record that was read
    page_span: timedelta = SECOND  # between the stamps of the last page
    is_left: bool = False  # at the end of the list, until the other windows are read
    share: float = SHARE  # of the time that is left to read, before the place of the next split

    def note(self, page: ListPage) -> None:
        """Takes in how far a page reaches."""
        self.page_count += 1
        if self.head is not None and self.first_versions is None:
            self.first_versions = versions(page)
        first, last = (_stamp_at(page, place) for place in (0, -1))
        if first and last:  # a record may show any stamp, but the list leads on
            self.place = max(self.place or last, last)
            self.page_span = max(last - first, SECOND)

    def forget_later_head(self) -> None:
        """What the window behind began with may have been edited since: it is read again."""
        if self.later and self.later.head and self.later.head.done():
            self.later.head = None

    def split_place(self, newest_at: datetime) -> tuple[float, datetime] | None:
        """Pages that are left, by estimate, and where to split them; None if it is not worth it.

        Args:
            newest_at: the stamp of the list's newest record.
        """
        is_settled = self.delivered and (self.later is None or self.later.delivered)
        if self.window.is_read or self.place is None or not is_settled:
            return None
        begin = max(self.place, stamp(self.window.since or "") or self.place)
        end = (stamp(self.later.window.since or "") if self.later else None) or newest_at
        pages_left = (end - begin) / self.page_span
        at = (begin + (end - begin) * self.share).replace(microsecond=0)
        return (pages_left, at) if begin < at < end and pages_left >= PAGES_LEFT else None


Step = tuple[ListPage, WindowRead, Window | None]
"""A page, whose it is, and the window after it; None if it cannot be gone on with there."""
Walk = Callable[[WindowRead], AsyncGenerator[tuple[ListPage, Window | None], None]]
"""The pages of one window, from where it was read to."""


class ParallelWindows:
    """The windows of one list, in the order of time, while they are read."""

    def __init__(
        self,
        windows: Sequence[Window],
        walk: Walk,
        newest_of_list: Callable[[], Awaitable[Record | None]] | None,
    ) -> None:
        """Of windows that may be read in part.

        Args:
            windows: of one list.
            walk: reads one of them.
            newest_of_list: requests the list's newest record; None: no window is split.
        """
        self.reads = [WindowRead(each, delivered=each) for each in windows]
        begins = {read.window.since: read for read in self.reads if read.window.since}
        for read in self.reads:
            read.later = begins.get(read.window.until) if read.window.until else None
        self._walk, self._newest_of_list = walk, newest_of_list
        self.newest: Record | None = None  # of the list, before it was split
        self._newest_at: datetime | None = None  # its stamp
        self._page_count = self._split_count = 0
        self._steps = asyncio.Queue[Step | BaseException | None](1)
        self._workers = dict[WindowRead | None, asyncio.Task[None]]()

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Yield the pages of all windows that are not read, in any order."""
        try:
            self._begin_more()
            if not self._workers:
                return
            while (step := await self._steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                self._deliver(step)
                yield step
        finally:
            for worker in self._workers.values():
                worker.cancel()
            await asyncio.gather(*self._workers.values(), return_exceptions=True)

    @property
    def delivered(self) -> Iterator[Window]:
        """The windows as far as the caller has their pages; neighbours that are read are one."""
        before: Window | None = None
        for window in (read.delivered for read in self.reads if read.delivered):
            is_behind = before and before.until and before.until == window.since
            if before and is_behind and before.is_read and window.is_read:
                before = replace(window, since=before.since)
                continue
            if before:
                yield before
            before = window
        if before:
            yield before

    def _deliver(self, step: Step) -> None:
        _, read, after = step
        if read.delivered is None:
            before = self.reads[self.reads.index(read) - 1]
            assert before.delivered is not None  # noqa: S101 - it was split, so it was read
            read.delivered = replace(read.window, cursor=None, until=before.delivered.until)
            before.delivered = replace(before.delivered, until=read.window.since)
        if after:
            read.delivered = replace(after, until=read.delivered.until)

    def _begin_more(self) -> None:
        """Begins as many workers as there is work for."""
        while len(self._workers) < WORKERS_MAX and (read := self._unread() or self._split()):
            self._begin(read, partial(self._read, read))
        if self._may_split and self._newest_of_list is not None:
            self._begin(None, partial(self._read_newest, self._newest_of_list))
            self._newest_of_list = None

    def _begin(self, read: WindowRead | None, work: Callable[[], Awaitable[None]]) -> None:
        async def worked() -> None:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the caller, which raises it
                await self._steps.put(error)
                return
            del self._workers[read]
            self._begin_more()
            if not self._workers:
                await self._steps.put(None)

        self._workers[read] = asyncio.create_task(worked())

    def _unread(self) -> WindowRead | None:
        """A window that no worker reads; the end of the list only after all others."""
        return next(
            (
                read
                for read in self.reads
                if not (read.window.is_read or read in self._workers)
                and (not read.is_left or self._are_others_read(read))
            ),
            None,
        )

    def _comes_too_early(self, read: WindowRead, window: Window) -> bool:
        """True at the end of the list while records of other windows may still move there."""
        return window.is_read and read.later is None and not self._are_others_read(read)

    def _are_others_read(self, read: WindowRead) -> bool:
        return all(each.window.is_read for each in self.reads if each is not read)

    @property
    def _may_split(self) -> bool:
        return self._page_count >= PAGES_PER_SPLIT * (self._split_count + 1)

    def _split(self) -> WindowRead | None:
        """The later part of the largest window that is left; None if none is worth a split."""
        if self._newest_at is None or not self._may_split:
            return None
        places = [
            (*place, read)
            for read in self.reads
            if read in self._workers and (place := read.split_place(self._newest_at))
        ]
        if not places:
            return None
        _, at, before = max(places, key=itemgetter(0))
        head = asyncio.get_running_loop().create_future()
        part = Window(since=at.strftime(STAMP), part=before.window.part)
        later = WindowRead(part, later=before.later, head=head)
        before.later = later
        self.reads.insert(self.reads.index(before) + 1, later)
        self._split_count += 1
        return later

    async def _read_newest(self, newest_of_list: Callable[[], Awaitable[Record | None]]) -> None:
        self.newest = await newest_of_list()
        self._newest_at = stamp(text_of(self.newest, "update_time")) if self.newest else None

    async def _read(self, read: WindowRead) -> None:
        """Reads one window to its end, or to the end of the list while others are not read."""
        async with aclosing(self._walk(read)) as pages:
            async for page, window in pages:
                self._page_count += 1
                step = (page, read, window)
                if window and self._comes_too_early(read, window):
                    read.is_left = True
                    step = (_without_rows(page), read, read.window)
                read.window = step[2] or read.window
                await self._steps.put(step)
                if read.head and not read.head.done():
                    read.head.set_result(read.first_versions or frozenset())
                self._begin_more()
        if read.page_count == 1 and (before := self._before(read)):
            before.share = SMALL_SHARE

    def _before(self, read: WindowRead) -> WindowRead | None:
        return next((each for each in self.reads if each.later is read), None)
