"""Removes traces of deleted rows, and renews the planner's statistics after many new ones.

Traces are dead versions in table files, and samples in planner statistics.

Sources: https://www.postgresql.org/docs/current/sql-vacuum.html and, for statistics of a table
that is empty afterwards, https://www.postgresql.org/docs/18/functions-admin.html: before release 18
only new rows replace those.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.warehouse.database import Warehouse

STATISTICS_CAN_BE_CLEARED = 180_000  # server_version_num

log = logging.getLogger(__name__)


def clear_remains(warehouse: Warehouse, tables: Sequence[tuple[str, str]]) -> None:
    """Vacuums these tables and clears their statistics; autovacuum does later what fails now.

    Rows that another session may still see stay until it ends. A table that another session locks,
    or that is not there or not ours, is passed over.
    """
    for schema, name in tables:
        try:
            with warehouse.connect(autocommit=True) as connection:
                if connection.info.server_version >= STATISTICS_CAN_BE_CLEARED:
                    connection.execute(_CLEAR_STATISTICS, [schema, name])
                connection.execute(
                    sql.SQL("vacuum (analyze, skip_locked) {}").format(sql.Identifier(schema, name))
                )
        except (psycopg.ProgrammingError, PipelineError) as error:
            log.info("%s.%s: left to autovacuum (%s)", schema, name, type(error).__name__)


def renew_statistics(
    warehouse: Warehouse, columns: Mapping[tuple[str, str], Sequence[str]]
) -> None:
    """Analyzes these columns of tables, or all; autovacuum does the rest within minutes.

    A table that another session locks or that is not ours is passed over. All of a table of 60,000
    contacts took 1 s, because its index for searches computes words for each row; keys take 0.1 s.
    """
    if not columns:
        return
    try:
        with warehouse.connect(autocommit=True) as connection:
            for table, names in columns.items():
                connection.execute(
                    sql.SQL("analyze (skip_locked) {}{}").format(
                        sql.Identifier(*table),
                        sql.SQL(" ({})" if names else "").format(
                            sql.SQL(", ").join(map(sql.Identifier, names))
                        ),
                    )
                )
    except (psycopg.ProgrammingError, PipelineError) as error:
        log.info("statistics are left to autovacuum (%s)", type(error).__name__)


_CLEAR_STATISTICS = """
select
    pg_clear_attribute_stats(
        pg_stats.schemaname::text, pg_stats.tablename::text, pg_stats.attname::text, false
    )
from pg_catalog.pg_stats
where pg_stats.schemaname = %s
    and pg_stats.tablename = %s
"""
