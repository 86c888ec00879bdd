"""Views that a session reads: they wait, nobody else does, and they are remade once it ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg
import pytest

from pipedrive_pipeline.marts import build, publish_due, publish_or_defer
from pipedrive_pipeline.marts.views import publication
from pipedrive_pipeline.marts.views.publication import Published
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import columns, custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.warehouse.databases import ACME

RATE = key_of("Rabatt")
NOBODY_WAITS_LONGER = "2s"  # than this; a lock that is waited for like any other blocks for five


@pytest.fixture
def read(raw: RawTables) -> RawTables:
    """Published views, and a new field that they lack."""
    raw.load(organizations=[organization(1)])
    published(raw)
    raw.load(
        organization_fields=[custom("Rabatt", "double")],
        organizations=[organization(1, custom_fields={RATE: 5})],
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))
    return raw


@contextmanager
def open_transaction(warehouse: Warehouse) -> Iterator[None]:
    """An analyst who has read a view and has not committed."""
    with psycopg.connect(warehouse.url) as connection:
        connection.execute("select from analytics_acme.contacts_all")
        yield


def due_since(warehouse: Warehouse) -> object:
    with warehouse.transaction() as connection:
        row = connection.execute("select views_due_at from integration.mart_state").fetchone()
    assert row is not None
    return row[0]


@pytest.mark.slow
def test_views_wait_for_an_open_transaction_and_are_remade_after_it(read: RawTables) -> None:
    """The rows are committed; a column more or less is no reason to end a run."""
    with open_transaction(read.warehouse):
        assert not publish_or_defer(read.warehouse, ACME)
        since = due_since(read.warehouse)
        assert publish_due(read.warehouse) == Published(remade=[], waiting=["acme"])
        assert "rabatt" not in columns(read.warehouse)

    assert since is not None
    assert publish_due(read.warehouse) == Published(remade=["acme"], waiting=[])
    assert [row["rabatt"] for row in shown(read.warehouse)] == [5]
    assert due_since(read.warehouse) is None
    assert publish_due(read.warehouse) == Published(remade=[], waiting=[])


@pytest.mark.slow
def test_no_other_session_waits_behind_views_that_wait(read: RawTables) -> None:
    """Readers queue up behind a lock that waits, though they would not wait for each other."""
    ended = Event()

    def reads() -> int:
        count = 0
        with psycopg.connect(read.warehouse.url, autocommit=True) as connection:
            connection.execute(f"set statement_timeout = '{NOBODY_WAITS_LONGER}'".encode())
            while not ended.is_set():
                connection.execute("select from analytics_acme.contacts_all")
                count += 1
        return count

    with ThreadPoolExecutor(1) as pool, open_transaction(read.warehouse):
        others = pool.submit(reads)
        try:
            publish_or_defer(read.warehouse, ACME)
        finally:
            ended.set()
        assert others.result() > 0


@pytest.mark.slow
def test_a_tenant_whose_views_cannot_be_made_keeps_no_other_waiting(read: RawTables) -> None:
    """Something in the way that only a person can move: its name is in the log."""
    with read.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.mart_state (tenant_id, system, views_due_at)"
            " values ('bravo', 'pipedrive', '2001-01-01')"
        )
        connection.execute("create schema analytics_bravo")
        connection.execute("create table analytics_bravo.customers ()")
        connection.execute(
            "update integration.mart_state set views_due_at = now() where tenant_id = 'acme'"
        )

    assert publish_due(read.warehouse) == Published(remade=["acme"], waiting=["bravo"])


@pytest.mark.slow
def test_due_views_are_made_from_what_is_known_when_they_are_locked(
    read: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run published the new name of a field meanwhile; the sensor put the former one back."""
    assert publish_or_defer(read.warehouse, ACME)
    with read.warehouse.transaction() as connection:
        connection.execute("update integration.mart_state set views_due_at = now()")
    original = publication._synced_systems
    runs: list[str] = []

    def systems_before_another_run(*args: Any) -> Any:
        result = original(*args)
        if not runs:
            runs.append("a run")
            read.load(organization_fields=[custom("Nachlass", "double", key="Rabatt")])
            published(read)
        return result

    monkeypatch.setattr(publication, "_synced_systems", systems_before_another_run)

    assert publish_due(read.warehouse) == Published(remade=["acme"], waiting=[])

    comments = [comment for _, comment in columns(read.warehouse).values()]
    assert [comment.partition(" (")[0] for comment in comments] == ["Nachlass"]
