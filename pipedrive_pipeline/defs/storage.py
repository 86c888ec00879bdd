"""Dagster's storage in Postgres, in sessions that have our settings.

Dagster passes settings as the startup parameter `options`, which PgBouncer refuses; this class sets
them by statements, after those of `warehouse/sessions.py`. `dagster.yaml` names it. Source:
https://docs.sqlalchemy.org/en/20/core/events.html#sqlalchemy.events.DialectEvents.do_connect.
"""

from __future__ import annotations

import shlex
from typing import Any, Self

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, event

from pipedrive_pipeline.warehouse import sessions


class Storage(DagsterPostgresStorage):
    """Stores runs, events and schedules in the configured database."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """Creates the storage from Dagster's configuration."""
        if not event.contains(Engine, "do_connect", connect):
            event.listen(Engine, "do_connect", connect)
        return super().from_config_value(inst_data, config_value)  # type: ignore[return-value]


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


def settings_of(options: str) -> dict[str, str]:
    """Returns the settings in libpq's ``options``: ``-c name=value`` or ``-cname=value``."""
    words = iter(shlex.split(options))
    pairs = (next(words, "") if word == "-c" else word.removeprefix("-c") for word in words)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name}
