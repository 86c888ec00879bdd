"""The complete edit history: what happened to which record, when, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

Record = dict[str, Any]
Action = Literal["create", "change", "delete", "restore", "merge", "plant", "rights"]


@dataclass(frozen=True)
class LoggedEdit:
    """One thing that happened."""

    number: int  # from 1, without gaps
    at: str  # the server's clock
    entity: str  # the kind of what changed
    key: int | str  # its id or code
    action: Action
    before: Record | None
    after: Record | None
    by: str  # api, bulk, conversion, merge or test
    merged_into: int | None = None
    merged_from: int | None = None
    user_id: Any = None  # who did it through the API; None: nobody in particular


class History:
    """All edits since the account was seeded, oldest first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._edits: list[LoggedEdit] = []
        self._of_record: dict[tuple[str, int | str], list[int]] = {}
        self.watchers: list[Callable[[LoggedEdit], None]] = []  # called after each edit

    def __iter__(self) -> Iterator[LoggedEdit]:
        return iter(tuple(self._edits))

    def __len__(self) -> int:
        return len(self._edits)

    def add(
        self,
        action: Action,
        entity: str,
        key: int | str,
        *,
        at: str,
        before: Record | None,
        after: Record | None,
        by: str,
        **more: Any,
    ) -> LoggedEdit:
        """Log one edit; ``more`` are the further facts of `LoggedEdit`."""
        with self._lock:
            number = len(self._edits) + 1
            edit = LoggedEdit(number, at, entity, key, action, before, after, by, **more)
            self._edits.append(edit)
            self._of_record.setdefault((entity, key), []).append(number)
        for watcher in list(self.watchers):
            watcher(edit)
        return edit

    def after(self, number: int) -> list[LoggedEdit]:
        """The edits behind a number."""
        return self._edits[number:]

    def last(self, count: int) -> list[LoggedEdit]:
        """The newest edits, oldest first."""
        return self._edits[-count:]

    def of(self, entity: str, key: int | str) -> list[LoggedEdit]:
        """What happened to one record, oldest first."""
        return [self._edits[n - 1] for n in self._of_record.get((entity, key), ())]

    def state_at(
        self, entity: str, row_id: int | str, number: int, now: Record | None
    ) -> Record | None:
        """What a record was right after an edit; ``now`` is what it is today."""
        for edit in self.of(entity, row_id):
            if edit.number > number:
                return edit.before
        return now
