"""Connections and transactions, each with a role and local settings; Postgres errors as ours.

Sources: https://www.psycopg.org/psycopg3/docs/ and
https://www.postgresql.org/docs/current/ddl-rowsecurity.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.errors import DatabaseUnavailable, DiskFull, first_line
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import locks, sessions, urls
from pipedrive_pipeline.warehouse.cursors import Cursor
from pipedrive_pipeline.warehouse.fences import COUNT_HELD, Fence

APPLICATION_NAME = "pipedrive-pipeline"
CONNECT_TIMEOUT_SECONDS = 10
CONNECTION_ARGUMENTS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "application_name": APPLICATION_NAME,
    "client_encoding": sessions.CLIENT_ENCODING,
    "cursor_factory": Cursor,
}

# As in sql/schema/0001_installation.sql.
DATABASE_IDENTITY: Final = """
select format('%s-%s', (pg_control_system()).system_identifier, pg_database.oid)
from pg_catalog.pg_database
where pg_database.datname = current_database()
"""

CONTENTION = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

# Operational by their class, but the same again gives the same: a trigger or a limit is the cause.
OF_A_STATEMENT = (
    errors.TriggeredDataChangeViolation,
    errors.TriggerProtocolViolated,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    errors.TooManyColumns,
    errors.TooManyArguments,
)


class Contended(DatabaseUnavailable):
    """Another session locks the rows or tables that are needed; a rerun may work."""


@dataclass(frozen=True)
class Warehouse:
    """One database. Opening it does no I/O; its URL is masked in every text form."""

    url: str = field(repr=False)  # as libpq takes it
    # Of the run that this warehouse belongs to: every transaction locks its rows.
    fence: Fence | None = field(default=None, kw_only=True)
    setting: str = field(default="DATABASE_URL", kw_only=True)  # where the URL is from
    lock_seconds: int | None = field(default=None, kw_only=True)  # as every session of ours

    @property
    def place(self) -> str:
        """The database's name and host, or its service, for messages; no user, no password."""
        facts = urls.facts_of(self.url, self.setting)
        if service := facts.get("service"):
            return f"the service {service}"
        host = facts.get("host") or "the local socket"
        port = f":{facts['port']}" if facts.get("port") else ""
        return f"{facts.get('dbname') or 'the default database'} on {host}{port}"

    def identity(self) -> str:
        """An id of this database, the same for every URL: the server's identifier and the oid."""
        with self.connect() as connection:
            row = connection.execute(DATABASE_IDENTITY).fetchone()
        assert row is not None  # noqa: S101 - the database that we are in
        return str(row[0])

    def behind(self, fence: Fence) -> Warehouse:
        """The same database for one run: its transactions fail once the fence is not current."""
        return replace(self, fence=fence.and_also(self.fence))

    def waiting(self, lock_seconds: int) -> Warehouse:
        """The same database, whose transactions wait so long for a lock before they give up."""
        return replace(self, lock_seconds=lock_seconds)

    def full_url(self) -> str:
        """The URL with user, password, host and port spelled out, as every library reads it.

        What the URL leaves out libpq finds in `~/.pgpass`, a service file, its environment and its
        defaults; where the server needs no password, a placeholder takes its place.
        """
        facts = urls.facts_of(self.url, self.setting)
        if not all(facts.get(name) for name in ("host", "user", "password", "dbname")):
            with self.connect() as connection:
                info = connection.info
                facts = {
                    "host": info.host,
                    "port": str(info.port),
                    "user": info.user,
                    "dbname": info.dbname,
                    "password": info.password or "none",
                } | {name: value for name, value in facts.items() if value}
        return urls.url_of(facts)

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
        """A connection with our time limits; committed at the end, rolled back on an error.

        Raises:
            Contended: a lock was not had in time, or a deadlock was resolved against us.
            DatabaseUnavailable: Postgres cannot be reached, or ended the session.
            DiskFull: Postgres's disk is full.
        """
        with self.troubles_named(), self.opened(autocommit=autocommit) as connection:
            yield connection

    def opened(self, *, autocommit: bool = False) -> psycopg.Connection:
        """A new connection with our time limits; the caller closes it.

        Raises:
            DatabaseUnavailable: Postgres cannot be reached.
        """
        try:
            connection = psycopg.connect(
                self.url,
                autocommit=autocommit,
                **CONNECTION_ARGUMENTS,
            )
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(
                f"{self.place} cannot be reached ({first_line(error)}); "
                f"check {self.setting}, and that the server runs."
            ) from error
        with self.troubles_named(), ExitStack() as unless_set_up:
            unless_set_up.callback(connection.close)
            sessions.set_up(connection)
            unless_set_up.pop_all()
        return connection

    @contextmanager
    def transaction(
        self, tenant: Tenant | None = None, search_path: tuple[str, ...] = ()
    ) -> Iterator[psycopg.Connection]:
        """A transaction that sees every tenant, on a connection of its own.

        Args:
            tenant: what ``pipeline.tenant_id`` says within the transaction.
            search_path: schemas by name, first one first; none leaves the server's.

        Raises:
            Superseded: this is one run's warehouse, and the run may not write any more.
        """
        settings = {"pipeline.tenant_id": tenant.slug} if tenant else {}
        if self.lock_seconds:
            settings["lock_timeout"] = f"{self.lock_seconds}s"
        if search_path:
            settings["search_path"] = ", ".join(
                sql.Identifier(name).as_string() for name in search_path
            )
        with self.connect() as connection:
            self._set_up(connection, settings)
            yield connection

    def _set_up(self, connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
        """Begins a transaction: holds the fence and sets the settings, in one statement.

        A run makes a hundred transactions, most of them of one statement.
        """
        calls = ["set_config(%s, %s, true)"] * len(settings)
        values: list[object] = [text for setting in settings.items() for text in setting]
        if self.fence:
            calls, values = [f"({COUNT_HELD})", *calls], [list(self.fence.holders), *values]
        if not calls:
            return
        row = connection.execute(f"select {', '.join(calls)}".encode(), values).fetchone()
        if self.fence:
            self.fence.require(row[0] if row else 0)

    @contextmanager
    def as_app(self, tenant: Tenant, *, turn: str | None = None) -> Iterator[psycopg.Connection]:
        """A transaction that sees this tenant's rows only, by the database's own policies.

        Args:
            tenant: whose.
            turn: a lock, taken as the owner; transactions with the same one take turns.
        """
        with self.connect() as connection:
            if turn:
                locks.prepare(connection, turn)
                locks.take(connection, turn)
            become_app(connection, tenant)
            yield connection

    @contextmanager
    def lock_session(self, *names: str) -> Iterator[psycopg.Connection]:
        """A session in a transaction that may hold locks for hours; makes these locks if absent.

        Raises:
            Contended: a lock was not free in time.
            DatabaseUnavailable: Postgres cannot be reached, or ended the session.
        """
        with self.connect(autocommit=True) as connection:
            for name in names:
                locks.prepare(connection, name)
            with locks.lasting(connection):
                yield connection

    def read_only(self) -> DatabaseUnavailable:
        """The error of a database that takes no writes, for now or as it is set up."""
        return DatabaseUnavailable(
            f"{self.place} takes no writes: it is a standby, or default_transaction_read_only is "
            "on. Nothing was half written; after a failover run it again, otherwise "
            f"{self.setting} has to name the primary."
        )

    @contextmanager
    def troubles_named(self) -> Iterator[None]:
        """Raises transient errors of Postgres within the block as errors of ours."""
        try:
            yield
        except CONTENTION as error:
            raise Contended(
                f"{self.place}: another session holds what is needed ({first_line(error)}); "
                "run it again."
            ) from error
        except errors.DiskFull as error:
            raise DiskFull(self.place) from error
        except OF_A_STATEMENT:
            raise
        except errors.ReadOnlySqlTransaction as error:
            raise self.read_only() from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(
                f"{self.place} ended the work ({first_line(error)}); nothing was half written, "
                "run it again."
            ) from error


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse that the settings name; the embedded one is started if it does not run.

    Raises:
        SettingsError: `DATABASE_URL` cannot be read.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        urls.facts_of(url)  # one that cannot be read is refused here
        return Warehouse(url)
    from pipedrive_pipeline.warehouse.embedded import ensure_running

    return Warehouse(ensure_running(settings.pipeline_home, tcp_port=settings.postgres_port).url)


def become_app(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Limits the rest of the transaction to this tenant's rows, with the role of the app."""
    # In one statement: it is part of every request of the Connect app.
    connection.execute(
        "select set_config('pipeline.tenant_id', %s, true),"
        " set_config('role', integration.role_name('app'), true)",
        (tenant.slug,),
    )


def set_local(connection: psycopg.Connection, name: str, value: str) -> None:
    """Sets a setting for the rest of the transaction only."""
    connection.execute("select set_config(%s, %s, true)", (name, value))
