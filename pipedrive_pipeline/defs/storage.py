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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException, pg_url_from_config
from sqlalchemy import Engine, Pool, event
from sqlalchemy.exc import DisconnectionError

from pipedrive_pipeline.defs.event_log import EventLogStorage
from pipedrive_pipeline.errors import DatabaseUnavailable, first_line
from pipedrive_pipeline.warehouse import sessions, urls
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.urls import DAGSTER_SETTING

LAST_TABLE_MADE = "job_ticks"  # of the last storage
IDLE_SECONDS_MAX = 30  # since it was opened; a firewall may forget an idle connection


class Storage(DagsterPostgresStorage):
    """Stores runs, events and schedules in the configured database, through one connection."""

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, *more: Any
    ) -> None:
        events = EventLogStorage(postgres_url, should_autocreate_tables=False)
        # Further connections at the same time are closed after use, as Dagster does by itself.
        events.optimize_for_webserver(
            statement_timeout=0, pool_recycle=IDLE_SECONDS_MAX, max_overflow=-1
        )
        # Each of Dagster's three storages would connect four times to look for its tables.
        with _named_outage(postgres_url):
            is_made = events.has_table(LAST_TABLE_MADE)
        super().__init__(postgres_url, should_autocreate_tables and not is_made, *more)
        self._event_log_storage = events
        for storage in (self._run_storage, self._schedule_storage):
            storage._engine = events._engine  # noqa: SLF001 - three would be three connections

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Creates the storage from Dagster's configuration.

        Raises:
            DatabaseUnavailable: it cannot be reached, after a few attempts.
            SettingsError: libpq does not read the URL.
        """
        if not event.contains(Engine, "do_connect", connect):
            event.listen(Engine, "do_connect", connect)
            event.listen(Pool, "checkout", refuse_closed)
        return cls(
            urls.url_of(urls.facts_of(pg_url_from_config(config_value), DAGSTER_SETTING)),
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


@contextmanager
def _named_outage(url: str) -> Iterator[None]:
    try:
        yield
    except DagsterPostgresException as error:  # its cause is SQLAlchemy's, of psycopg2's
        reason = first_line(getattr(error.__cause__, "orig", None) or error)
        raise DatabaseUnavailable(
            f"Dagster's storage, {Warehouse(url).place}, cannot be reached ({reason}); check "
            f"{DAGSTER_SETTING} or, where it is not set, DATABASE_URL."
        ) from error


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
