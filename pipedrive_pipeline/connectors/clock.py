"""Time and randomness, passed in to all code that waits, measures time or adds jitter.

A watermark comes from the source's clock; this clock is only its upper bound.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """This machine's time. Tests pass one that needs no waiting."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic_seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = secrets.SystemRandom().random  # 0 to 1


SYSTEM_CLOCK = Clock()
