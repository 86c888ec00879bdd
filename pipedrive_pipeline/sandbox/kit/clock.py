"""The server's clock; tests can move it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def system_now() -> datetime:
    """The machine's time, in UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """An instant in whole seconds, ``2026-01-31T10:20:30Z``."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text: str) -> datetime:
    """The instant that a stamp names."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


class ServerClock:
    """A clock that follows the machine's with a shift, or is frozen."""

    def __init__(self, real_now: Callable[[], datetime] = system_now) -> None:
        self._real_now = real_now
        self._shift = timedelta()
        self._frozen_at: datetime | None = None
        self.stamps_shift = timedelta()  # of edit times; negative: new edits look older
        self.watchers: list[Callable[[], None]] = []  # called when the clock was moved

    def now(self) -> datetime:
        """The server's time, in UTC."""
        return self._frozen_at or self._real_now() + self._shift

    def stamp(self) -> str:
        """The server's time in whole seconds."""
        return stamp(self.now())

    def edit_stamp(self) -> str:
        """The edit time of an edit that happens now."""
        return stamp(self.now() + self.stamps_shift)

    @property
    def is_frozen(self) -> bool:
        """Whether it stops until it is moved or released."""
        return self._frozen_at is not None

    @property
    def shift_seconds(self) -> float:
        """How far the clock is ahead of the machine's; negative if it is behind."""
        return (self.now() - self._real_now()).total_seconds()

    def advance(self, seconds: float) -> None:
        """Move the clock; a negative number moves it back."""
        if self._frozen_at is not None:
            self._frozen_at += timedelta(seconds=seconds)
        else:
            self._shift += timedelta(seconds=seconds)
        self._tell()

    def set(self, at: datetime) -> None:
        """Set the clock to an instant; it continues from there unless it is frozen."""
        if self._frozen_at is not None:
            self._frozen_at = at.astimezone(UTC)
        else:
            self._shift = at.astimezone(UTC) - self._real_now()
        self._tell()

    def freeze(self) -> None:
        """Stop the clock where it is."""
        self._frozen_at = self.now()

    def thaw(self) -> None:
        """Start a frozen clock again at its current time."""
        if self._frozen_at is not None:
            at, self._frozen_at = self._frozen_at, None
            self.set(at)

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()
