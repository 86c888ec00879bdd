"""One window of a list, page by page: its requests, its restarts, and where it ends.

A window begins again where its list does not go on as it must: the source refuses its own cursor,
or has nothing behind it any more; records left a list that is paged by offset between two pages; or
the list ended before a part of it that another worker reads.

A cursor names the first record of the next page, so a page that a cursor leads to, or that holds
one, is never empty. One that stays empty is gone through, for the rows behind it, and the walk ends
in an error: the rows that belong there were not read.

A page leads further if its last record is stamped later than any page's last one before it, or if
it holds a record that has not come since. Ties may come in any order and fill any number of pages.

Source: https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipedrive_pipeline.connectors.answers import SourceCall
from pipedrive_pipeline.connectors.contract import ChangedSince, Entity, Record, Window
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.endpoints import PAGE_LIMIT, Endpoint, RecordList
from pipedrive_pipeline.connectors.pipedrive.envelope import (
    READERS,
    STAMP,
    ListPage,
    Version,
    stamp,
    text_of,
    version,
)
from pipedrive_pipeline.connectors.pipedrive.offsets import OffsetPlace
from pipedrive_pipeline.connectors.pipedrive.watermarks import Reach
from pipedrive_pipeline.connectors.pipedrive.windows import WindowRead, before_any, versions
from pipedrive_pipeline.connectors.refusals import CursorRefused, SourceRefused
from pipedrive_pipeline.errors import SourceBroke

ATTEMPTS_MAX = 3  # at a window
EMPTY_PAGES_MAX = 5  # with a cursor, in one attempt
EMPTY_PAGE_ASKED = 3  # times, before an empty page with or behind a cursor is a hole
STALLED_PAGES_MAX = 5  # in a row, of records that came before

Params = dict[str, str | int]


@dataclass(frozen=True)
class WindowWalk:
    """Walks through single windows of an entity's lists."""

    client: Client
    tenant: str  # for messages
    endpoint: Endpoint

    async def pages(self, read: WindowRead) -> AsyncGenerator[tuple[ListPage, Window | None], None]:
        """Yields the pages of a window, with how far it is read after each.

        Where the window begins again, its records come again.

        Raises:
            CursorRefused: its list did not go on at any of the attempts.
            SourceBroke: it leads in circles, or a page that must hold rows stays empty.
        """
        window = read.window
        for attempts_left in reversed(range(ATTEMPTS_MAX)):
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
                if not attempts_left:
                    raise
                window = replace(window, cursor=None)
                read.forget_later_head()

    async def _once(
        self, window: Window, read: WindowRead
    ) -> AsyncGenerator[tuple[ListPage, Window | None], None]:
        """One attempt at a window; a page after which it cannot be gone on with has None."""
        records, params = self.endpoint.list_of(window.part), self._parameters(window)
        cursors = set() if window.cursor is None else {window.cursor}
        attempt = WindowAttempt(self.tenant, self.endpoint.spec, cursors)
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
            attempt.note(page)
            yield page, None if attempt.empty_count else replace(window, cursor=page.next_cursor)
            page = await self._fetch(records, {**params, "cursor": page.next_cursor})
        if not attempt.is_whole(page):
            yield page, None
            raise attempt.hole()
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
        attempt = WindowAttempt(self.tenant, self.endpoint.spec)
        while True:
            page = await self._fetch_at(records, place)
            if not place.follows_on(page):
                raise self._refused("records left the list between two pages")
            if page.next_cursor is None:
                yield page, replace(window, cursor=None, is_read=True)
                return
            if page.is_empty:
                yield page, None
                raise attempt.hole()
            place = place.after(page, is_timed=records.has_since)
            attempt.note(replace(page, next_cursor=place.name))
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

    async def newest_before(self, records: RecordList, reach: Reach) -> Record | None:
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

    async def newest(self, records: RecordList) -> Record | None:
        """The newest record in the source's order: one without a stamp if such are the last."""
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

    def _parameters(self, window: Window) -> Params:
        read = self.endpoint.spec.read
        if self.endpoint.paging == "whole":
            return {}
        if not isinstance(read, ChangedSince):
            return {"limit": PAGE_LIMIT}
        params: Params = {"sort_by": read.column, "sort_direction": "asc", "limit": PAGE_LIMIT}
        return params if window.since is None else params | {"updated_since": window.since}

    def _refused(self, reason: str) -> CursorRefused:
        return CursorRefused(
            f"{self.tenant}: Pipedrive, list {self.endpoint.spec.name}: {reason}, in the last "
            f"of {ATTEMPTS_MAX} attempts. What was read is kept; the next run reads the rest."
        )


@dataclass
class WindowAttempt:
    """The pages of one attempt at a window so far; ends an endless one."""

    tenant: str  # for messages
    entity: Entity
    cursors: set[str] = field(default_factory=set)  # that led to its pages, or will
    empty_count: int = 0
    stalled_count: int = 0
    furthest: datetime | None = None
    versions: set[Version] = field(default_factory=set)  # of records, since the furthest stamp

    def note(self, page: ListPage) -> None:
        """Takes in one page that promises more.

        Raises:
            SourceBroke: the window leads in circles.
        """
        if page.next_cursor in self.cursors:
            raise self._broke("the same cursor came twice")
        self.cursors.add(page.next_cursor or "")
        self.empty_count += page.is_empty
        if self.empty_count > EMPTY_PAGES_MAX:
            raise self._broke(f"more than {EMPTY_PAGES_MAX} empty pages promised more")
        if not page.records:
            return
        self.stalled_count = 0 if self._is_further(page.records) else self.stalled_count + 1
        if self.stalled_count >= STALLED_PAGES_MAX:
            raise self._broke(f"{STALLED_PAGES_MAX} pages in a row held only what came before")

    def is_whole(self, last: ListPage) -> bool:
        """True unless a page was empty that must hold rows; ``last`` ends the window."""
        must_hold_rows = self.cursors or last.next_cursor is not None
        return not self.empty_count and not (last.is_empty and must_hold_rows)

    def hole(self) -> SourceBroke:
        """The error of a window that is not whole."""
        return self._broke(f"a page that must hold rows was empty, {EMPTY_PAGE_ASKED} times asked")

    def _is_further(self, records: list[Record]) -> bool:
        column = self.entity.version_column
        at = stamp(text_of(records[-1], column)) if column else None
        if at is not None and (self.furthest is None or at > self.furthest):
            self.furthest, self.versions = at, set()
            return True
        count_before = len(self.versions)
        self.versions |= {version(record, self.entity.key.name) for record in records}
        return len(self.versions) > count_before

    def _broke(self, reason: str) -> SourceBroke:
        return SourceBroke(
            f"{self.tenant}: Pipedrive, list {self.entity.name}: {reason}. The walk cannot be "
            "complete, so its rows are kept and its watermark stays; run again, and ask "
            "Pipedrive's support if it stays so."
        )
