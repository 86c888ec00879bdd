"""Sinks in whole runs: a rebuild of a large one, and a person who is erased."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy.person_erasure import PersonalRecord, erase_records
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

SCOPE = Scope(ACME, SYSTEM)
ROWS = 100_000
PYTHON_BYTES_MAX = 30_000_000  # 100,000 rows as objects would take five times as many
TABLES = """
create schema app;
create table app.customers (id bigserial primary key, company text not null, town text);
create table app.people (
    id bigserial primary key, full_name text not null, mail text, notes text default 'own'
)
"""
CUSTOMERS: dict[str, Any] = {
    "mart": "customers",
    "table": "app.customers",
    "columns": {"company": "name", "town": "city"},
    "match_by": [],
}
PEOPLE: dict[str, Any] = {
    "mart": "contacts",
    "table": "app.people",
    "columns": {"full_name": "name", "mail": "email"},
    "match_by": [],
}
MANY_ORGANIZATIONS = """
insert into raw_pipedrive_acme.organizations
select made.*
from raw_pipedrive_acme.organizations as known
cross join generate_series(1000001, 1000000 + %s) as number
cross join lateral jsonb_populate_record(
    known,
    jsonb_build_object('id', number, 'name', 'Company ' || number, '_dlt_id', number::text)
) as made
where known.id = (select min(id) from raw_pipedrive_acme.organizations)
"""
# Place and version of each row: an update, also with the same values, changes both.
VERSIONS = """
select count(*), md5(string_agg(concat_ws(' ', id, ctid, xmin), ',' order by id))
from app.customers
"""


@pytest.fixture
def account() -> CrmAccount:
    return seeded(12, 60)


def execute(world: World, statement: str, *values: object) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(statement.encode(), values or None)


def declare(world: World, **declarations: Any) -> None:
    execute(world, TABLES)
    sinks.save(world.warehouse, SCOPE, declarations, who="a test")


def remap(world: World) -> dict[str, dict[str, int]]:
    """What `remap` does; the outcome of each sink's rows."""
    with world.run(sync_type="remap") as run:
        run.build_marts()
        run.publish_views()
        run.assert_sinks_fed()
        return {fed.sink.name: dict(fed.counts) for fed in run.row.sinks}


def versions(world: World) -> tuple[int, str]:
    with world.warehouse.transaction() as connection:
        row = connection.execute(VERSIONS.encode()).fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_sink_of_a_hundred_thousand_rows_is_rebuilt_by_a_remap(
    world: World, sandbox: Sandbox
) -> None:
    """Without a request, chunk by chunk; the next remap finds nothing to write and writes nothing.

    After a row was edited by the app and another deleted, it writes these two.
    """
    world.sync()
    execute(world, MANY_ORGANIZATIONS, ROWS)
    execute(world, "update integration.mart_state set is_rebuild_due = true")
    declare(world, customers=CUSTOMERS)
    requests, tokens = sandbox.requests.count, sandbox.requests.tokens_spent
    live = len(list(sandbox.truth("organizations"))) + ROWS

    tracemalloc.start()
    filled = remap(world)["customers"]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    first = versions(world)
    again = remap(world)["customers"]
    unchanged = versions(world)
    execute(world, "update app.customers set company = 'Edited' where id = 77")
    execute(world, "delete from app.customers where id = 99")
    repaired = remap(world)["customers"]

    assert filled == {"created": live, "unchanged": 0}
    assert again == {"unchanged": live}
    assert first[0] == live
    assert unchanged == first
    assert repaired == {"updated": 1, "created": 1, "unchanged": live - 2}
    assert (sandbox.requests.count, sandbox.requests.tokens_spent) == (requests, tokens)
    assert peak_bytes < PYTHON_BYTES_MAX


@pytest.mark.slow
def test_an_erased_person_stays_in_the_apps_table_alone(world: World, account: CrmAccount) -> None:
    """The row is the app's to erase; nothing of ours holds its values, and no sync touches it."""
    account.edit("persons", 30, name="Ada Canary")
    declare(world, people=PEOPLE)
    world.sync()
    before = world.rows("app", "people")
    (key,) = [str(row["id"]) for row in before if row["full_name"] == "Ada Canary"]

    with tenant_lock(world.warehouse, ACME) as lock:
        person = PersonalRecord(SYSTEM, "persons", "30")
        erase_records(lock, world.settings, [person], who="a test")
    erased = world.rows("app", "people")
    links = world.rows("integration", "sink_links")
    world.sync()
    synced = world.rows("app", "people")
    account.edit("persons", 30, name="Ada Again")
    world.sync()
    names = [row["full_name"] for row in world.rows("app", "people")]

    assert erased == before
    assert synced == before
    assert key not in {row["app_key"][0] for row in links}
    assert "Canary" not in str(links)
    assert len(links) == len(before) - 1
    # An edit at the source brings the person back as a new record.
    assert sorted(name for name in names if name.startswith("Ada ")) == ["Ada Again", "Ada Canary"]
