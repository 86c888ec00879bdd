"""Walks over Pipedrive's lists: complete or an error, never quietly short.

A walk goes by update_time, ascending, without an end: a record edited meanwhile moves ahead of the
walk and comes twice, never not at all. They are keyset walks without a snapshot. A long list is
read in windows of time by a few workers at once, see `windows`, each page by page, see
`window_walk`. Short lists without a time, such as stages and users, are read whole each time. An
interrupted walk over everything continues with the source's own cursor of the next page of each
window: an exact place in the source's own order, independent of the records' stamps.

A list may end too early. So a walk by time over everything, and one over changes that has more than
one page, is whole only if it read the newest record that changed before it began. A call asks for
that record: when a long list is first split, and otherwise, or if that record was edited meanwhile,
at the end. A walk over changes in a single page has no such call. The next one begins at the newest
stamp that it read, where the records are that its page withheld.

Deals and leads have two lists, the archived ones apart. Both belong to one walk: a record that is
on neither may be gone, one that is on the other is not.

Source: https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    CursorState,
    Page,
    Resume,
    Window,
)
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.endpoints import Endpoint
from pipedrive_pipeline.connectors.pipedrive.envelope import STAMP
from pipedrive_pipeline.connectors.pipedrive.watermarks import (
    NotBelieved,
    Reach,
    WalkWatermark,
    committed,
)
from pipedrive_pipeline.connectors.pipedrive.window_walk import WindowWalk
from pipedrive_pipeline.connectors.pipedrive.windows import ParallelWindows, chain
from pipedrive_pipeline.connectors.refusals import StateExpired
from pipedrive_pipeline.errors import IncompleteRead


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

        A window may begin again, so that its records come again.

        Raises:
            StateExpired: the state cannot be read, or lies in the future.
            SourceBroke: a window leads in circles, or does not go on at any attempt.
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
                    yield replace(page, resume=_resume(windows, reaches) if may_resume else None)
        assert last is not None  # noqa: S101 - a window that is not read has a last page
        if not self._is_timed:
            yield replace(last, is_last=True)
            return
        known = {each.reads[0].window.part: each.newest for each in lists if each.newest}
        reached: dict[str | None, WalkWatermark | None] = {}
        for part, reach in reaches.items():
            records = self.endpoint.list_of(part)
            if not records.has_since:
                continue
            is_proof_due = before is None or page_counts[part] > 1
            newest = known.get(part)
            if is_proof_due and not (newest and reach.proves(newest)):
                newest = await self._window_walk.newest_before(records, reach)
            if is_proof_due and newest and not reach.covers(newest):
                yield replace(last, resume=self._without(part, windows, reaches))
                raise self._incomplete()
            overlap = self._overlap if is_proof_due else None
            former = before[part] if before else None
            reached[part] = reach.watermark(former, proven_overlap=overlap)
        yield replace(last, is_last=True, commit=committed(reached))

    def _parallel(self, windows: list[Window]) -> ParallelWindows:
        """The windows of one list, to be read."""
        records = self.endpoint.list_of(windows[0].part)
        may_split = self._is_timed and self.endpoint.paging == "cursor" and records.has_since
        newest = partial(self._window_walk.newest, records) if may_split else None
        return ParallelWindows(windows, self._window_walk.pages, newest)

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

    @property
    def _window_walk(self) -> WindowWalk:
        return WindowWalk(self.client, self.tenant, self.endpoint)

    @property
    def _is_timed(self) -> bool:
        return isinstance(self.endpoint.spec.read, ChangedSince)

    @property
    def _overlap(self) -> timedelta:
        read = self.endpoint.spec.read
        return read.overlap if isinstance(read, ChangedSince) else timedelta()

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
