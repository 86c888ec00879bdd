"""Walks over Pipedrive's lists: complete or an error, never quietly short.

Every walk goes by update_time, ascending, without an end: a record edited meanwhile moves ahead of
the walk and comes twice, never not at all. They are keyset walks without a snapshot. An
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

Source: https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipedrive_pipeline.connectors.answers import ReadCall
from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    CursorState,
    Page,
    Record,
    RecordStatus,
    Resume,
    Window,
)
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.endpoints import GET_TOKENS, PAGE_LIMIT, Endpoint
from pipedrive_pipeline.connectors.pipedrive.envelope import ListPage, listed, single, whole
from pipedrive_pipeline.connectors.pipedrive.progress import EMPTY_PAGE_ASKED, WalkProgress
from pipedrive_pipeline.connectors.pipedrive.watermarks import (
    STAMP,
    NotBelieved,
    Reach,
    WalkWatermark,
)
from pipedrive_pipeline.connectors.refusals import CursorRefused, SourceRefused, StateExpired
from pipedrive_pipeline.errors import IncompleteRead, SourceBroke

RESTARTS_MAX = 2  # of a window whose cursor was refused
EVERYTHING = (Window(),)

Params = dict[str, str | int]


@dataclass(frozen=True)
class ListWalk:
    """One walk over one entity's list."""

    client: Client
    tenant: str  # for messages
    endpoint: Endpoint
    state: CursorState | None  # of a former walk; None reads everything
    resume: Resume | None  # where a walk over everything was broken off
    now: datetime  # this machine's time

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the walk, page by page; the last carries the state of the next walk.

        A refused cursor begins its window again, so that records may come again.

        Raises:
            StateExpired: the state cannot be read, or lies in the future.
            SourceBroke: the walk goes in circles, or its cursor is refused again and again.
            IncompleteRead: the list ended before its newest record.
        """
        before = self._before()
        windows, reach = self._beginning(before)
        page_count = 0
        last = None
        for index, window in enumerate(windows):
            async for page, after in self._window(window):
                page_count += 1
                reach = reach or Reach.of(page.sent_at, self.now)
                reach.note(page.records if self._is_timed else [])
                windows[index] = after or windows[index]
                if after and all(each.is_read for each in windows):
                    last = page
                    continue
                may_resume = after and self._is_timed and before is None
                yield _page(page, resume=Resume((*windows,), reach.state) if may_resume else None)
        assert last is not None  # noqa: S101 - a window that is not read has a last page
        assert reach is not None  # noqa: S101
        if not self._is_timed:
            yield _page(last, is_last=True)
            return
        is_look_due = before is None or page_count > 1
        if is_look_due and (newest := await self._newest(reach)) and not reach.covers(newest):
            yield _page(last)
            raise self._incomplete()
        overlap = self._overlap if is_look_due else None
        reached = reach.watermark(before, proven_overlap=overlap)
        yield _page(last, is_last=True, commit=reached.state if reached else None)

    def _before(self) -> WalkWatermark | None:
        if self.state is None or not self._is_timed:
            return None
        try:
            return WalkWatermark.of_state(self.state, self.now)
        except NotBelieved as error:
            raise StateExpired(
                f"{self.tenant}: the stored watermark of {self.endpoint.spec.name} {error}; "
                "everything is read again."
            ) from error

    def _beginning(self, before: WalkWatermark | None) -> tuple[list[Window], Reach | None]:
        """The windows to read, and how far those that were read reached."""
        if before is not None:
            return [Window(since=(before.start - self._overlap).strftime(STAMP))], None
        reach = Reach.of_state(self.resume.state) if self.resume else None
        if self.resume and reach and not all(window.is_read for window in self.resume.windows):
            return [*self.resume.windows], reach
        return [*EVERYTHING], None

    async def _window(self, window: Window) -> AsyncIterator[tuple[ListPage, Window | None]]:
        """The pages of a window, with how far it is read after each; none of one that is read."""
        if window.is_read:
            return
        for restarts_left in reversed(range(RESTARTS_MAX + 1)):
            try:
                async for step in self._once(window):
                    yield step
                return
            except CursorRefused:
                if not restarts_left:
                    raise
                window = replace(window, cursor=None)

    async def _once(self, window: Window) -> AsyncIterator[tuple[ListPage, Window | None]]:
        """One attempt at a window; a page after which it cannot be gone on with has None."""
        params = self._parameters(window)
        progress = WalkProgress(self.tenant, self.endpoint.spec)
        if window.cursor is not None:
            progress.cursors.add(window.cursor)
        page = await self._fetch(params | ({"cursor": window.cursor} if window.cursor else {}))
        if window.cursor is not None and page.is_empty:
            raise self._refused("a cursor of an earlier run leads to no record")
        while page.next_cursor is not None:
            progress.note(page)
            yield page, None if progress.empty_count else replace(window, cursor=page.next_cursor)
            page = await self._fetch({**params, "cursor": page.next_cursor})
        if not progress.is_whole(page):
            yield page, None
            raise progress.hole()
        yield page, replace(window, cursor=None, is_read=True)

    async def _newest(self, reach: Reach) -> Record | None:
        """The newest record that changed before the walk began; None if there is none."""
        until = Window(until=reach.limit.strftime(STAMP))
        params = self._parameters(until) | {"sort_direction": "desc", "limit": 1}
        page = await self._asked(f"newest of {self.endpoint.spec.name}", params)
        return page.records[0] if page.records else None

    async def _fetch(self, params: Params) -> ListPage:
        """One page; an empty one is requested again if a cursor leads to it or follows."""
        for _ in range(EMPTY_PAGE_ASKED):
            page = await self._asked(f"list {self.endpoint.spec.name}", params)
            if not page.is_empty or (page.next_cursor is None and "cursor" not in params):
                break
        return page

    async def _asked(self, kind: str, params: Params) -> ListPage:
        """One answer; all parameters go with each cursor, which without them is another list's."""
        call = ReadCall(kind, self.endpoint.path, self.endpoint.spec.cost.tokens_per_page, params)
        try:
            return await self.client.fetch(
                call, listed if self.endpoint.paging == "cursor" else whole
            )
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
        bounds = {"updated_since": window.since, "updated_until": window.until}
        return params | {name: bound for name, bound in bounds.items() if bound is not None}

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


async def pick(client: Client, endpoint: Endpoint, ids: list[str]) -> list[Page]:
    """The answers with the records of at most 100 ids; unknown and invisible ones are absent.

    If a page holds fewer records than requested, the next page is read: a record that is not read
    would be taken for deleted.

    Raises:
        SourceBroke: there are more pages than ids.
    """
    spec = endpoint.spec
    params: Params = {"ids": ",".join(ids), "limit": PAGE_LIMIT}
    pages: list[Page] = []
    for _ in ids:
        call = ReadCall(f"pick {spec.name}", endpoint.path, spec.cost.tokens_per_page, params)
        page = await client.fetch(call, listed)
        pages.append(Page(page.records, page.sent, page.arrived, misfits=page.misfits))
        if page.next_cursor is None:
            return pages
        params = {**params, "cursor": page.next_cursor}
    raise SourceBroke(
        f"Pipedrive, pick {spec.name}: an answer for {len(ids)} ids does not end; run again."
    )


async def record_status(client: Client, endpoint: Endpoint, record_id: str) -> RecordStatus:
    """What became of a record that lists no longer hold."""
    call = ReadCall(f"get {endpoint.spec.name}", f"{endpoint.path}/{record_id}", GET_TOKENS, {})
    try:
        record = await client.fetch(call, single)
    except SourceRefused as error:
        if error.status not in {403, 404}:
            raise
        return "invisible" if error.status == 403 else "deleted"
    return "deleted" if bytes(record.get("is_deleted", b"false")) == b"true" else "live"
