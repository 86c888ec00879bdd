"""Runs queries in parallel on further connections, because a Postgres session uses one core.

Postgres itself plans no parallel query here: a sub-select without a table prevents it, and such
sub-selects extract the custom fields of a record (`fields/raw_fields.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

EVERY_ID: Final = sql.SQL("remote_id is not null")
MANY_ROWS: Final = 10_000  # with fewer, a second connection saves no time
Result = TypeVar("Result")


class Submit(Protocol):
    """Runs a task in a transaction of its own."""

    def __call__(self, task: Callable[[psycopg.Connection], Result]) -> Future[Result]:
        """Returns the future result of the task."""
        ...


@contextmanager
def parallel_transactions(
    warehouse: Warehouse, scope: Scope, *, workers: int = 1
) -> Iterator[Submit]:
    """Yields a function that runs a task in another transaction; waits for all tasks on exit."""

    def run(task: Callable[[psycopg.Connection], Result]) -> Result:
        with raw_transaction(warehouse, scope) as connection:
            return task(connection)

    with ThreadPoolExecutor(workers) as pool:

        def submit(task: Callable[[psycopg.Connection], Result]) -> Future[Result]:
            return pool.submit(run, task)

        yield submit


def are_many(connection: psycopg.Connection, entity: str) -> bool:
    """True if an entity has so many records that a second connection saves time."""
    row = connection.execute(
        sql.SQL("select exists (select from {} offset {})").format(
            sql.Identifier(entity), sql.Literal(MANY_ROWS)
        )
    ).fetchone()
    return bool(row and row[0])
