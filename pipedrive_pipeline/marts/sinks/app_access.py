"""Reads and writes an app's table where code of the app can change nothing but its own rows.

Triggers, policies and defaults of the app run when its table is read or written. With the rights of
the sink's role alone they could still change our session: set a `search_path` for the statements
that follow, prepare statements under our names, or leave a deferred trigger or a cursor that runs
at commit, as our login. Postgres has an execution mode for code of others, the *security-restricted
operation*, in which maintenance commands run index expressions and views of any owner: it refuses
`set role`, deferred triggers, temporary objects, prepared statements and cursors that outlive it,
and takes every setting back at its end. `refresh materialized view` is such a command. So a sink's
functions are called by materialized views of its role, which have rows between two statements of
ours only.

Sources: https://www.postgresql.org/docs/current/sql-refreshmaterializedview.html, CVE-2020-25695
and CVE-2022-1552 (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.sinks.writer import SinkWriter


@contextmanager
def rows_read(connection: psycopg.Connection, writer: SinkWriter) -> Iterator[sql.Identifier]:
    """Yields a relation with key and values (app_key, shown) of the tenant's rows of the app."""
    yield from _filled(connection, writer.rows)


@contextmanager
def rows_written(connection: psycopg.Connection, writer: SinkWriter) -> Iterator[sql.Identifier]:
    """Writes the rows in the setting `pipeline.sink_rows`; yields a relation with the results."""
    yield from _filled(connection, writer.written)
    connection.execute("select set_config('pipeline.sink_rows', '[]', true)")


def _filled(connection: psycopg.Connection, view: sql.Identifier) -> Iterator[sql.Identifier]:
    connection.execute(sql.SQL("refresh materialized view {}").format(view))
    yield view
    # Not in a `finally`: after an error the transaction, or its savepoint, is rolled back.
    connection.execute(sql.SQL("refresh materialized view {} with no data").format(view))
