"""The main job: everything, then only what changed."""

from __future__ import annotations

from pipedrive_pipeline.sandbox import Account, Sandbox
from pipedrive_pipeline_tests.scenarios.world import ACME, World


def test_a_second_sync_of_an_unchanged_account_asks_one_page_each_and_rewrites_nothing(
    world: World, sandbox: Sandbox
) -> None:
    """Rewritten rows bloat the warehouse and wake every reader that follows changes."""
    world.sync(sync_type="full")
    before = [world.raw(ACME, "persons"), world.rows("crm", "contacts")]
    calls_before = sandbox.requests.count

    world.sync()

    assert sandbox.requests.count - calls_before == 5
    assert [world.raw(ACME, "persons"), world.rows("crm", "contacts")] == before


def test_an_edit_arrives_and_nothing_else_is_touched(world: World, account: Account) -> None:
    world.sync(sync_type="full")
    account.edit("persons", 7, name="Änne Müller")

    synced = world.sync()

    assert synced.reads["persons"].updated == 1
    assert synced.built.contacts.updated == 1
    names = {row["pipedrive_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert names[7] == "Änne Müller"
