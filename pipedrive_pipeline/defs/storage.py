"""Dagster's storage in Postgres, in sessions that have our settings.

Belongs here: how Dagster's processes open a connection. Does not belong here: what they store.
`dagster.yaml` names this class. Rests on
https://docs.sqlalchemy.org/en/20/core/events.html#sqlalchemy.events.DialectEvents.do_connect.

Dagster passes settings as the startup parameter `options`, which PgBouncer refuses; here they are
set by statements, after those of `warehouse/sessions.py`.
"""

from __future__ import annotations

import shlex
from typing import Any, Self

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, event

from pipedrive_pipeline.warehouse import sessions


class Storage(DagsterPostgresStorage):
    """Runs, events and schedules, wherever the URL of the configuration leads."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        """The storage, as Dagster makes it of its configuration."""
        if not event.contains(Engine, "do_connect", connect):
            event.listen(Engine, "do_connect", connect)
        return super().from_config_value(inst_data, config_value)  # type: ignore[return-value]


def connect(
    dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]
) -> psycopg2.extensions.connection | None:
    """A connection of psycopg2 with our settings, then those of ``options``; None for others."""
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
    """The settings in libpq's ``options``: ``-c name=value`` or ``-cname=value``, any number."""
    words = iter(shlex.split(options))
    pairs = (next(words, "") if word == "-c" else word.removeprefix("-c") for word in words)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name}
