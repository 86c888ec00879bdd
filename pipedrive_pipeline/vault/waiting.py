"""The seam between a caller that waits and the connectors, which do not.

Belongs here: running one coroutine to its end, also from within a running event loop (ingest lends
from there). Does not belong here: anything that knows what it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def finished(coroutine: Coroutine[object, object, T]) -> T:
    """What the coroutine returns, or raises."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
