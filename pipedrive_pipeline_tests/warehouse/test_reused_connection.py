"""Connections that a run uses again: not after an error, a restart or a change of a table."""

from __future__ import annotations

import pytest
from psycopg import errors

from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.pool import pooled
from pipedrive_pipeline.warehouse.reused_connection import reusing
from pipedrive_pipeline_tests.waiting import wait_until
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

WAIT_SECONDS = 20  # a server's process ends a moment after its connection


def session(warehouse: Warehouse) -> int:
    """The server's process that answers."""
    with warehouse.transaction() as connection:
        return connection.info.backend_pid


def sessions_of(warehouse: Warehouse) -> int:
    with warehouse.transaction() as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and backend_type = 'client backend'"
        ).fetchone()
    assert row
    return int(row[0])


def test_transactions_one_after_the_other_share_a_connection(warehouse: Warehouse) -> None:
    with reusing(warehouse) as reused:
        sessions = {session(reused) for _ in range(5)}

    assert len(sessions) == 1


def test_a_transaction_within_another_has_a_connection_of_its_own(warehouse: Warehouse) -> None:
    with reusing(warehouse) as reused, reused.transaction() as outer:
        assert session(reused) != outer.info.backend_pid


def test_at_most_one_connection_is_kept_and_none_after_the_block(warehouse: Warehouse) -> None:
    """Many runs at once must not use up the server's sessions."""
    with reusing(warehouse) as reused:
        with reused.transaction(), reused.transaction(), reused.transaction():
            pass
        wait_until(lambda: sessions_of(reused) == 0, WAIT_SECONDS)
        wait_until(lambda: sessions_of(warehouse) == 1, WAIT_SECONDS)

    wait_until(lambda: sessions_of(warehouse) == 0, WAIT_SECONDS)


def test_tenant_role_and_search_path_do_not_reach_the_next_transaction(
    warehouse: Warehouse,
) -> None:
    """The first tenant's role would hide rows from the next transaction, or show them to it."""
    facts = "select current_user = session_user, current_setting('pipeline.tenant_id', true)"
    with reusing(warehouse) as reused:
        with reused.transaction(BRAVO, ("crm",)) as connection:
            before = connection.info.backend_pid
        with reused.as_app(ACME):
            pass
        with reused.transaction() as connection:
            assert connection.info.backend_pid == before
            assert connection.execute(facts).fetchone() == (True, "")
            assert connection.execute("show search_path").fetchone() == ("public",)


def test_after_an_error_the_next_transaction_has_a_new_connection(warehouse: Warehouse) -> None:
    with reusing(warehouse) as reused:
        before = session(reused)
        with pytest.raises(errors.UndefinedTable), reused.transaction() as connection:
            connection.execute("select 1 from absent")

        assert session(reused) != before


def test_what_failed_is_rolled_back_and_what_ended_is_committed(warehouse: Warehouse) -> None:
    with reusing(warehouse) as reused:
        with reused.transaction() as connection:
            connection.execute("create table first (id int)")
        with pytest.raises(errors.UndefinedTable), reused.transaction() as connection:
            connection.execute("create table second (id int); select 1 from absent")

    query = "select to_regclass('first') is not null, to_regclass('second') is not null"
    with warehouse.transaction() as connection:
        assert connection.execute(query).fetchone() == (True, False)


def test_a_restart_of_the_server_costs_the_next_transaction_nothing(warehouse: Warehouse) -> None:
    with reusing(warehouse) as reused:
        before = session(reused)
        with warehouse.transaction() as other:
            other.execute("select pg_terminate_backend(%s, 5000)", [before])

        assert session(reused) != before


def test_a_session_that_ends_within_a_transaction_is_a_transient_error(
    warehouse: Warehouse,
) -> None:
    with reusing(warehouse) as reused:
        with pytest.raises(DatabaseUnavailable), reused.transaction() as connection:
            connection.execute("select pg_terminate_backend(pg_backend_pid())")

        assert session(reused)


def test_a_query_still_works_after_its_table_has_got_a_column(warehouse: Warehouse) -> None:
    """A prepared one would fail: "cached plan must not change result type"."""
    with warehouse.transaction() as connection:
        connection.execute("create table changing (id int)")

    with reusing(warehouse) as reused:
        for number in range(20):
            with reused.transaction() as connection:
                connection.execute("select * from changing").fetchall()
            if number == 10:
                with warehouse.transaction() as connection:
                    connection.execute("alter table changing add column name text")


def test_a_warehouse_with_a_pool_is_left_as_it_is(warehouse: Warehouse) -> None:
    pool = pooled(warehouse)

    with reusing(pool) as same:
        assert same is pool
