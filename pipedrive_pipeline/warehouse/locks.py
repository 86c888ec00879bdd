"""Locks that live as long as a session's transaction and that no other login can take.

A lock is a view in a schema that only its owner may use, locked by `lock table`. A session that
keeps a lock for hours has no snapshot and no transaction id, so it does not stop vacuum.
Source: https://www.postgresql.org/docs/current/sql-lock.html (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg import errors, sql

SCHEMA: Final = "pipeline_locks"
MIGRATION: Final = "migration"
FIRST_WITH_TRANSACTION_TIMEOUT: Final = 170_000  # a server version


def prepare(connection: psycopg.Connection, name: str) -> None:
    """Creates the lock if it does not exist; safe for concurrent sessions."""
    row = connection.execute("select to_regclass(%s)", [f'{SCHEMA}."{name}"']).fetchone()
    if row and row[0] is None:
        with (
            suppress(errors.DuplicateTable, errors.UniqueViolation),
            connection.transaction(),
        ):
            connection.execute(
                sql.SQL("create view {} as select true as is_lock").format(_of(name))
            )


def take(
    connection: psycopg.Connection,
    name: str,
    *,
    wait_seconds: float | None = None,
    is_shared: bool = False,
) -> None:
    """Takes a lock until the connection's transaction ends.

    Args:
        connection: in a transaction.
        name: of a lock that exists.
        wait_seconds: how long another holder is waited for; 0 is not at all, None the connection's
            own `lock_timeout`.
        is_shared: whether others may hold it at the same time, also shared.

    Raises:
        psycopg.errors.LockNotAvailable: another session holds it.
        psycopg.errors.UndefinedTable: it does not exist, or was dropped meanwhile.
    """
    if wait_seconds:
        connection.execute(
            "select set_config('lock_timeout', %s, true)", [f"{wait_seconds * 1000:.0f}ms"]
        )
    connection.execute(
        sql.SQL("lock table {} in {} mode {}").format(
            _of(name),
            sql.SQL("share" if is_shared else "exclusive"),
            sql.SQL("nowait" if wait_seconds == 0 else ""),
        )
    )


@contextmanager
def lasting(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction that may hold locks for hours, on an autocommit connection.

    No time limit of the server or the role ends it while it is idle.
    """
    connection.execute("begin isolation level read committed")
    connection.execute("set local idle_in_transaction_session_timeout = 0")
    if connection.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
        connection.execute("set local transaction_timeout = 0")
    try:
        yield
    finally:
        # A closed session's locks last until its server process has noticed, milliseconds in which
        # the next run would be refused.
        with suppress(psycopg.Error):
            connection.execute("commit")


def taken(connection: psycopg.Connection) -> frozenset[str]:
    """The names of the locks that sessions of this database hold exclusively."""
    rows = connection.execute(
        """
        select pg_class.relname
        from pg_catalog.pg_locks
        inner join pg_catalog.pg_class
            on pg_class.oid = pg_locks.relation
        where pg_class.relnamespace = to_regnamespace(%s)
            and pg_locks.mode = 'ExclusiveLock'
            and pg_locks.granted
            -- The view shows the whole server; an id may be another table's in another database.
            and pg_locks.database = (
                select pg_database.oid
                from pg_catalog.pg_database
                where pg_database.datname = current_database()
            )
        """,
        [SCHEMA],
    ).fetchall()
    return frozenset(row[0] for row in rows)


def drop(connection: psycopg.Connection, tenant: str) -> None:
    """Drops all locks of a tenant; call it in the session that holds them."""
    rows = connection.execute(
        """
        select pg_class.relname
        from pg_catalog.pg_class
        where pg_class.relnamespace = to_regnamespace(%s)
            and split_part(pg_class.relname, '/', 2) = %s
        order by pg_class.relname asc
        """,
        [SCHEMA, tenant],
    ).fetchall()
    for (name,) in rows:
        connection.execute(sql.SQL("drop view {}").format(_of(name)))


def _of(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)
