"""Given ids are read again and merged: cheaply, by the tenant's rules, newest over former."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipedrive_pipeline.connectors.contract import Tombstone
from pipedrive_pipeline.errors import BadInput, NotConnected, UnknownTenant
from pipedrive_pipeline.ingest import refresh
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import AllowanceSpent
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.runs.tenant_stores import open_tenant_stores
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.scenarios.oracle import (
    assert_all_equals_source,
    assert_raw_equals_source,
    marked,
)
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, environment_of

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the world's settings into the environment, as an external caller has them."""
    with environment_of(world) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)


def usage(world: World) -> dict[str, tuple[int, int]]:
    """Calls and tokens that are booked, by kind."""
    rows = world.rows("integration", "api_usage", "call_kind")
    return {row["call_kind"]: (row["calls"], row["tokens"]) for row in rows}


@pytest.mark.usefixtures("settings")
def test_given_ids_are_read_again_by_hundreds_and_reach_the_marts_with_the_next_build(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    before, watermarks = usage(world), world.store().cursors
    account.edit("persons", 7, name="eben geändert")
    person_id = account.create("persons", name="eben gemacht")["id"]
    account.delete("persons", 9)
    requests = sandbox.requests.count

    done = refresh("acme", SYSTEM, "persons", [*range(1, 150), person_id, 7, 10**6])

    assert (done.created, done.updated, done.unchanged) == (1, 1, 147)
    assert done.absent == ("9", str(10**6))
    assert sandbox.requests.count - requests == 2
    assert usage(world).items() - before.items() == {("pick persons", (2, 20))}
    assert world.store().cursors == watermarks
    assert marked(world, "persons") == {}, "whether it is gone is the sweep's word"
    world.sync(sync_type="remap")
    names = {row["pipedrive_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert (names[7], names[person_id]) == ("eben geändert", "eben gemacht")
    account.restore("persons", 9)
    world.sync()
    assert_all_equals_source(world, sandbox)


@pytest.mark.usefixtures("settings")
def test_a_row_that_came_back_loses_its_mark_and_is_as_the_source_has_it_now(
    world: World, account: CrmAccount, tmp_path: Path
) -> None:
    """Its time stamp may be older: the source's clock went back, or an import has set it."""
    world.first_sync()
    with world.run() as run:
        stores = open_tenant_stores(tmp_path / "files", run._lock, run._source)
        stores.deletions.mark(run._source.entities["persons"], [Tombstone("7", "deleted")])
    account.plant("persons", 7, name="uralt", update_time="2001-01-01T00:00:00Z")

    done = refresh(ACME, SYSTEM, "persons", ["7"])

    assert (done.updated, done.unchanged, done.restored, done.absent) == (1, 0, 1, ())
    stored = next(row for row in world.raw(ACME, "persons") if row["id"] == 7)
    assert stored["name"] == "uralt"
    assert marked(world, "persons") == {}


@pytest.mark.usefixtures("one_day", "settings")
def test_a_refresh_keeps_the_rules_of_its_tenant(world: World, sandbox: Sandbox) -> None:
    """Lock, connection, share of the day; and a wrong word begins nothing."""
    with world.warehouse.transaction(tenant=ACME) as connection:
        connection.execute(
            "insert into integration.sync_settings (tenant_id, system, daily_token_budget)"
            " values ('acme', %s, 10)",
            [SYSTEM],
        )
    before = sandbox.requests.count

    with pytest.raises(UnknownTenant):
        refresh("nobody", SYSTEM, "persons", [1])
    with pytest.raises(BadInput, match="there are organization_fields"):
        refresh("acme", SYSTEM, "tickets", [1])
    with tenant_lock(world.warehouse, ACME):
        assert refresh("acme", SYSTEM, "persons", [1]).is_signalled
    with pytest.raises(AllowanceSpent):
        refresh("acme", SYSTEM, "persons", [1])
    assert refresh("acme", SYSTEM, "persons", []).absent == ()
    disconnect(open_vault(world.warehouse, world.settings), Scope(ACME, SYSTEM), who="a test")
    with pytest.raises(NotConnected):
        refresh("acme", SYSTEM, "persons", [1])

    assert sandbox.requests.count == before


def test_a_sweep_reads_again_what_lives_and_was_not_listed(
    world: World, account: CrmAccount
) -> None:
    """A page may leave records out; they are looked up, and come as they are now."""
    with serve(account, page_rows=20) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        account.edit_many("persons", range(301, 311), job_title="neu")
        sandbox.clock.advance(10)
        account.edit_many("persons", range(1, 31), job_title="neu")
        sandbox.faults.add("half_page", path="/api/v2/persons", after=15)  # of 18 pages

        read = world.sync(sync_type="sweep", now=sandbox.clock.now).reads["persons"]

        assert (read.missing, read.extra, read.stale, read.deleted) == (0, 10, 0, 0)
        assert read.updated == 40
        assert_raw_equals_source(world, sandbox)


def test_a_row_that_was_seen_and_never_loaded_is_looked_up(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A run died between the two, and the row was deleted before the next one came by."""
    world.first_sync()
    late = account.create("persons", name="kam nie an")["id"]
    account.delete("persons", late)

    def remember(_read: EntityRead) -> None:
        with world.warehouse.transaction() as connection:
            connection.execute(
                "insert into staging_pipedrive_acme.seen_keys (entity, id, version)"
                " values ('persons', %s, null) on conflict do nothing",
                [str(late)],
            )

    read = world.sync(sync_type="sweep", on_page=remember).reads["persons"]

    assert (read.missing, read.stale, read.is_complete) == (0, 0, True)
    assert_raw_equals_source(world, sandbox)
