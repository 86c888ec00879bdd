"""A warehouse whose connection is used again by the next transaction, for runs.

A run makes a hundred transactions one after the other. To connect takes 5 ms of processor time on a
local socket, and several round trips to a server elsewhere. `pool.py` is for servers: it has
threads of its own, and its callers wait for a free connection.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from pipedrive_pipeline.warehouse.database import Warehouse

IDLE_MAX = 1  # a run's parallel work connects for itself: Postgres allows 100 sessions by default
IDLE_SECONDS_MAX = 30  # a firewall may forget an idle connection without a word to either side


@dataclass(frozen=True)
class ReusingWarehouse(Warehouse):
    """One database; a transaction takes over the connection of the one before."""

    idle: list[tuple[psycopg.Connection, float]] = field(repr=False, compare=False)  # since when

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """A connection with our time limits; committed at the end, closed after an error.

        Raises:
            Contended, DatabaseUnavailable, DiskFull: as with any warehouse.
        """
        if autocommit:  # what needs it keeps session state: a lock, a setting
            with super().connect(autocommit=True) as connection:
                yield connection
            return
        idle = self._take()
        connection = idle or self.opened()
        with self.troubles_named():
            try:
                yield connection
                connection.commit()
            except BaseException:
                with suppress(psycopg.Error):
                    connection.rollback()
                connection.close()
                raise
        self._give(connection)

    def _take(self) -> psycopg.Connection | None:
        """An idle connection that the server has not closed."""
        while True:
            try:
                connection, since = self.idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < IDLE_SECONDS_MAX and not _has_input(connection):
                return connection
            connection.close()

    def _give(self, connection: psycopg.Connection) -> None:
        if connection.closed or len(self.idle) >= IDLE_MAX:
            connection.close()
            return
        # A prepared query fails after a change of its tables, such as a new column of raw.
        connection.prepare_threshold = None
        self.idle.append((connection, time.monotonic()))


@contextmanager
def reusing(warehouse: Warehouse) -> Iterator[Warehouse]:
    """The same warehouse; what it keeps open is closed at the end of the block."""
    if type(warehouse) is not Warehouse:  # its connections are kept already
        yield warehouse
        return
    idle: list[tuple[psycopg.Connection, float]] = []
    try:
        yield ReusingWarehouse(warehouse.url, idle, fence=warehouse.fence)
    finally:
        for connection, _since in idle:
            connection.close()


def _has_input(connection: psycopg.Connection) -> bool:
    """True if the server spoke although nothing was asked: mostly it has closed the connection."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
