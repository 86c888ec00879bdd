"""A read that brings what raw holds is not loaded, as long as raw's rows are as it left them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from psycopg import sql

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.postgres_proxy import StatementCounter, statement_counter
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

CONNECTIONS_MAX, STATEMENTS_MAX = 5, 130  # without Dagster
SCOPE = Scope(ACME, SYSTEM)
ACTS = {
    "a row was edited": "update {raw}.users set name = 'somebody else' where id = 1",
    "a row was removed": "delete from {raw}.users where id = 1",
    "a row was added": (
        "insert into {raw}.users (id, name, _dlt_load_id) values (9999, 'nobody', 'by hand')"
    ),
    "a record was marked as gone": (
        "insert into {raw}.deletions (entity, id, reason, _dlt_load_id)"
        " values ('users', '1', 'deleted', 'by hand')"
    ),
    "the digests are gone": "drop table {staging}.known_reads",
}


def counted(world: World) -> StatementCounter:
    """The connections and statements of one sync."""
    with statement_counter(world.warehouse.url) as counter:
        replace(world, warehouse=Warehouse(counter.url)).sync()
    return counter


def copies(counter: StatementCounter) -> int:
    """How many statements copied rows of records."""
    return sum(text.startswith("copy") and '."_dlt_' not in text for text in counter.statements)


@pytest.mark.slow
def test_a_sync_that_brings_the_same_moves_the_cursors_only(world: World, sandbox: Sandbox) -> None:
    """It copied, merged and compared every list and the newest record of every kind."""
    world.sync()
    reads = world.sync().reads

    quiet = counted(world)

    assert copies(quiet) == 0
    assert quiet.connections <= CONNECTIONS_MAX
    assert len(quiet.statements) <= STATEMENTS_MAX
    assert reads["users"].unchanged == reads["users"].fetched == len(world.raw(ACME, "users"))
    assert (reads["users"].missing, reads["users"].extra, reads["users"].stale) == (0, 0, 0)
    sandbox.account.edit("organizations", 1, name="renamed")
    assert copies(counted(world)) == 1
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
def test_whatever_else_changed_raw_is_mended_by_the_next_sync(
    world: World, sandbox: Sandbox, act: str
) -> None:
    """The source sends the same list: only raw's own rows say that it has to be loaded."""
    world.sync()
    world.sync()
    names = {"raw": SCOPE.raw_schema, "staging": SCOPE.staging_schema}
    identifiers = {name: sql.Identifier(schema) for name, schema in names.items()}
    with world.warehouse.transaction() as connection:
        connection.execute(sql.SQL(ACTS[act]).format(**identifiers))

    world.sync()

    assert_all_equals_source(world, sandbox)
