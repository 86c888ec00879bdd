"""Places in lists that are paged by offset, and how a walk passes through them without a gap.

A record that is edited meanwhile leaves its place and all behind it move up by one: a walk that
adds 500 to the offset misses one record. So a walk goes on by time where it can: the next page is
requested from the stamp of the last record on, which that record and its ties begin. Only where a
whole page has one stamp, or the list knows no time, the offset grows, by less than a page: the next
page must begin with a record of the last one, or the window begins again.

Source: https://pipedrive.readme.io/docs/core-api-concepts-pagination (read 2026-09).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pipedrive_pipeline.connectors.contract import Record
from pipedrive_pipeline.connectors.pipedrive.envelope import (
    STAMP,
    ListPage,
    id_of,
    stamp,
    text_of,
)

OVERLAP_ROWS = 20  # so many records may leave the list between two calls


@dataclass(frozen=True)
class OffsetPlace:
    """Where the next page begins: the offset among the records changed since a time."""

    since: str | None = None
    start: int = 0
    last_ids: frozenset[bytes] = field(default=frozenset(), compare=False)  # of the last page

    @classmethod
    def of_cursor(cls, cursor: str, since: str | None) -> OffsetPlace:
        """A place that `cursor` named; the beginning if the text is none."""
        text = cursor.partition(" ")[0]
        return cls(text) if stamp(text) else cls(since)

    @property
    def cursor(self) -> str | None:
        """By which another run goes on: a time; None for an offset, which moves meanwhile."""
        return f"{self.since} 0" if self.since and not self.start else None

    @property
    def name(self) -> str:
        """Tells this place from the walk's others."""
        return f"{self.since} {self.start}"

    def follows_on(self, page: ListPage) -> bool:
        """True unless records may lie between the last page and this one."""
        return not self.start or bool(page.records and id_of(page.records[0]) in self.last_ids)

    def after(self, page: ListPage, *, is_timed: bool) -> OffsetPlace:
        """The place behind a page that another one follows."""
        ids = frozenset(map(id_of, page.records))
        furthest = _furthest(page.records) if is_timed else None
        since = stamp(self.since) if self.since else None
        if furthest and (since is None or furthest > since):
            return OffsetPlace(furthest.strftime(STAMP), 0, ids)
        rows = len(page.records) + len(page.misfits)
        overlap = min(OVERLAP_ROWS, rows // 2)
        return OffsetPlace(self.since, self.start + max(1, rows - overlap), ids)


def _furthest(records: list[Record]) -> datetime | None:
    """The last record's stamp; None if it has none or the records are not in their order."""
    stamps = [stamp(text_of(record, "update_time")) for record in records]
    known = [at for at in stamps if at is not None]
    return stamps[-1] if stamps and known == sorted(known) else None
