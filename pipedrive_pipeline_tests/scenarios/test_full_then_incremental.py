"""The main job: everything, then only what changed."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_a_second_sync_of_an_unchanged_account_asks_one_page_each_and_rewrites_nothing(
    world: World, sandbox: Sandbox
) -> None:
    """Rewritten rows bloat the warehouse and wake every reader that follows changes."""
    world.first_sync()
    before = [world.raw(ACME, "persons"), world.rows("crm", "contacts")]
    calls_before = sandbox.requests.count

    world.sync()

    assert sandbox.requests.count - calls_before == 5
    assert [world.raw(ACME, "persons"), world.rows("crm", "contacts")] == before


@pytest.mark.slow
def test_an_edit_arrives_and_nothing_else_is_touched(world: World, account: CrmAccount) -> None:
    world.first_sync()
    account.edit("persons", 7, name="Änne Müller")

    synced = world.sync()

    assert synced.reads["persons"].updated == 1
    assert synced.built.counts["contacts"].updated == 1
    names = {row["pipedrive_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert names[7] == "Änne Müller"


@pytest.mark.slow
def test_what_the_warehouse_refused_is_read_again_however_late(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A watermark that is committed before its rows would have passed them by."""
    world.first_sync()
    account.edit("persons", 7, name="Änne Müller")
    sandbox.clock.advance(3_600)
    account.edit("persons", 8, name="Later")
    with world.warehouse.connect(autocommit=True) as connection:
        raw = "raw_pipedrive_acme.persons"
        connection.execute(f"alter table {raw} add constraint no check (name <> 'Änne Müller')")
        with pytest.raises(LoadRefused):
            world.sync(now=sandbox.clock.now)
        connection.execute(f"alter table {raw} drop constraint no")

    world.sync(now=sandbox.clock.now)

    assert_all_equals_source(world, sandbox)
