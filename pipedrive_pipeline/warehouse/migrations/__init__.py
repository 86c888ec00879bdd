"""Applies the files of `sql/schema` in order, once, under a lock, and reports which are missing.

Belongs here: the order, the lock and the state of migrations. Does not belong here: the tables
themselves (`sql/schema`), Alembic (`revisions.py`), tenants' raw schemas (`ingest/` makes them).
Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html.

A run shares the lock `migration` as long as it lives; `migrate` needs it exclusively. It waits for
it a few seconds at a time, so that runs that begin meanwhile never wait longer than that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
import stamina
from psycopg import errors

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import Contended, Warehouse
from pipedrive_pipeline.warehouse.requirements import require_fit
from pipedrive_pipeline.warehouse.sql_files import schema_files

LOCKS_FILE: Final = "0080"  # makes the migrations' own lock, so it runs before all others
VERSION_TABLE = "alembic_version"
VERSION_SCHEMA = "integration"
PATIENCE_SECONDS = 2  # of one attempt at the lock; a sync that begins meanwhile waits no longer
WAIT_SECONDS = 3_600  # a first full read of a large account takes about that long

log = logging.getLogger(__name__)


class SchemaBehind(PersonMustAct):
    """The database lacks what this release needs; somebody must run `migrate`."""

    code = "schema_behind"


class RoleTooWeak(PersonMustAct):
    """The role of DATABASE_URL may not do what a migration needs; an administrator must help."""

    code = "role_too_weak"


def head() -> str:
    """The number of the newest schema file."""
    return schema_files()[-1].number


def is_current(warehouse: Warehouse) -> bool:
    """True if everything that this release needs is applied, also if the database is newer."""
    with warehouse.connect() as connection:
        return _is_current(connection)


def require_current(warehouse: Warehouse) -> None:
    """Returns if the database can hold a warehouse and its schema is current.

    Raises:
        SchemaBehind: an operator must run `migrate`.
        WrongEncoding, TransactionPooler: DATABASE_URL must name another database, or another way.
    """
    require_fit(warehouse)
    with warehouse.connect() as connection:
        _require_current(warehouse, connection)


@contextmanager
def schema_held(warehouse: Warehouse) -> Iterator[None]:
    """A block during which the schema is current and no migration begins.

    Raises:
        SchemaBehind: an operator must run `migrate`.
        Contended: a migration is running; the same again a little later works.
    """
    require_current(warehouse)
    with warehouse.lock_session() as session:
        locks.take(session, locks.MIGRATION, is_shared=True)
        require_current(warehouse)
        yield


def migrate(
    warehouse: Warehouse,
    *,
    notify: Callable[[str], None] = log.warning,
    wait_seconds: float = WAIT_SECONDS,
) -> list[str]:
    """Applies the missing files of `sql/schema` in one transaction and returns their numbers.

    Args:
        warehouse: the database to bring up to date.
        notify: called with one line that says what is being waited for.
        wait_seconds: how long running syncs and other migrations are waited for.

    Returns:
        The numbers of the files applied, in order; empty when nothing was missing.

    Raises:
        RoleTooWeak: an administrator of the server must make roles or grant rights.
        Contended: syncs, or sessions that lock our tables, did not end in time.
        WrongEncoding, TransactionPooler: DATABASE_URL must name another database, or another way.
    """
    require_fit(warehouse)
    if is_current(warehouse):
        return []
    with _alone(warehouse, notify, wait_seconds), warehouse.connect(autocommit=True) as connection:
        if _is_current(connection):
            return []
        before = _applied(connection)
        with _rights_named(connection):
            for attempt in stamina.retry_context(on=Contended, attempts=12, timeout=wait_seconds):
                with attempt:
                    _upgrade(warehouse)
        return [file.number for file in schema_files() if file.number > before]


def _applied(connection: psycopg.Connection) -> str:
    """The number of the newest applied file; empty in a database that was never migrated."""
    table = f"{VERSION_SCHEMA}.{VERSION_TABLE}"
    row = connection.execute("select to_regclass(%s)", (table,)).fetchone()
    if row is None or row[0] is None:
        return ""
    row = connection.execute(
        "select max(alembic_version.version_num) from integration.alembic_version"
    ).fetchone()
    return (row and row[0]) or ""


def _is_current(connection: psycopg.Connection) -> bool:
    # One release back works on this schema: what is added is added so that it does.
    return _applied(connection) >= head()


def _require_current(warehouse: Warehouse, connection: psycopg.Connection) -> None:
    if not _is_current(connection):
        raise SchemaBehind(
            f"{warehouse.place}: the schema is at {_applied(connection) or 'nothing'}, this "
            f"release needs {head()}; run `migrate`."
        )


@contextmanager
def _alone(
    warehouse: Warehouse, notify: Callable[[str], None], wait_seconds: float
) -> Iterator[None]:
    """Waits until no run and no other migration is alive; none begins within the block."""
    make_lock(warehouse)
    deadline = time.monotonic() + wait_seconds
    with warehouse.lock_session() as session:
        while True:
            try:
                with session.transaction():
                    locks.take(session, locks.MIGRATION, wait_seconds=PATIENCE_SECONDS)
                break
            except errors.LockNotAvailable:
                if time.monotonic() >= deadline:
                    raise
                notify("migrate waits for running syncs or another migrate to end …")
        yield


def make_lock(warehouse: Warehouse) -> None:
    """Creates the lock in a database that has none; safe for concurrent migrations."""
    (file,) = (file for file in schema_files() if file.number == LOCKS_FILE)
    with (
        warehouse.connect(autocommit=True) as connection,
        _rights_named(connection),
        suppress(errors.DuplicateSchema, errors.DuplicateTable, errors.UniqueViolation),
    ):
        connection.execute(file.text.encode())


@contextmanager
def _rights_named(connection: psycopg.Connection) -> Iterator[None]:
    try:
        yield
    except errors.InsufficientPrivilege as error:
        role, database = connection.info.user, connection.info.dbname
        raise RoleTooWeak(
            f"role {role} may not prepare database {database} ({str(error).splitlines()[0]}); "
            "let an administrator of the server run once: create role pipeline_engine nologin; "
            "create role pipeline_app nologin; "
            f'grant pipeline_engine, pipeline_app to "{role}"; '
            f'grant create on database "{database}" to "{role}"; then run `migrate` again.'
        ) from error


def _upgrade(warehouse: Warehouse) -> None:
    from pipedrive_pipeline.warehouse.migrations.revisions import upgrade

    with warehouse.connect() as connection:
        upgrade(connection, version_table=VERSION_TABLE, version_schema=VERSION_SCHEMA)
