"""Walks over Pipedrive's lists: complete or an error, never quietly short.

Belongs here: order, parameters, cursors and the watermark that a complete walk may commit.
Does not belong here: HTTP (`connectors/http.py`), storing (`ingest/`).

A first walk goes by id, ascending: nothing that exists throughout is missed, nothing comes twice.
A later one goes by update_time, ascending, from the watermark less the overlap: a record edited
meanwhile moves ahead of us and comes twice. Both are keyset walks without a snapshot.

The watermark of the next walk is the server's `Date` on this walk's first answer: whatever was
edited before it is in the walk, whatever is edited later carries a later stamp. Our own clock is
never used. Where no usable `Date` came:

- by update_time, the newest stamp seen: later edits are stamped later or equal, and equal is read;
- by id, the newest stamp *of the first page*: these records existed at the first answer, so the
  server's clock stood at or after their stamps. The newest of all pages would not do: a record on
  page 1 edited while page 9 is read would lie below a still later stamp of page 10, and be lost.

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
RESTARTS_MAX = 2  # of a walk whose cursor was refused
EMPTY_PAGES_MAX = 5  # with a cursor, in one walk
EMPTY_PAGE_ASKED = 3  # times, before an empty page with a cursor is believed
STALLED_PAGES_MAX = 5  # in a row, whose last record lies no further than the furthest so far
# A server clock further from ours than this is broken, and a watermark in the far future would
# hide every edit for ever. Ours serves to doubt, never to set.
DATE_DOUBTED = timedelta(days=366)
STAMP = "%Y-%m-%dT%H:%M:%SZ"  # fractions are answered with 400

Params = dict[str, str | int]
Place = tuple[str, int]  # in a keyset walk: stamp (empty in a walk by id) and id


@dataclass
class _Progress:
    """What a walk has seen so far; makes endless ones end."""

    tenant: str
    kind: str
    cursors: set[str] = field(default_factory=set)
    empty_count: int = 0
    stalled_count: int = 0
    furthest: Place | None = None

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
            f"{self.tenant}: Pipedrive, {self.kind}: {what}. The walk cannot be complete, so "
            "nothing of it is committed; run again, and ask Pipedrive's support if it stays."
        )


@dataclass(frozen=True)
class Walk:
    """One walk over one entity's list."""

    client: Client
    tenant: str  # for messages
    endpoint: Endpoint
    since: datetime | None  # the former watermark; None reads everything
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
        spec, params = self.endpoint.spec, _parameters(self.endpoint, self.since)
        is_timed = isinstance(spec.cursor, ChangedSince)
        is_by_time = self.since is not None
        progress = _Progress(self.tenant, f"list {spec.name}")
        first = page = await self._fetch(params)
        newest = _newest(first.records)
        while page.next_cursor is not None:
            progress.note(page, _place(page, is_by_time=is_by_time) if is_timed else None)
            yield Page(page.records, mended_count=page.mended_count)
            page = await self._fetch({**params, "cursor": page.next_cursor})
            if is_by_time:
                newest = max(filter(None, (newest, _newest(page.records))), default=None)
        reached = _believable(first.sent_at, self.now) or newest
        commit = _commit(self.since, reached) if is_timed else None
        yield Page(page.records, is_last=True, commit=commit, mended_count=page.mended_count)

    async def _fetch(self, params: Params) -> Listed:
        """One page; an empty one that promises more is asked for again.

        Such a page is nowhere documented. If it stands in for rows by mistake, believing it at
        once would lose 500 of them; if it is real, refusing it would keep the tenant out for ever.
        """
        for _ in range(EMPTY_PAGE_ASKED):
            page = await self._asked(params)
            if page.records or page.next_cursor is None:
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


async def pick(client: Client, endpoint: Endpoint, ids: list[str]) -> list[Record]:
    """The records of at most 100 ids; unknown, invisible and deleted ones are absent."""
    spec = endpoint.spec
    params: Params = {"ids": ",".join(ids), "limit": PAGE_LIMIT}
    ask = Ask(f"pick {spec.name}", endpoint.path, spec.tokens_per_page, params)
    page = await client.fetch(ask, listed)
    if page.next_cursor is not None:  # what is not on this page would be taken for deleted
        raise SourceBroke(
            f"Pipedrive, {ask.kind}: an answer for {len(ids)} ids promises a page more."
        )
    return page.records


def watermark(state: CursorState | None) -> datetime | None:
    """The instant in a committed state; None, which reads everything, if there is none in it."""
    return _stamp(str((state or {}).get(WATERMARK)))


def _parameters(endpoint: Endpoint, since: datetime | None) -> Params:
    if endpoint.paging == "whole":
        return {}
    cursor = endpoint.spec.cursor
    if not isinstance(cursor, ChangedSince):
        return {"limit": PAGE_LIMIT}
    if since is None:
        return {"sort_by": "id", "sort_direction": "asc", "limit": PAGE_LIMIT}
    return {
        "updated_since": (since - cursor.overlap).strftime(STAMP),
        "sort_by": cursor.column,
        "sort_direction": "asc",
        "limit": PAGE_LIMIT,
    }


def _commit(since: datetime | None, reached: datetime | None) -> CursorState | None:
    """The state that the next walk begins with; never before the present one."""
    latest = max(filter(None, (since, reached)), default=None)
    return None if latest is None else {WATERMARK: latest.strftime(STAMP)}


def _believable(sent_at: datetime | None, now: datetime) -> datetime | None:
    return sent_at if sent_at and abs(sent_at - now) < DATE_DOUBTED else None


def _newest(records: list[Record]) -> datetime | None:
    """The newest update_time of a page; None if no record has a readable one."""
    stamps = (_text(record, "update_time") for record in records)
    newest = max((stamp for stamp in stamps if _stamp(stamp)), default="")
    return _stamp(newest)


def _place(page: Listed, *, is_by_time: bool) -> Place | None:
    """Where the page ends in its order; None where its last record does not tell."""
    if not page.records:
        return None
    last = page.records[-1]
    try:
        record_id = int(bytes(last["id"]))
    except (KeyError, ValueError):
        return None
    return (_text(last, "update_time") if is_by_time else "", record_id)


def _text(record: Record, key: str) -> str:
    """The text value of a key; empty if it is absent or no text."""
    raw = bytes(record.get(key, b"null"))
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else ""


def _stamp(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
