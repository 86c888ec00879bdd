"""Tables and columns of raw that somebody dropped: the next sync fills them again."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.test_staging_lost import lose
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow
RAW = Scope(ACME, SYSTEM).raw_schema
LOSSES = {
    "a table": f"drop table {RAW}.persons cascade",
    "a column of text": f"alter table {RAW}.persons drop column name cascade",
    "a column of json": f"alter table {RAW}.persons drop column emails cascade",
    "a column of a small list": f"alter table {RAW}.users drop column email cascade",
}


@pytest.fixture
def account() -> CrmAccount:
    return seeded(12, 30)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sync_type", ["incremental", "sweep"])
def test_what_was_dropped_from_raw_is_read_again(
    sync_type: SyncType, loss: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A run without the table was green with one row in it; one without the column never ended."""
    world.first_sync()
    account.edit("persons", 1, name="nach dem Verlust")
    lose(world, LOSSES[loss])

    world.sync(sync_type=sync_type)

    assert_all_equals_source(world, sandbox)


def test_a_run_that_dies_after_the_loss_was_seen_leaves_it_to_the_next(
    world: World, sandbox: Sandbox
) -> None:
    """The position is gone with the table, not only in the memory of that run."""
    world.first_sync()
    lose(world, LOSSES["a table"])
    with world.run(ACME, "incremental"):
        pass  # it ends before its first page

    world.sync()

    assert_all_equals_source(world, sandbox)


@pytest.mark.parametrize("table", ["_dlt_version", "_dlt_pipeline_state"])
def test_damaged_notes_of_dlt_are_named_with_what_to_drop(
    table: str, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """The message said that the next run would go on, and it never did."""
    column = {"_dlt_version": "schema", "_dlt_pipeline_state": "state"}[table]
    world.first_sync()
    lose(world, f"update {RAW}.{table} set {column} = 'x'")
    account.edit("persons", 1, name="danach")

    with pytest.raises(LoadRefused, match=r"drop table .*_dlt_version, .*_dlt_pipeline_state"):
        world.sync()
    lose(world, f"drop table {RAW}._dlt_version, {RAW}._dlt_pipeline_state")
    world.sync()

    assert_all_equals_source(world, sandbox)
