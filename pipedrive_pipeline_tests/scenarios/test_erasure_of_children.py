"""The lists that belong to a record are erased with it, and come back only with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.connectors.contract import Children
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy.person_erasure import Erased, PersonalRecord, erase_records
from pipedrive_pipeline_tests.databases import read_everything
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

CHILDREN = {
    entity.name: entity.read for entity in PIPEDRIVE.entities if isinstance(entity.read, Children)
}
PARTS = {
    "deals": ("deal_products", "deal_contacts", "deal_stage_history"),
    "products": ("product_prices",),
}  # marts by parent


@pytest.fixture
def account() -> CrmAccount:
    account = seeded(5, 8, deals=12, seed=3)
    account.create("product_variations", product_id=1, name="Large")
    return account


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """A tenant that has read every entity."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    read_everything(world.warehouse, ACME)
    world.first_sync()
    return world


def listed(world: World) -> dict[str, dict[int, set[str]]]:
    """Keys in raw by child entity and parent."""
    lists: dict[str, dict[int, set[str]]] = {}
    for name, read in CHILDREN.items():
        key = PIPEDRIVE.by_name[name].key.name
        lists[name] = {}
        for row in world.raw(ACME, name):
            lists[name].setdefault(row[read.column], set()).add(str(row[key]))
    return lists


def rows_of(world: World, parents: set[tuple[str, int]]) -> set[str]:
    """The marts that have rows of these parents."""
    return {
        mart
        for name, record_id in parents
        for mart in PARTS[name]
        for row in world.rows("crm", mart)
        if row[f"{name.removesuffix('s')}_remote_id"] == str(record_id)
    }


def erase(world: World, parents: set[tuple[str, int]]) -> Erased:
    records = [PersonalRecord(SYSTEM, name, str(record_id)) for name, record_id in parents]
    with tenant_lock(world.warehouse, ACME) as lock:
        return erase_records(lock, world.settings, records, who="a test")


def run(world: World, text: str) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(text.encode())


@pytest.mark.slow
def test_the_lists_of_an_erased_record_go_with_it_and_come_back_with_it(
    world: World, account: CrmAccount
) -> None:
    """Neither a read of everything nor an older dump brings them back before their parent."""
    before = listed(world)
    parents = {(CHILDREN[name].of, min(lists)) for name, lists in before.items()}
    kept = {
        name: {key: rows for key, rows in lists.items() if (CHILDREN[name].of, key) not in parents}
        for name, lists in before.items()
    }
    columns = "tenant_id, system, remote_id, deal_remote_id"
    run(world, "create table public.raw_lines as select * from raw_pipedrive_acme.deal_products")
    run(world, f"create table public.lines as select {columns} from crm.deal_products")

    erased = erase(world, parents)

    gone = [
        rows for name in CHILDREN for key, rows in before[name].items() if key not in kept[name]
    ]
    assert erased.raw_rows == len(parents) + sum(map(len, gone))
    assert listed(world) == kept
    assert rows_of(world, parents) == set()
    of_deal = f"= '{min(before['deal_products'])}'"
    run(
        world,
        "insert into raw_pipedrive_acme.deal_products"
        f" select * from public.raw_lines where deal_id::text {of_deal};"
        f" insert into crm.deal_products ({columns})"
        f" select * from public.lines where deal_remote_id {of_deal}",
    )
    world.sync(sync_type="full")
    assert listed(world) == kept
    assert rows_of(world, parents) == set()
    for name, record_id in parents:
        account.edit(name, record_id, **{"title" if name == "deals" else "name": "Back"})
    world.sync()
    now = listed(world)
    for name, lists in before.items():  # the edit itself is one more change
        assert {key: rows & now[name][key] for key, rows in lists.items()} == lists


@pytest.mark.slow
def test_the_lists_of_a_record_that_was_deleted_long_ago_are_erased_with_it(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A changelog is never listed again, so that nothing else would end it."""
    deal = min(listed(world)["deal_changes"])
    account.delete("deals", deal)
    sandbox.clock.advance(31 * 86_400)
    world.sync(sync_type="sweep")
    assert deal in listed(world)["deal_changes"]
    run(world, "update integration.sync_settings set erase_deleted_after_days = 30")
    run(world, "update raw_pipedrive_acme.deletions set seen_at = seen_at - interval '31 days'")

    world.sync()

    assert deal not in {row["id"] for row in world.raw(ACME, "deals")}
    assert {name for name, lists in listed(world).items() if deal in lists} <= {
        "product_variations"  # of a product with this number
    }
    assert rows_of(world, {("deals", deal)}) == set()
