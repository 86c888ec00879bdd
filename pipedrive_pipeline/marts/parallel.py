"""Work beside a transaction, on connections of its own: a session of Postgres keeps one core busy.

Belongs here: who does such work, and all records shared out among them. Does not belong here: what
is done with the records.

Postgres itself would share nothing out: it plans no parallel query over selects without a table,
and those take custom fields out of a record (`unpacking.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

EVERY_ID: Final = sql.SQL("pipedrive_id is not null")
MANY_ROWS: Final = 10_000  # fewer are done before a second connection pays
Answer = TypeVar("Answer")


class Submit(Protocol):
    """Begins a piece of work, which is given a transaction of its own."""

    def __call__(self, work: Callable[[psycopg.Connection], Answer]) -> Future[Answer]:
        """What it will have come to."""
        ...


@contextmanager
def parallel_transactions(
    warehouse: Warehouse, tenant: Tenant, system: str, *, workers: int = 1
) -> Iterator[Submit]:
    """What begins work in transactions like a build's; the block ends when all of it has."""

    def done(work: Callable[[psycopg.Connection], Answer]) -> Answer:
        with raw_transaction(warehouse, tenant, system) as connection:
            return work(connection)

    with ThreadPoolExecutor(workers) as pool:

        def submit(work: Callable[[psycopg.Connection], Answer]) -> Future[Answer]:
            return pool.submit(done, work)

        yield submit


def halves(connection: psycopg.Connection, entity: str) -> list[sql.Composable]:
    """Conditions on ``pipedrive_id`` of which each record meets one; a single one for few records.

    They are comparisons, which a view with a security barrier lets through to its tables; what is
    left of a division is looked at only behind all of the view's work.
    """
    if not are_many(connection, entity):
        return [EVERY_ID]
    middle = connection.execute(
        sql.SQL("select percentile_disc(0.5) within group (order by id) from {}").format(
            sql.Identifier(entity)
        )
    ).fetchone()
    return [sql.SQL(f"pipedrive_id {sign} {{}}").format(*middle or ()) for sign in ("<", ">=")]


def are_many(connection: psycopg.Connection, entity: str) -> bool:
    """Whether there are so many records of an entity that sharing them out pays."""
    row = connection.execute(
        sql.SQL("select exists (select from {} offset {})").format(
            sql.Identifier(entity), sql.Literal(MANY_ROWS)
        )
    ).fetchone()
    return bool(row and row[0])
