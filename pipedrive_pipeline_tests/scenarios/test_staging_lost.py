"""Staging tables that somebody dropped come back by themselves: nothing in them is of value."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.signals.refresh import open_refresher
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow
STAGING = Scope(ACME, SYSTEM).staging_schema
LOSSES = {
    "one table": f"drop table {STAGING}.persons",
    "all keys seen": f"drop table {STAGING}.seen_keys",
    "whose keys they are": f"drop table {STAGING}.seen_reads",
    "dlt's own table": f"drop table {STAGING}._dlt_version",
    "the schema": f"drop schema {STAGING} cascade",
    "a column": f"alter table {STAGING}.persons drop column name",
}


@pytest.fixture
def account() -> CrmAccount:
    return seeded(12, 30)


def lose(world: World, statement: str) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_way_into_raw_heals_a_lost_staging_table(
    loss: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Each sync of the tenant failed from then on, and `doctor` saw nothing."""
    world.first_sync()
    account.edit("persons", 1, name="makes the staging tables")
    world.sync()
    kinds: tuple[SyncType, ...] = ("incremental", "sweep", "full")
    for number, sync_type in enumerate(kinds, 1):
        account.edit("persons", number, name=f"neu {sync_type}")
        lose(world, LOSSES[loss])
        world.sync(sync_type=sync_type)

    assert_all_equals_source(world, sandbox)
    account.edit("persons", 9, name="einzeln")
    lose(world, LOSSES[loss])
    with open_refresher(
        Scope(ACME, SYSTEM), warehouse=world.warehouse, settings=world.settings
    ) as refresher:
        assert refresher.refresh("persons", ["9"]).updated == 1
