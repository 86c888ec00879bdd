"""Waits until other processes reach a condition, and finds free ports."""

from __future__ import annotations

import time
from collections.abc import Callable
from socket import socket

SHOWN = 4_000  # characters of a log, its last ones


def wait_until(
    is_true: Callable[[], bool],
    seconds: float,
    why: Callable[[], str] = lambda: "",
    *,
    every_seconds: float = 0.3,
) -> float:
    """Returns once it is true, with the seconds it took; says why not, if they are too many."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() < began + seconds, f"not within {seconds:.0f} s {why()[-SHOWN:]}"
        time.sleep(every_seconds)
    return time.monotonic() - began


def free_port() -> int:
    """A port that nothing listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
