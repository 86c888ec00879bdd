"""Walks over Pipedrive's lists: complete or an error, never quietly short.

Belongs here: order, parameters, cursors and the watermark that a complete walk may commit.
Does not belong here: HTTP (`connectors/http.py`), storing (`ingest/`).

Every walk goes by update_time, ascending, without an end: a record edited meanwhile moves ahead of
us and comes twice, never not at all. They are keyset walks without a snapshot. A walk over
everything that was broken off goes on at the stamp that its last page reached. Records without a
stamp come first or last, the contract does not say; where they come last a list from a stamp on
leaves them out, so a walk that goes on reads them from the other end before it ends. A later walk
begins at the watermark less the overlap.

A cursor names the first record of the next page, so a page that a cursor leads to, or that holds
one, is never empty. One that stays empty is gone through, for the rows behind it, and the walk ends
in an error: what it stood in for was not seen.

The watermark of the next walk is the server's `Date` on this walk's first answer: whatever was
edited before it is in the walk, whatever is edited later carries a later stamp. Our own clock is
never used. Where no usable `Date` came it is the newest stamp seen: later edits are stamped later
or equal, and equal is read.

Rests on https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from pipedrive_pipeline.connectors.answers import Ask
from pipedrive_pipeline.connectors.base import ChangedSince, CursorState, Page, Record
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.entities import PAGE_LIMIT, Endpoint
from pipedrive_pipeline.connectors.pipedrive.envelope import Listed, listed
from pipedrive_pipeline.connectors.refusals import CursorRefused, SourceRefused
from pipedrive_pipeline.errors import SourceBroke

WATERMARK = "watermark"  # the one key of a committed state
POSITION = "position"  # the one key of a place to go on from
RESTARTS_MAX = 2  # of a walk whose cursor was refused
EMPTY_PAGES_MAX = 5  # with a cursor, in one walk
EMPTY_PAGE_ASKED = 3  # times, before an empty page with or behind a cursor is a hole
STALLED_PAGES_MAX = 5  # in a row, whose last record lies no further than the furthest so far
# A server clock further from ours than this is broken, and a watermark in the far future would
# hide every edit for ever. Ours serves to doubt, never to set.
DATE_DOUBTED = timedelta(days=366)
STAMP = "%Y-%m-%dT%H:%M:%SZ"  # fractions are answered with 400

Params = dict[str, str | int]
Place = tuple[str, int]  # in a keyset walk: stamp and id


@dataclass
class _Progress:
    """What a walk has seen so far; makes endless ones end."""

    tenant: str
    kind: str
    cursors: set[str] = field(default_factory=set)
    empty_count: int = 0
    stalled_count: int = 0
    furthest: Place | None = None

    def is_whole(self, last: Listed) -> bool:
        """Whether no page was empty that must hold rows; ``last`` ends the walk."""
        must_hold_rows = self.cursors or last.next_cursor is not None
        return not self.empty_count and bool(last.records or not must_hold_rows)

    def hole(self) -> SourceBroke:
        """The error of a walk that is not whole."""
        return self._broke(f"a page that must hold rows was empty, {EMPTY_PAGE_ASKED} times asked")

    def note(self, page: Listed, place: Place | None) -> None:
        """Take in one page that promises more.

        Raises:
            SourceBroke: the walk goes in circles.
        """
        if page.next_cursor in self.cursors:
            raise self._broke("the same cursor came twice")
        self.cursors.add(page.next_cursor or "")
        self.empty_count += not page.records
        if self.empty_count > EMPTY_PAGES_MAX:
            raise self._broke(f"more than {EMPTY_PAGES_MAX} empty pages promised more")
        if place is None:
            return
        is_further = self.furthest is None or place > self.furthest
        self.stalled_count = 0 if is_further else self.stalled_count + 1
        self.furthest = place if is_further else self.furthest
        if self.stalled_count >= STALLED_PAGES_MAX:
            raise self._broke(f"{STALLED_PAGES_MAX} pages in a row led no further")

    def _broke(self, what: str) -> SourceBroke:
        return SourceBroke(
            f"{self.tenant}: Pipedrive, {self.kind}: {what}. The walk cannot be complete, so its "
            "rows are kept and its watermark stays; run again, and ask Pipedrive's support if it "
            "stays so."
        )


@dataclass(frozen=True)
class Walk:
    """One walk over one entity's list."""

    client: Client
    tenant: str  # for messages
    endpoint: Endpoint
    since: datetime | None  # the former watermark; None reads everything
    resume: datetime | None  # the stamp that a broken-off walk over everything reached
    now: datetime  # this machine's time, only to doubt a server's clock that is a year off

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the walk, page by page; the last carries the next watermark.

        A refused cursor begins the walk anew, so that records may come again.

        Raises:
            SourceBroke: the walk goes in circles, or its cursor is refused again and again.
        """
        for restarts_left in reversed(range(RESTARTS_MAX + 1)):
            try:
                async for page in self._once():
                    yield page
                return
            except CursorRefused:
                if not restarts_left:
                    raise

    async def _once(self) -> AsyncIterator[Page]:
        """One attempt at the walk, from its first page."""
        spec, params = self.endpoint.spec, _parameters(self.endpoint, self.since, self.resume)
        is_timed = isinstance(spec.cursor, ChangedSince)
        progress = _Progress(self.tenant, f"list {spec.name}")
        first = page = await self._fetch(params)
        newest = _newest(first.records)
        while page.next_cursor is not None:
            progress.note(page, _place(page) if is_timed else None)
            may_resume = is_timed and self.since is None and not progress.empty_count
            resume = _resume(newest) if may_resume else None
            yield _page(page, resume=resume)
            page = await self._fetch({**params, "cursor": page.next_cursor})
            newest = max(filter(None, (newest, _newest(page.records))), default=None)
        if self.resume is not None:
            async for unstamped in self._unstamped():
                yield unstamped
        if not progress.is_whole(page):
            yield _page(page)
            raise progress.hole()
        reached = _believable(first.sent_at, self.now) or newest
        commit = _commit(self.since, reached) if is_timed else None
        yield _page(page, is_last=True, commit=commit)

    async def _unstamped(self) -> AsyncIterator[Page]:
        """The records without a stamp, where they come last; one call where there are none."""
        params = _parameters(self.endpoint, None, None) | {"sort_direction": "desc"}
        progress = _Progress(self.tenant, f"list {self.endpoint.spec.name}")
        page = await self._fetch(params)
        while page.records and not all(_is_stamped(record) for record in page.records):
            yield _page(page)
            if page.next_cursor is None or any(_is_stamped(record) for record in page.records):
                return
            progress.note(page, None)
            page = await self._fetch({**params, "cursor": page.next_cursor})
        if not progress.is_whole(page):
            raise progress.hole()

    async def _fetch(self, params: Params) -> Listed:
        """One page; an empty one that a cursor leads to, or that promises more, is asked again."""
        for _ in range(EMPTY_PAGE_ASKED):
            page = await self._asked(params)
            if page.records or (page.next_cursor is None and "cursor" not in params):
                break
        return page

    async def _asked(self, params: Params) -> Listed:
        """One answer; all parameters go with each cursor, which without them is another list's."""
        spec = self.endpoint.spec
        ask = Ask(f"list {spec.name}", self.endpoint.path, spec.tokens_per_page, params)
        try:
            return await self.client.fetch(ask, listed)
        except SourceRefused as error:
            if error.status != 400 or "cursor" not in params:
                raise
            raise CursorRefused(
                f"{self.tenant}: Pipedrive, {ask.kind}: the cursor of a running walk was refused, "
                f"also after {RESTARTS_MAX} new beginnings. Nothing is committed; run again later."
            ) from error


def watermark(state: CursorState | None) -> datetime | None:
    """The instant in a committed state; None, which reads everything, if there is none in it."""
    return _stamp(str((state or {}).get(WATERMARK)))


def position(resume: CursorState | None) -> datetime | None:
    """The stamp that a broken-off walk reached; None begins it anew."""
    return _stamp(str((resume or {}).get(POSITION)))


def _page(
    page: Listed,
    *,
    is_last: bool = False,
    commit: CursorState | None = None,
    resume: CursorState | None = None,
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
    )


def _resume(newest: datetime | None) -> CursorState | None:
    return None if newest is None else {POSITION: newest.strftime(STAMP)}


def _parameters(endpoint: Endpoint, since: datetime | None, resume: datetime | None) -> Params:
    if endpoint.paging == "whole":
        return {}
    cursor = endpoint.spec.cursor
    if not isinstance(cursor, ChangedSince):
        return {"limit": PAGE_LIMIT}
    everything: Params = {"sort_by": cursor.column, "sort_direction": "asc", "limit": PAGE_LIMIT}
    start = since - cursor.overlap if since else resume
    return everything | ({"updated_since": start.strftime(STAMP)} if start else {})


def _commit(since: datetime | None, reached: datetime | None) -> CursorState | None:
    """The state that the next walk begins with; never before the present one."""
    latest = max(filter(None, (since, reached)), default=None)
    return None if latest is None else {WATERMARK: latest.strftime(STAMP)}


def _believable(sent_at: datetime | None, now: datetime) -> datetime | None:
    return sent_at if sent_at and abs(sent_at - now) < DATE_DOUBTED else None


def _newest(records: list[Record]) -> datetime | None:
    """The newest update_time of a page; None if no record has a readable one."""
    # As text they have the same order, and reading each took half a second of 80,000 records.
    stamps = sorted((_text(record, "update_time") for record in records), reverse=True)
    return next((stamp for text in stamps if (stamp := _stamp(text))), None)


def _place(page: Listed) -> Place | None:
    """Where the page ends in its order; None where its last record does not tell."""
    if not page.records or not _is_stamped(page.records[-1]):
        return None
    last = page.records[-1]
    try:
        record_id = int(bytes(last["id"]))
    except (KeyError, ValueError):
        return None
    return (_text(last, "update_time"), record_id)


def _is_stamped(record: Record) -> bool:
    return _stamp(_text(record, "update_time")) is not None


def _text(record: Record, key: str) -> str:
    """The text value of a key; empty if it is absent or no text."""
    raw = bytes(record.get(key, b"null"))
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else ""


def _stamp(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
