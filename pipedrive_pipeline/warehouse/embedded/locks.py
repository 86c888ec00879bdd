"""Two `flock` file locks next to the data directory: one for starting, one of the running server.

Process ids are not used: a number in a file may belong to another process by now. The kernel
releases a lock when its last owner ends, however that ends and in any container.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.02


class Unavailable(Exception):
    """The lock was not free within the time allowed. Caught in this package, never shown."""


@contextmanager
def hold(
    path: Path, *, within_seconds: float, unless: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """Takes the lock at ``path`` for the block; yields its file descriptor, for a child to inherit.

    Args:
        path: a file; created if absent, refused if it is a link.
        within_seconds: how long to wait.
        unless: called while waiting; True ends the wait.

    Raises:
        Unavailable: the lock was not free in time, or ``unless`` returned True.
    """
    descriptor = _taken(path, time.monotonic() + within_seconds, unless)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_free(path: Path) -> bool:
    """True if the lock at ``path`` is free now."""
    try:
        with hold(path, within_seconds=0):
            return True
    except Unavailable:
        return False


def _taken(path: Path, deadline: float, unless: Callable[[], bool]) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if _locked(descriptor) and _still_there(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if unless() or time.monotonic() >= deadline:
            raise Unavailable(path)
        time.sleep(POLL_SECONDS)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_there(path: Path, descriptor: int) -> bool:
    # The folder may be removed and recreated while we wait: a lock on the old file is useless.
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
