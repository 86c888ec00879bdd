"""Points at which a process may be killed: before and after each renamed file and each HTTP call.

Statements to Postgres are counted on the wire instead (`postgres_proxy.py`).
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx

Kind = Literal["rename", "call"]
Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Point:
    """The ``number``-th of a kind, from 1, and what the process does to itself there."""

    kind: Kind
    number: int
    moment: Moment = "before"
    signal: int = signal.SIGKILL


def watch(at: Point | None) -> Counter[str]:
    """Counts from now on, in this process, for good; the counter is what it has passed."""
    passed: Counter[str] = Counter()
    lock = threading.Lock()

    def reach(kind: Kind) -> Callable[[Moment], None]:
        with lock:
            passed[kind] += 1
            number = passed[kind]

        def signal_at(moment: Moment) -> None:
            if at and (at.kind, at.number, at.moment) == (kind, number, moment):
                os.kill(os.getpid(), at.signal)

        return signal_at

    for name in ("rename", "replace"):
        setattr(os, name, _renaming(getattr(os, name), reach))
    httpx.AsyncClient.send = _sending(httpx.AsyncClient.send, reach)  # type: ignore[method-assign]
    return passed


def _renaming(act: Callable[..., None], reach: Callable[[Kind], Any]) -> Callable[..., None]:
    def rename(*arguments: Any, **more: Any) -> None:
        point = reach("rename")
        point("before")
        act(*arguments, **more)
        point("after")

    return rename


def _sending(act: Callable[..., Any], reach: Callable[[Kind], Any]) -> Any:
    async def send(*arguments: Any, **more: Any) -> Any:
        point = reach("call")
        point("before")
        answer = await act(*arguments, **more)
        point("after")
        return answer

    return send
