"""A warehouse whose connections are kept open between transactions, for servers.

Every setting of a transaction is local to it, so that a connection is returned unchanged: the
tenant and the role of one request never reach the next.
Source: https://www.psycopg.org/psycopg3/docs/advanced/pool.html.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg_pool import ConnectionPool

from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import CONNECTION_ARGUMENTS, Warehouse

CONNECTIONS_MAX = 10  # Postgres's default is 100 for all; two cores are busy with 4
WAIT_SECONDS = 5  # for a free connection; then the answer is 503
IDLE_SECONDS = 60  # a connection beyond the first that nobody used is closed
STATEMENT_TIMEOUT_MILLISECONDS = 15_000  # the client has given up by then


@dataclass(frozen=True)
class PooledWarehouse(Warehouse):
    """One database through a connection pool; the caller opens and closes the pool."""

    pool: ConnectionPool[psycopg.Connection] = field(repr=False, compare=False)

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """A connection of the pool; committed at the end, rolled back on an error.

        Raises:
            Contended: a lock was not had in time, or a deadlock was resolved against us.
            DatabaseUnavailable: Postgres cannot be reached, is too slow, or ended the session.
        """
        if autocommit:  # what needs it keeps session state: a lock, a setting
            with super().connect(autocommit=True) as connection:
                yield connection
            return
        with self.troubles_named(), self.pool.connection() as connection:
            yield connection


def pooled(warehouse: Warehouse) -> PooledWarehouse:
    """The same warehouse through a pool that is not open yet."""
    pool = ConnectionPool(
        warehouse.url,
        kwargs=CONNECTION_ARGUMENTS,
        min_size=1,
        max_size=CONNECTIONS_MAX,
        timeout=WAIT_SECONDS,
        max_idle=IDLE_SECONDS,
        configure=_configure,
        check=_check,
        open=False,
    )
    return PooledWarehouse(warehouse.url, pool)


def _check(connection: psycopg.Connection) -> None:
    """Returns if the server has not closed the connection; it may have been restarted meanwhile.

    A server that closes a connection sends a message, so there is something to read although no
    query was sent. This check takes 2 µs, a query 60 µs.

    Raises:
        psycopg.OperationalError: it is gone; the pool makes another connection.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)


def _configure(connection: psycopg.Connection) -> None:
    sessions.set_up(connection, statement_timeout=str(STATEMENT_TIMEOUT_MILLISECONDS))
