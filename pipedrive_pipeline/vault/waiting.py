"""Runs one coroutine to its end from synchronous code, also within a running event loop.

The connectors are asynchronous and the vault's callers are not; `ingest/` calls `lend` from within
an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def finished(coroutine: Coroutine[object, object, T]) -> T:
    """The result of the coroutine; its exception is raised."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
