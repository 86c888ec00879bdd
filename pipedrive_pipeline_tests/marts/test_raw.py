"""The transaction in which the marts read raw, while a load writes there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipedrive_pipeline.marts import raw as raw_module
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Contended
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.waiting import wait_until
from pipedrive_pipeline_tests.warehouse.databases import ACME

SCOPE = Scope(ACME, SYSTEM)
WAITING = """
select true from pg_locks
where not granted and relation = 'raw_pipedrive_acme.persons'::regclass
"""


def persons_read(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from persons").fetchone()
    assert row
    return int(row[0])


def test_a_table_that_a_load_makes_meanwhile_stays_empty(raw: RawTables) -> None:
    """One statement of a build would see none of its rows, and the next one all."""
    raw.load(organizations=[organization(1)])

    with raw_transaction(raw.warehouse, SCOPE) as connection:
        assert persons_read(connection) == 0
        raw.load(persons=[person(1)])
        assert persons_read(connection) == 0

    with raw_transaction(raw.warehouse, SCOPE) as connection:
        assert persons_read(connection) == 1


def test_raw_is_held_against_writes_but_not_against_reads(raw: RawTables) -> None:
    raw.load(persons=[person(1)])

    with (
        raw_transaction(raw.warehouse, SCOPE, is_held=True),
        raw.warehouse.waiting(1).transaction() as other,
    ):
        rows = other.execute("select count(*) from raw_pipedrive_acme.persons").fetchone()
        with pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
            other.execute("delete from raw_pipedrive_acme.persons")

    assert rows == (1,)


def test_raw_is_waited_for_so_that_postgres_ends_an_autovacuum(
    raw: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so only where somebody waits, and an autovacuum of a large table takes minutes."""
    monkeypatch.setattr(raw_module, "HOLD_WAIT_SECONDS", 5)
    raw.load(organizations=[organization(1)], persons=[person(1)])
    is_vacuuming = threading.Event()

    def vacuum_until_somebody_waits() -> None:
        with raw.warehouse.transaction() as vacuum, raw.warehouse.connect(autocommit=True) as other:
            vacuum.execute("lock table raw_pipedrive_acme.persons in share update exclusive mode")
            is_vacuuming.set()
            wait_until(lambda: bool(other.execute(WAITING).fetchone()), 10)

    with ThreadPoolExecutor(1) as pool:
        vacuumed = pool.submit(vacuum_until_somebody_waits)
        assert is_vacuuming.wait(30)
        with raw_transaction(raw.warehouse, SCOPE, is_held=True) as connection:
            assert persons_read(connection) == 1
        vacuumed.result()


def test_a_load_that_does_not_end_is_named(raw: RawTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_module, "HOLD_WAIT_SECONDS", 1)
    raw.load(persons=[person(1)])

    with raw.warehouse.transaction() as load:
        load.execute("update raw_pipedrive_acme.persons set name = 'neu'")
        with (
            pytest.raises(Contended, match="another session holds what is needed"),
            raw_transaction(raw.warehouse, SCOPE, is_held=True),
        ):
            pytest.fail("it has the table")
