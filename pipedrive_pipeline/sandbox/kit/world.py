"""What every make-believe company has: a name, users, a clock and a history of edits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.history import History

Record = dict[str, Any]
RemoteId = int | str


class World:
    """One make-believe company. All methods may be called from any thread."""

    def __init__(
        self,
        *,
        users: Sequence[Record],
        clock: ServerClock,
        history: History,
        company_id: RemoteId,
        company_name: str,
    ) -> None:
        self.lock = RLock()
        self.users = list(users)
        self.clock, self.history = clock, history
        self.company_id: Any = company_id
        self.company_name = company_name
        self.actor_id: Any = None  # who calls the API right now

    @contextmanager
    def acting(self, user_id: Any) -> Iterator[None]:
        """Edits within the block are this user's. Needs the lock."""
        self.actor_id = user_id
        try:
            yield
        finally:
            self.actor_id = None

    @property
    def admin_id(self) -> Any:
        """The id of the first user, who consents and owns the personal token."""
        return self.users[0]["id"]

    def installers(self) -> Iterable[Record]:
        """The users who may install an app."""
        return self.users
