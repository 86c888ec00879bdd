"""Borrowed credentials: callers who wait for the same connection share one look into the vault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.scope import Scope

REFRESHES_MAX = 8  # of one process at once; a refresh may take ten seconds


class Lending:
    """Lends the credentials of all callers of this process.

    64 borrowers of an expired token occupy one thread, not 64, while the source answers.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(REFRESHES_MAX, thread_name_prefix="lending")
        self._waiting: dict[Scope, asyncio.Future[Credential]] = {}

    async def credential(self, scope: Scope, borrow: Callable[[], Credential]) -> Credential:
        """The result of ``borrow``, or of the call for this scope that is under way."""
        waiting = self._waiting.get(scope)
        if waiting is None:
            waiting = asyncio.get_running_loop().run_in_executor(self._threads, borrow)
            self._waiting[scope] = waiting
            waiting.add_done_callback(lambda _: self._waiting.pop(scope))
        return await asyncio.shield(waiting)  # a borrower who leaves does not end the others' wait
