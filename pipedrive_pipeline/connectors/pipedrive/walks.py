"""Walks over Pipedrive's lists: complete or an error, never quietly short.

Every walk goes by update_time, ascending, without an end: a record edited meanwhile moves ahead of
the walk and comes twice, never not at all. They are keyset walks without a snapshot. A long list is
read in windows of time by a few workers at once, see `windows`. An
interrupted walk over everything continues with the source's own cursor of the next page: an exact
place in the source's own order, independent of the records' stamps. If the source refuses that
cursor, or has nothing behind it any more, the walk begins again.

A cursor names the first record of the next page, so a page that a cursor leads to, or that holds
one, is never empty. One that stays empty is gone through, for the rows behind it, and the walk ends
in an error: the rows that belong there were not read.

A list may end too early. So a walk over everything, and any walk of more than one page, ends with
one more call for the newest record that changed before the walk began: it must have been read. A
later walk of a single page has no such call. It begins the next one at the newest stamp that it
read, where the records are that its page withheld.

Deals and leads have two lists, the archived ones apart. Both belong to one walk: a record that is
on neither may be gone, one that is on the other is not.

Source: https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

from pipedrive_pipeline.connectors.answers import SourceCall
from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    CursorState,
    Page,
    Record,
    Resume,
    Window,
)
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    PAGE_LIMIT,
    Endpoint,
    RecordList,
)
from pipedrive_pipeline.connectors.pipedrive.envelope import READERS, STAMP, ListPage, Version
from pipedrive_pipeline.connectors.pipedrive.offsets import OffsetPlace
from pipedrive_pipeline.connectors.pipedrive.progress import EMPTY_PAGE_ASKED, WalkProgress
from pipedrive_pipeline.connectors.pipedrive.watermarks import (
    NotBelieved,
    Reach,
    WalkWatermark,
    committed,
)
from pipedrive_pipeline.connectors.pipedrive.windows import (
    ParallelWindows,
    WindowRead,
    before_any,
    chain,
    versions,
)
from pipedrive_pipeline.connectors.refusals import CursorRefused, SourceRefused, StateExpired
from pipedrive_pipeline.errors import IncompleteRead

RESTARTS_MAX = 2  # of a window whose cursor was refused

Params = dict[str, str | int]


@dataclass(frozen=True)
class ListWalk:
    """One walk over one entity's lists."""

    client: Client
    tenant: str  # for messages
    endpoint: Endpoint
    state: CursorState | None  # of a former walk; None reads everything
    resume: Resume | None  # where a walk over everything was broken off
    now: datetime  # this machine's time

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Yield the walk, page by page; the last carries the state of the next walk.

        A refused cursor begins its window again, so that records may come again.

        Raises:
            StateExpired: the state cannot be read, or lies in the future.
            SourceBroke: the walk goes in circles, or its cursor is refused again and again.
            IncompleteRead: the list ended before its newest record.
        """
        before = self._before()
        windows, reaches = self._beginning(before)
        lists = [self._parallel(list(each)) for _, each in groupby(windows, attrgetter("part"))]
        page_counts: Counter[str | None] = Counter()
        last = None
        for windows_of_list in lists:
            async with aclosing(windows_of_list.steps()) as steps:
                async for page, read, after in steps:
                    part = read.window.part
                    page_counts[part] += 1
                    reach = reaches.setdefault(part, Reach.of(page.sent_at, self.now))
                    reach.note(page.records if self._is_timed else [])
                    windows = [window for each in lists for window in each.delivered]
                    if after and all(window.is_read for window in windows):
                        last = page
                        continue
                    may_resume = after and self._is_timed and before is None
                    yield _page(page, resume=_resume(windows, reaches) if may_resume else None)
        assert last is not None  # noqa: S101 - a window that is not read has a last page
        if not self._is_timed:
            yield _page(last, is_last=True)
            return
        looked = {each.reads[0].window.part: each.last for each in lists if each.last}
        reached: dict[str | None, WalkWatermark | None] = {}
        for part, reach in reaches.items():
            records = self.endpoint.list_of(part)
            if not records.has_since:
                continue
            is_look_due = before is None or page_counts[part] > 1
            newest = looked.get(part)
            if is_look_due and not (newest and reach.proves(newest)):
                newest = await self._newest(records, reach)
            if is_look_due and newest and not reach.covers(newest):
                yield _page(last, resume=self._without(part, windows, reaches))
                raise self._incomplete()
            overlap = self._overlap if is_look_due else None
            former = before[part] if before else None
            reached[part] = reach.watermark(former, proven_overlap=overlap)
        yield _page(last, is_last=True, commit=committed(reached))

    def _parallel(self, windows: list[Window]) -> ParallelWindows:
        """The windows of one list, to be read."""
        records = self.endpoint.list_of(windows[0].part)
        may_split = self._is_timed and self.endpoint.paging == "cursor" and records.has_since
        look = partial(self._last_of, records) if may_split else None
        return ParallelWindows(windows, self._window, look)

    def _before(self) -> dict[str | None, WalkWatermark] | None:
        """The watermark of each list that is read by changes; None reads everything."""
        if self.state is None or not self._is_timed:
            return None
        try:
            return {
                each.part: WalkWatermark.of_state(self.state, self.now, each.part)
                for each in self.endpoint.lists
                if each.has_since
            }
        except NotBelieved as error:
            raise StateExpired(
                f"{self.tenant}: the stored watermark of {self.endpoint.spec.name} {error}; "
                "everything is read again."
            ) from error

    def _beginning(
        self, former: dict[str | None, WalkWatermark] | None
    ) -> tuple[list[Window], dict[str | None, Reach]]:
        """The windows to read, and how far those that were read reached."""
        if former is not None:
            starts = {
                part: (before.start - self._overlap).strftime(STAMP)
                for part, before in former.items()
            }
            return [Window(since=since, part=part) for part, since in starts.items()], {}
        everything = [Window(part=each.part) for each in self.endpoint.lists]
        resume = self.resume
        if resume is None or all(window.is_read for window in resume.windows):
            return everything, {}
        parts = [each.part for each in everything]
        begun = {part: Reach.of_state(resume.state, part) for part in parts}
        reaches = {part: reach for part, reach in begun.items() if reach}
        entered = {each.part for each in resume.windows if each.is_read or each.cursor}
        chains = [chain([each for each in resume.windows if each.part == part]) for part in parts]
        if not (all(chains) and entered <= reaches.keys()):
            return everything, {}  # also of a release that read other lists
        windows = [window for each in chains for window in each]
        if len(parts) == 1:
            return windows, reaches
        return [*windows, *self._changed_since(windows, reaches)], reaches

    def _changed_since(
        self, windows: Sequence[Window], reaches: Mapping[str | None, Reach]
    ) -> list[Window]:
        """The changes in the lists that an earlier run read whole.

        A record may have moved there since, out of a list that is not read yet: an archived deal
        that somebody took up again.
        """
        unread = {window.part for window in windows if not window.is_read}
        starts = {
            part: (reach.newest or reach.limit) - self._overlap
            for part, reach in reaches.items()
            if part not in unread and self.endpoint.list_of(part).has_since
        }
        return [Window(since=at.strftime(STAMP), part=part) for part, at in starts.items()]

    def _without(
        self, part: str | None, windows: list[Window], reaches: Mapping[str | None, Reach]
    ) -> Resume | None:
        """Where to go on if one of several lists turned out not to be read whole: at its beginning.

        None for a walk over changes, and for one list: that goes on at its last page.
        """
        if self.state is not None or len(self.endpoint.lists) == 1:
            return None
        of_others = [window for window in windows if window.part != part]
        others = {each: reach for each, reach in reaches.items() if each != part}
        return _resume([Window(part=part), *of_others], others)

    async def _window(
        self, read: WindowRead
    ) -> AsyncGenerator[tuple[ListPage, Window | None], None]:
        """The pages of a window, with how far it is read after each."""
        window = read.window
        for restarts_left in reversed(range(RESTARTS_MAX + 1)):
            walked = (
                self._by_offset(window)
                if self.endpoint.paging == "offset"
                else self._once(window, read)
            )
            try:
                async with aclosing(walked):
                    async for step in walked:
                        yield step
                return
            except CursorRefused:
                if not restarts_left:
                    raise
                window = replace(window, cursor=None)
                read.forget_later_head()

    async def _once(
        self, window: Window, read: WindowRead
    ) -> AsyncGenerator[tuple[ListPage, Window | None], None]:
        """One attempt at a window; a page after which it cannot be gone on with has None."""
        records, params = self.endpoint.list_of(window.part), self._parameters(window)
        progress = WalkProgress(self.tenant, self.endpoint.spec)
        if window.cursor is not None:
            progress.cursors.add(window.cursor)
        page = await self._fetch(
            records, params | ({"cursor": window.cursor} if window.cursor else {})
        )
        if window.cursor is not None and page.is_empty:
            raise self._refused("a cursor of an earlier run leads to no record")
        while True:
            read.note(page)
            behind = await self._versions_behind(read)
            if (own := before_any(page.records, behind)) is not None:
                yield replace(page, records=own), replace(window, cursor=None, is_read=True)
                return
            if page.next_cursor is None:
                break
            progress.note(page)
            yield page, None if progress.empty_count else replace(window, cursor=page.next_cursor)
            page = await self._fetch(records, {**params, "cursor": page.next_cursor})
        if not progress.is_whole(page):
            yield page, None
            raise progress.hole()
        if behind:
            raise self._refused("the list ended before a later part of it")
        yield page, replace(window, cursor=None, is_read=True)

    async def _versions_behind(self, read: WindowRead) -> frozenset[Version]:
        """What the window behind this one begins with; empty if there is none."""
        if read.later is None:
            return frozenset()
        if read.later.head is None:  # an earlier run began it
            begin = replace(read.later.window, cursor=None)
            page = await self._fetch(self.endpoint.list_of(begin.part), self._parameters(begin))
            read.later.head = asyncio.get_running_loop().create_future()
            read.later.head.set_result(versions(page))
        return await read.later.head

    async def _by_offset(
        self, window: Window
    ) -> AsyncGenerator[tuple[ListPage, Window | None], None]:
        """One attempt at a window of a list that is paged by offset, see `offsets`."""
        records = self.endpoint.list_of(window.part)
        place = OffsetPlace(window.since)
        if window.cursor is not None:
            place = OffsetPlace.of_cursor(window.cursor, window.since)
        progress = WalkProgress(self.tenant, self.endpoint.spec)
        while True:
            page = await self._fetch_at(records, place)
            if not place.follows_on(page):
                raise self._refused("records left the list between two pages")
            if page.next_cursor is None:
                yield page, replace(window, cursor=None, is_read=True)
                return
            if page.is_empty:
                yield page, None
                raise progress.hole()
            place = place.after(page, is_timed=records.has_since)
            progress.note(replace(page, next_cursor=place.name))
            yield page, replace(window, cursor=place.cursor)

    async def _fetch_at(self, records: RecordList, place: OffsetPlace) -> ListPage:
        """One page of a list that is paged by offset; an empty one within it is requested again."""
        order = "update_time" if records.has_since else "add_time"
        params: Params = {"sort": f"{order} ASC, id ASC", "limit": PAGE_LIMIT, "start": place.start}
        if place.since is not None:
            params["updated_since"] = place.since
        for _ in range(EMPTY_PAGE_ASKED):
            page = await self._asked(f"list {self.endpoint.spec.name}", records, params)
            if not page.is_empty or (page.next_cursor is None and not place.start):
                break
        return page

    async def _newest(self, records: RecordList, reach: Reach) -> Record | None:
        """The newest record that changed before the walk began; None if none is known.

        A list that takes no end is read from its newest record on: where more than a page of them
        changed since the walk began, nothing is known.
        """
        kind = f"newest of {self.endpoint.spec.name}"
        if self.endpoint.paging == "offset":
            order: Params = {"sort": "update_time DESC, id DESC", "limit": PAGE_LIMIT}
            page = await self._asked(kind, records, order)
        else:
            limit = 1 if records.has_until else PAGE_LIMIT
            params = self._parameters(Window()) | {"sort_direction": "desc", "limit": limit}
            if records.has_until:
                params["updated_until"] = reach.limit.strftime(STAMP)
            page = await self._asked(kind, records, params)
        return next((each for each in page.records if not reach.is_later(each)), None)

    async def _last_of(self, records: RecordList) -> Record | None:
        """The last record in the source's order; without a stamp if such records are the last."""
        order = self._parameters(Window()) | {"sort_direction": "desc", "limit": 1}
        page = await self._asked(f"newest of {self.endpoint.spec.name}", records, order)
        return page.records[0] if page.records else None

    async def _fetch(self, records: RecordList, params: Params) -> ListPage:
        """One page; an empty one is requested again if a cursor leads to it or follows."""
        for _ in range(EMPTY_PAGE_ASKED):
            page = await self._asked(f"list {self.endpoint.spec.name}", records, params)
            if not page.is_empty or (page.next_cursor is None and "cursor" not in params):
                break
        return page

    async def _asked(self, kind: str, records: RecordList, params: Params) -> ListPage:
        """One answer; all parameters go with each cursor, which without them is another list's."""
        call = SourceCall(kind, records.path, records.tokens, params | dict(records.params))
        try:
            return await self.client.fetch(call, READERS[self.endpoint.paging])
        except SourceRefused as error:
            if error.status != 400 or "cursor" not in params:
                raise
            raise self._refused("the cursor of a walk was refused") from error

    @property
    def _is_timed(self) -> bool:
        return isinstance(self.endpoint.spec.read, ChangedSince)

    @property
    def _overlap(self) -> timedelta:
        cursor = self.endpoint.spec.read
        return cursor.overlap if isinstance(cursor, ChangedSince) else timedelta()

    def _parameters(self, window: Window) -> Params:
        cursor = self.endpoint.spec.read
        if self.endpoint.paging == "whole":
            return {}
        if not isinstance(cursor, ChangedSince):
            return {"limit": PAGE_LIMIT}
        params: Params = {"sort_by": cursor.column, "sort_direction": "asc", "limit": PAGE_LIMIT}
        return params if window.since is None else params | {"updated_since": window.since}

    def _refused(self, reason: str) -> CursorRefused:
        return CursorRefused(
            f"{self.tenant}: Pipedrive, list {self.endpoint.spec.name}: {reason}, also after "
            f"{RESTARTS_MAX} new beginnings. Nothing is committed; run again later."
        )

    def _incomplete(self) -> IncompleteRead:
        return IncompleteRead(
            f"{self.tenant}: Pipedrive, list {self.endpoint.spec.name}: the list ended before its "
            "newest record. Its rows are kept and its watermark stays; the next run reads the "
            "rest. If it stays so, ask Pipedrive's support."
        )


def _resume(windows: list[Window], reaches: Mapping[str | None, Reach]) -> Resume:
    state: dict[str, str | int | None] = {}
    for part, reach in reaches.items():
        state |= reach.state(part)
    return Resume((*windows,), state)


def _page(
    page: ListPage,
    *,
    is_last: bool = False,
    commit: CursorState | None = None,
    resume: Resume | None = None,
) -> Page:
    return Page(
        page.records,
        page.sent,
        page.arrived,
        is_last=is_last,
        commit=commit,
        resume=resume,
        size_bytes=page.size_bytes,
        mended_count=page.mended_count,
        misfits=page.misfits,
    )
