"""Ends the servers of an `up` that died without ending them itself.

A program of its own, with nothing but the standard library: `up` starts it and keeps the other end
of its standard input. Each line there is a process group: "+123" was started, "-123" has ended. The
input ends with `up`, however that ends: by kill -9, by a closed terminal, or in good order.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 10.0


def main() -> None:
    """Waits for the end of `up`, then ends the groups that are left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        sign, group = line[0], int(line[1:])
        if sign == "+":
            groups.add(group)
        else:
            groups.discard(group)
    _signal_all(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while _signal_all(groups, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal_all(groups, signal.SIGKILL)


def _signal_all(groups: Iterable[int], number: int) -> int:
    """Sends a signal to each group; returns how many groups still had a process."""
    alive = 0
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            continue
        alive += 1
    return alive


if __name__ == "__main__":
    main()
