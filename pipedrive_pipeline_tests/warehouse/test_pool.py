"""Connections that are kept: used again, but not after the server has hung up."""

from __future__ import annotations

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.pool import PooledWarehouse, pooled


def session(pool: PooledWarehouse) -> int:
    """The server's process that answers."""
    with pool.connect() as connection:
        return connection.info.backend_pid


def test_a_connection_is_used_again(warehouse: Warehouse) -> None:
    pool = pooled(warehouse)

    with pool.pool:
        pool.pool.wait()  # a caller before the first connection is there makes another
        sessions = {session(pool) for _ in range(5)}

    assert len(sessions) == 1


def test_a_connection_that_the_server_ended_is_not_handed_out(warehouse: Warehouse) -> None:
    """A restart of Postgres must not cost the next caller its answer."""
    pool = pooled(warehouse)
    with pool.pool:
        former = session(pool)
        with warehouse.connect() as other:
            other.execute("select pg_terminate_backend(%s, 5000)", [former])

        answered_by = session(pool)

    assert answered_by != former


def test_a_connection_that_the_server_spoke_to_meanwhile_is_used_again(
    warehouse: Warehouse,
) -> None:
    """Postgres reports a changed setting to every session: input to read, and no end of it."""
    pool = pooled(warehouse)
    with pool.pool:
        pool.pool.wait()  # who asks before its first connection is there makes it open a second
        with pool.connect() as connection:
            former = connection.info.backend_pid
            connection.execute("listen anything")
        with warehouse.connect() as other:
            other.execute("notify anything")

        answered_by = session(pool)

    assert answered_by == former
