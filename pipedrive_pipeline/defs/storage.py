"""Dagster's storage in Postgres, in sessions that have our settings and are used again.

By itself Dagster connects for every query, 669 times in a run of eight assets, which took Postgres
5 s of processor time. Here each process keeps one connection.

Dagster passes settings as the startup parameter `options`, which PgBouncer refuses; this class sets
them by statements, after those of `warehouse/sessions.py`. `dagster.yaml` names it. Source:
https://docs.sqlalchemy.org/en/20/core/events.html#sqlalchemy.events.DialectEvents.do_connect.
"""

from __future__ import annotations

import select
import shlex
from collections.abc import Callable
from typing import Any, Self

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import Engine, Pool, event
from sqlalchemy.exc import DisconnectionError

from pipedrive_pipeline.warehouse import sessions

IDLE_SECONDS_MAX = 30  # since it was opened; a firewall may forget an idle connection


class EventLogStorage(PostgresEventLogStorage):
    """Stores events; closes the connection of its process with the instance.

    Before most events Dagster asks whether a table or column exists, in a connection of its own:
    900 statements and 100 connections in a sync that finds no change. A yes is kept.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._known: set[str] = set()
        super().__init__(*arguments, **more)

    def has_table(self, table_name: str) -> bool:
        """True if Dagster's schema has this table."""
        return self._is_known(table_name, super().has_table)

    def has_asset_key_col(self, column_name: str) -> bool:
        """True if Dagster's table of assets has this column."""
        return self._is_known(column_name, super().has_asset_key_col)

    def _is_known(self, name: str, asked: Callable[[str], bool]) -> bool:
        if name not in self._known and asked(name):
            self._known.add(name)
        return name in self._known

    def dispose(self) -> None:
        """Ends what the instance has open."""
        super().dispose()
        self._engine.dispose()


class Storage(DagsterPostgresStorage):
    """Stores runs, events and schedules in the configured database, through one connection."""

    def __init__(self, postgres_url: str, *arguments: Any, **more: Any) -> None:
        super().__init__(postgres_url, *arguments, **more)
        events = EventLogStorage(postgres_url, should_autocreate_tables=False)
        # Further connections at the same time are closed after use, as Dagster does by itself.
        events.optimize_for_webserver(
            statement_timeout=0, pool_recycle=IDLE_SECONDS_MAX, max_overflow=-1
        )
        self._event_log_storage = events
        for storage in (self._run_storage, self._schedule_storage):
            storage._engine = events._engine  # noqa: SLF001 - three would be three connections

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Creates the storage from Dagster's configuration."""
        if not event.contains(Engine, "do_connect", connect):
            event.listen(Engine, "do_connect", connect)
            event.listen(Pool, "checkout", refuse_closed)
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


def connect(
    dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]
) -> psycopg2.extensions.connection | None:
    """Returns a psycopg2 connection with our settings, then ``options``; None for other drivers."""
    if dialect.driver != "psycopg2":
        return None
    given = settings_of(options.pop("options", ""))
    connection = psycopg2.connect(
        *arguments, **{**options, "client_encoding": sessions.CLIENT_ENCODING}
    )
    with connection.cursor() as cursor:
        cursor.execute(sessions.statement(connection.server_version, **given))
    connection.commit()
    return connection


def refuse_closed(connection: Any, _record: Any, _fairy: Any) -> None:
    """Returns if the server has not closed the connection since its last use.

    Raises:
        DisconnectionError: there is something to read although nothing was asked; SQLAlchemy
            then connects.
    """
    if not isinstance(connection, psycopg2.extensions.connection):
        return
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def settings_of(options: str) -> dict[str, str]:
    """Returns the settings in libpq's ``options``: ``-c name=value`` or ``-cname=value``."""
    words = iter(shlex.split(options))
    pairs = (next(words, "") if word == "-c" else word.removeprefix("-c") for word in words)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name}
