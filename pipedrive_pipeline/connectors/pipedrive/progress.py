"""How a walk shows that it leads somewhere, so that an endless one ends.

A page leads further if its last record is stamped later than any page's last one before it, or if
it holds a record that has not come since. Ties may come in any order and fill any number of pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pipedrive_pipeline.connectors.contract import Entity, Record
from pipedrive_pipeline.connectors.pipedrive.envelope import (
    ListPage,
    Version,
    stamp,
    text_of,
    version,
)
from pipedrive_pipeline.errors import SourceBroke

EMPTY_PAGES_MAX = 5  # with a cursor, in one walk
EMPTY_PAGE_ASKED = 3  # times, before an empty page with or behind a cursor is a hole
STALLED_PAGES_MAX = 5  # in a row, of records that came before


@dataclass
class WalkProgress:
    """The pages of one walk so far."""

    tenant: str  # for messages
    entity: Entity
    cursors: set[str] = field(default_factory=set)
    empty_count: int = 0
    stalled_count: int = 0
    furthest: datetime | None = None
    versions: set[Version] = field(default_factory=set)  # of records, since the furthest stamp

    def note(self, page: ListPage) -> None:
        """Takes in one page that promises more.

        Raises:
            SourceBroke: the walk goes in circles.
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
        """True unless a page was empty that must hold rows; ``last`` ends the walk."""
        must_hold_rows = self.cursors or last.next_cursor is not None
        return not self.empty_count and not (last.is_empty and must_hold_rows)

    def hole(self) -> SourceBroke:
        """The error of a walk that is not whole."""
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
