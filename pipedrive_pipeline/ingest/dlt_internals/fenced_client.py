"""The connections of a load: kept for its next job, and of no use to a run that is superseded."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from psycopg2 import extensions

from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import CONNECT_TIMEOUT_SECONDS
from pipedrive_pipeline.warehouse.fences import Fence


class IdleConnections:
    """The idle connections of one run's loads: dlt opens one for each job, 26 for a load."""

    def __init__(self) -> None:
        self._idle: list[tuple[str, psycopg2.extensions.connection]] = []

    def taken(self, search_path: str) -> psycopg2.extensions.connection | None:
        """An idle connection with this search path that the server has not closed."""
        while self._idle:
            try:
                path, connection = self._idle.pop()
            except IndexError:  # another job was quicker
                break
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if path == search_path and not poll.poll(0):
                return connection
            connection.close()
        return None

    def give(self, connection: psycopg2.extensions.connection, search_path: str) -> bool:
        """Keeps a connection that is in no transaction; True if it was kept."""
        is_idle = not connection.closed and (
            connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
        )
        if is_idle:
            self._idle.append((search_path, connection))
        return is_idle

    def close(self) -> None:
        """Closes all of them."""
        while self._idle:
            self._idle.pop()[1].close()


class FencedSqlClient(Psycopg2SqlClient):
    """A session in which every statement runs in a transaction that holds the run's fence.

    dlt truncates, merges and completes a load in transactions of their own. Any of them, made by a
    run that was stopped amid a load and woke up after the next one began, would spoil that one's.
    """

    url: str = ""
    fence: Fence | None = None
    idle: IdleConnections | None = None  # None: each connection is closed after use

    def open_connection(self) -> psycopg2.extensions.connection:
        """A connection with our settings; dlt's own needs `options`, which PgBouncer refuses."""
        kept = self.idle.taken(self._search_path) if self.idle else None
        if kept:
            self._conn = kept
            return kept
        # dlt's reading of the URL would take the blanks at the ends of a password away.
        self._conn = psycopg2.connect(
            self.url,
            client_encoding=sessions.CLIENT_ENCODING,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        self._reset_connection()
        return self._conn

    def close_connection(self) -> None:
        """Gives the connection back for the next job of this run, unless it is broken."""
        if self._conn and self.idle and self.idle.give(self._conn, self._search_path):
            self._conn = None
        else:
            super().close_connection()

    @property
    def _search_path(self) -> str:
        return f"{self.fully_qualified_dataset_name()}, public"

    def _reset_connection(self) -> None:
        super()._reset_connection()  # which resets every setting
        path = self._search_path
        with self._conn.cursor() as cursor:
            cursor.execute(
                sessions.statement(
                    self._conn.server_version,
                    lock_timeout=f"{sessions.LOAD_LOCK_SECONDS}s",
                    search_path=path,
                )
            )

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """A transaction that counts while this run is current.

        Raises:
            Superseded: this run may not write any more.
        """
        with super().begin_transaction() as transaction:
            if self.fence:
                with self.native_connection.cursor() as cursor:
                    self.fence.hold(cursor)
            yield transaction

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As dlt's, in a transaction of its own if there is none."""
        if not self.native_connection.autocommit:
            with super().execute_query(query, *args, **kwargs) as cursor:
                yield cursor
            return
        with self.begin_transaction(), super().execute_query(query, *args, **kwargs) as cursor:
            yield cursor
