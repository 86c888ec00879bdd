"""The settings of every session of ours, independent of the defaults of role and database.

Settings are statements, not the startup parameter `options`: PgBouncer refuses that one. The
client's encoding is a startup parameter, which PgBouncer knows.
Source: https://www.postgresql.org/docs/current/runtime-config-client.html.
"""

from __future__ import annotations

from typing import Final

import psycopg

CLIENT_ENCODING: Final = "utf8"
LOCK_TIMEOUT_MILLISECONDS = 5_000  # an app that holds a row longer makes a writer try again
# A load waits longer: a query of somebody, or a build of everything, may hold a raw table.
LOAD_LOCK_SECONDS: Final = 120
IDLE_TRANSACTION_TIMEOUT_MILLISECONDS = 600_000  # a forgotten transaction holds vacuum back
HAS_TRANSACTION_TIMEOUT = 170_000  # server_version_num

# `alter role … set` and `alter database … set` change these for every session that does not.
SETTINGS: Final[dict[str, str]] = {
    # How long a session may live and wait: one holds a tenant's lock for hours.
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_MILLISECONDS),
    # How transactions behave. `default_transaction_read_only` is left as it is: an operator who
    # sets it wants nothing to be written, and a write then ends as `database_unavailable`.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "row_security": "on",
    "search_path": "public",
    "exit_on_error": "off",  # an error that we expect, such as a missing table, ends a statement
    # How values are read and written as text.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    # How queries are read and names are quoted, and which rows an index of `search` finds.
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "gin_fuzzy_search_limit": "0",
    # How queries are run. Postgres's default compiles the queries of every build, however few rows
    # there are: a build of 500 rows took 21 s instead of 3 s.
    "jit": "off",
}


# psycopg2 reads it when it connects, works with either value, and quotes wrongly after a change.
OF_PSYCOPG: Final = {
    "lock_timeout": str(LOCK_TIMEOUT_MILLISECONDS),
    "standard_conforming_strings": "on",
}


def statement(server_version: int, **more: str) -> str:
    """The statement that sets a session up; its row ends with the pid of the server's process.

    Args:
        server_version: as `server_version_num`.
        more: further settings, or other values.
    """
    settings = SETTINGS | more
    if server_version >= HAS_TRANSACTION_TIMEOUT:
        settings["transaction_timeout"] = "0"
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in quoted.items())
    return f"select {calls}, pg_backend_pid()"


def set_up(connection: psycopg.Connection, **more: str) -> bool:
    """Gives the session our settings; True if a pooler lies between us and the server.

    A pooler names a process id of its own at login, since it does not know yet which server
    connection it will use.
    """
    query = statement(connection.info.server_version, **(OF_PSYCOPG | more))
    row = connection.execute(query.encode()).fetchone()
    if not connection.autocommit:
        connection.commit()
    return bool(row and row[-1] != connection.info.backend_pid)
