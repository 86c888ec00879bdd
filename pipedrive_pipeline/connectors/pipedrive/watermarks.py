"""Up to when changes were read, and where the next walk begins.

A state has two instants. ``watermark`` is shown to people: every change up to then is in. It is the
server's `Date` on the walk's first answer; without a usable `Date` the newest stamp that was read.
``start`` is where the next walk begins, less the overlap: the newest stamp that was read. A clock
that is wrong, the server's or ours, moves it by nothing, and records that a page withheld at the
end of a list lie behind it. Neither is ever later than our own clock was when the walk began: a
`Date` or a stamp that lies ahead would hide every edit until then.

An entity that has several lists has one ``start`` for each: the newest archived deal may be years
older than the newest deal. ``watermark`` is the earliest of theirs.

A former release stored ``watermark`` alone and believed a `Date` or a stamp up to a year ahead. Of
such a state a day more is read; where it lies in the future, everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from pipedrive_pipeline.connectors.contract import CursorState, Record
from pipedrive_pipeline.connectors.pipedrive.envelope import STAMP, id_of, stamp, text_of

WATERMARK, START = "watermark", "start"
LIMIT, IS_DATED, NEWEST = "limit", "is_dated", "newest"
CLOCK_DOUBT = timedelta(minutes=15)  # by so much our clock may have been set back since
FORMER_DOUBT = timedelta(days=1)  # of a state of a former release
DATE_DOUBTED = timedelta(days=366)  # a server's clock that is behind by more is broken
SECOND = timedelta(seconds=1)


class NotBelieved(ValueError):
    """A stored state that no walk can begin at. Says why."""


@dataclass(frozen=True)
class WalkWatermark:
    """What a complete walk committed."""

    at: datetime  # every change up to then is in
    start: datetime  # the next walk begins there, less the overlap

    @classmethod
    def of_state(cls, state: CursorState, now: datetime, part: str | None = None) -> Self:
        """The watermark of one list in a stored state.

        Raises:
            NotBelieved: it cannot be read, or lies in the future.
        """
        at, start = (stamp(str(state.get(key))) for key in (WATERMARK, keyed(START, part)))
        begins_at = start or at
        if at is None or begins_at is None:
            raise NotBelieved("cannot be read")
        if begins_at > now + CLOCK_DOUBT:
            raise NotBelieved(f"is {begins_at:%Y-%m-%d %H:%M} UTC, later than this machine's clock")
        at = min(at, now)
        return cls(at, start or at - FORMER_DOUBT)


def committed(watermarks: Mapping[str | None, WalkWatermark | None]) -> CursorState | None:
    """The watermarks of a walk's lists as the engine stores them; None if no instant is known."""
    known = {part: each for part, each in watermarks.items() if each is not None}
    if not known:
        return None
    starts = {keyed(START, part): each.start.strftime(STAMP) for part, each in known.items()}
    return {WATERMARK: min(each.at for each in known.values()).strftime(STAMP), **starts}


def keyed(name: str, part: str | None) -> str:
    """The key of a list's instant in a state; the first list has no suffix."""
    return name if part is None else f"{name}_{part}"


@dataclass
class Reach:
    """How far one walk has read, by the stamps of the source."""

    limit: datetime  # no later stamp is believed: our clock or, if earlier, the first answer's Date
    is_dated: bool  # the first answer had a usable Date
    newest: datetime | None = None  # stamp that was read, not later than the limit
    newest_ids: set[bytes] | None = field(default_factory=set)  # None: some are not known

    @classmethod
    def of(cls, sent_at: datetime | None, now: datetime) -> Self:
        """Of a walk that begins now, whose first answer was sent then."""
        is_dated = sent_at is not None and now - sent_at < DATE_DOUBTED
        limit = min(now, sent_at) if sent_at and is_dated else now
        return cls(limit.replace(microsecond=0), is_dated)

    def state(self, part: str | None = None) -> CursorState:
        """For a walk that goes on later."""
        return {
            keyed(LIMIT, part): self.limit.strftime(STAMP),
            keyed(IS_DATED, part): int(self.is_dated),
            keyed(NEWEST, part): self.newest.strftime(STAMP) if self.newest else None,
        }

    @classmethod
    def of_state(cls, state: CursorState, part: str | None = None) -> Self | None:
        """Of a walk that goes on; None if this list was not begun or the state cannot be read."""
        limit = stamp(str(state.get(keyed(LIMIT, part))))
        if limit is None:
            return None
        newest = stamp(str(state.get(keyed(NEWEST, part))))
        return cls(limit, bool(state.get(keyed(IS_DATED, part))), newest, None)

    def note(self, records: Sequence[Record]) -> None:
        """Takes in the records of a page."""
        stamps = [stamp(text_of(record, "update_time")) for record in records]
        newest = max((at for at in stamps if at and at <= self.limit), default=None)
        if newest is None or (self.newest and newest < self.newest):
            return
        if newest != self.newest:
            self.newest, self.newest_ids = newest, set()
        if self.newest_ids is not None:
            pairs = zip(records, stamps, strict=True)
            self.newest_ids |= {id_of(record) for record, at in pairs if at == newest}

    def is_later(self, record: Record) -> bool:
        """True if the record changed after the walk began, so that it proves nothing."""
        at = stamp(text_of(record, "update_time"))
        return at is not None and at >= self.limit

    def covers(self, record: Record) -> bool:
        """True unless the record, changed before the limit, must have been read and was not."""
        at = stamp(text_of(record, "update_time"))
        if at is None or at >= self.limit or (self.newest and at < self.newest):
            return True
        is_known = self.newest_ids is None or id_of(record) in self.newest_ids
        return at == self.newest and is_known

    def proves(self, record: Record) -> bool:
        """True if the record, which was there when the walk began, shows that it is complete."""
        return not self.is_later(record) and self.covers(record)

    def watermark(
        self, before: WalkWatermark | None, *, proven_overlap: timedelta | None = None
    ) -> WalkWatermark | None:
        """The watermark of this walk once it is complete; None where no instant is known.

        Args:
            before: the one that the walk began with; the new one is not earlier.
            proven_overlap: of a walk that is proven to be complete, its overlap. If it read
                nothing newer than the walk before, the next walk begins behind all that it read.
        """
        at = self.limit if self.is_dated else self.newest
        if before is None:
            return WalkWatermark(at, self.newest or at) if at else None
        at, start = max(before.at, at or before.at), max(before.start, self.newest or before.start)
        if proven_overlap is not None and start == before.start:
            start = max(start, min(self.limit, start + proven_overlap + SECOND))
        return WalkWatermark(at, start)
