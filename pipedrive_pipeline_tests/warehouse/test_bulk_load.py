"""An empty table is filled without the indexes of queries, unless somebody could miss them."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest

from pipedrive_pipeline.warehouse.bulk_load import indexes_made_afterwards
from pipedrive_pipeline.warehouse.database import Warehouse

TABLE = ("app", "filled")
FILL = "insert into app.filled (number, name) select n, n from generate_series(1, 100) as n"
KEPT = {"filled_commented", "filled_number_key", "filled_pkey"}


def execute(warehouse: Warehouse, *statements: str) -> None:
    with warehouse.transaction() as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    """A database with one tenant and an empty table with an index of each kind."""
    execute(warehouse, "delete from integration.tenants where slug <> 'acme'")
    execute(
        warehouse,
        """
        create schema app;
        create table app.filled (
            id bigint generated always as identity primary key,
            number bigint unique,
            name text collate "C"
        );
        create index filled_name on app.filled (lower(name) text_pattern_ops desc) where id > 0;
        create index filled_words on app.filled using gin (to_tsvector('simple', name))
            with (fastupdate = off);
        create index filled_commented on app.filled (name);
        comment on index app.filled_commented is 'of somebody who wants to find it again';
        """,
    )
    return warehouse


def indexes(connection: psycopg.Connection) -> dict[str, str]:
    query = "select indexname, indexdef from pg_indexes where schemaname = 'app'"
    return dict(connection.execute(query).fetchall())


def test_the_indexes_are_the_same_afterwards(filled: Warehouse) -> None:
    with filled.transaction() as connection:
        before = indexes(connection)
        with indexes_made_afterwards(connection, TABLE):
            meanwhile = set(indexes(connection))
            connection.execute(FILL)

        assert meanwhile == KEPT
        assert indexes(connection) == before
        connection.execute("set local enable_seqscan = off")
        found = connection.execute(
            "select number from app.filled where to_tsvector('simple', name) @@ '42'::tsquery"
        ).fetchall()
    assert found == [(42,)]


def test_a_failure_leaves_them_as_they_were(filled: Warehouse) -> None:
    with filled.transaction() as connection:
        before = indexes(connection)

    with (
        pytest.raises(ZeroDivisionError),
        filled.transaction() as connection,
        indexes_made_afterwards(connection, TABLE),
    ):
        raise ZeroDivisionError

    with filled.transaction() as connection:
        assert indexes(connection) == before


@pytest.mark.parametrize("reason", ["it is read", "it has rows", "another tenant"])
def test_they_stay_where_somebody_could_miss_them(filled: Warehouse, reason: str) -> None:
    with ExitStack() as stack:
        if reason == "it is read":
            reader = stack.enter_context(filled.transaction())
            reader.execute("select from app.filled")
        if reason == "it has rows":
            execute(filled, FILL)
        if reason == "another tenant":
            execute(filled, "insert into integration.tenants (slug) values ('bravo')")
        connection = stack.enter_context(filled.transaction())
        before = indexes(connection)

        with indexes_made_afterwards(connection, TABLE):
            assert indexes(connection) == before
