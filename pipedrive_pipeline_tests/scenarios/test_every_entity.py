"""A tenant that reads every kind of record: what arrives, what it costs, what is gone and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import Children
from pipedrive_pipeline.connectors.pipedrive.entities import ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline_tests.databases import read_everything, read_only
from pipedrive_pipeline_tests.scenarios.oracle import assert_raw_equals_source, marked
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at
from pipedrive_pipeline_tests.trust import TLS

COSTLY = {name for name, spec in PIPEDRIVE.by_name.items() if not spec.is_on_by_default}


@pytest.fixture
def account() -> CrmAccount:
    return seeded(30, 40, deals=60, seed=3)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """A tenant that reads every entity at every sync."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    read_everything(world.warehouse, ACME)
    return world


def read(
    world: World, sync_type: SyncType = "incremental", entities: Sequence[str] | None = None
) -> dict[str, EntityRead]:
    """Reads into raw, without marts and views."""
    with world.run(sync_type=sync_type) as run:
        return {each.entity.name: each for each in run.read(entities)}


def set_cycles(world: World, hours: dict[str, int]) -> None:
    """Sets the hours between two reads."""
    with world.warehouse.transaction(ACME) as connection:
        connection.execute(
            "update integration.sync_settings set entity_cycles = %s", [Jsonb(hours)]
        )


def read_default(world: World) -> None:
    """Lets the tenant read what is on by default."""
    read_only(world.warehouse, ACME, set(PIPEDRIVE.by_name) - COSTLY)


def paths_since(sandbox: Sandbox, number: int) -> Counter[str]:
    """How often each path was called since this request."""
    return Counter(request.path for request in sandbox.requests.since(number))


@pytest.mark.slow
def test_every_record_of_every_entity_arrives(world: World, sandbox: Sandbox) -> None:
    """Value by value, children and text keys included, at a price that was known before.

    The second run changes nothing.
    """
    entities = entities_read(world.warehouse, Scope(ACME, SYSTEM)).values()
    price = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM)).price(entities)
    first = world.sync(sync_type="full")
    assert_raw_equals_source(world, sandbox)

    second = world.sync()

    assert set(first.reads) == set(PIPEDRIVE.by_name)
    assert all(read.is_complete for read in (*first.reads.values(), *second.reads.values()))
    assert all(read.fetched for name, read in first.reads.items() if name != "product_variations")
    assert {name: read.created + read.updated for name, read in second.reads.items()} == (
        dict.fromkeys(second.reads, 0)
    )
    assert_raw_equals_source(world, sandbox)
    for name, read in first.reads.items():
        assert price.ranges[name].least <= read.tokens <= price.ranges[name].most, name
    assert changes(world) == changes_at_source(world, sandbox)


@pytest.mark.slow
def test_a_sync_without_changes_costs_one_call_for_each_list(
    world: World, sandbox: Sandbox
) -> None:
    """And writes nothing. It is the sum that docs/entities.md shows."""
    read(world, "full")
    before, spent_before = sandbox.requests.count, sandbox.requests.tokens_spent

    reads = read(world)

    lists = [
        each.path
        for endpoint in ENDPOINTS.values()
        if not isinstance(endpoint.spec.read, Children)
        for each in endpoint.lists
        if each.has_since
    ]
    assert paths_since(sandbox, before) == Counter(lists)
    unchanged = sum(entity.cost.tokens_of_no_change for entity in PIPEDRIVE.entities)
    assert sandbox.requests.tokens_spent - spent_before == unchanged
    assert not [read.entity.name for read in reads.values() if read.created + read.updated]


@pytest.mark.slow
def test_an_entity_waits_for_its_cycle_but_not_when_it_is_named(
    world: World,
) -> None:
    """A run that reads everything or names the entity takes no notice of cycles."""
    read_default(world)
    set_cycles(world, {"notes": 24, "lead_sources": 0, "activity_types": 0})
    read(world, "full")

    left_out = set(PIPEDRIVE.by_name) - COSTLY - set(read(world))
    named = read(world, entities=["notes"])
    everything = read(world, "full")
    set_cycles(world, {"notes": 0, "lead_sources": 0, "activity_types": 0})
    at_every_sync = read(world)

    assert left_out == {"notes"}
    assert set(named) == {"notes"}
    assert set(everything) == set(at_every_sync) == set(PIPEDRIVE.by_name) - COSTLY


@pytest.mark.slow
def test_lines_of_a_changed_deal_are_read_again_in_one_call(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Only those of deals that changed; a line that is gone is marked."""
    read_default(world)
    read(world, "full")
    line = next(iter(sandbox.truth("deal_products")))
    account.delete("deal_products", line["id"])
    account.edit("deals", line["deal_id"], title="neu")
    before = sandbox.requests.count

    read(world)

    assert paths_since(sandbox, before)["/api/v2/deals/products"] == 1
    assert marked(world, "deal_products") == {str(line["id"]): "deleted"}
    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_archiving_is_no_deletion(world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    """A deal leaves one list and enters the other; neither a sync nor a sweep takes it for gone."""
    read_default(world)
    read(world, "full")
    deal = next(each for each in sandbox.truth("deals") if is_live(each))
    account.edit("deals", deal["id"], is_archived=True)
    lead = next(each for each in sandbox.truth("leads") if not each["is_archived"])
    account.edit("leads", lead["id"], is_archived=True)

    read(world)
    stored = {row["id"]: row for row in world.raw(ACME, "deals")}[deal["id"]]
    read(world, "sweep")

    assert stored["is_archived"]
    assert {row["id"]: row for row in world.raw(ACME, "leads")}[lead["id"]]["is_archived"]
    assert marked(world, "deals") == marked(world, "leads") == {}
    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_what_is_deleted_is_marked_by_the_sweep(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Deals say it themselves, for 30 days; of the others the list does no longer hold them."""
    read_default(world)
    read(world, "full")
    gone = {
        name: next(each for each in sandbox.truth(name) if is_live(each))["id"]
        for name in ("deals", "products", "activities", "notes", "leads", "pipelines")
    }
    for name, record_id in gone.items():
        account.delete(name, record_id)

    read(world, "sweep")

    deals = {row["id"]: row for row in world.raw(ACME, "deals")}
    assert (deals[gone["deals"]]["is_deleted"], marked(world, "deals")) == (True, {})
    for name in ("products", "activities", "notes", "leads", "pipelines"):
        assert marked(world, name)[str(gone[name])] == "deleted", name
    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_a_deal_that_is_purged_is_marked_without_a_person_s_word(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """More than 50 deals that the source itself listed as deleted may leave its list at once."""
    read_default(world)
    ids = [each["id"] for each in sandbox.truth("deals") if is_live(each)][:51]
    for deal_id in ids:
        account.delete("deals", deal_id)
    read(world, "full")
    sandbox.clock.advance(31 * 86_400)

    reads = read(world, "sweep")

    assert reads["deals"].is_complete
    assert marked(world, "deals").keys() >= {str(deal_id) for deal_id in ids}
    assert_raw_equals_source(world, sandbox)


@pytest.mark.slow
def test_an_entity_without_its_scope_is_skipped_and_the_others_are_read(
    world: World, sandbox: Sandbox
) -> None:
    sandbox.faults.add("scope_403", times=99, path="/v1/leads")

    read_default(world)
    with world.run(sync_type="full") as run:
        run.price()  # as the command and the asset do before they read everything
        reads = {each.entity.name: each for each in run.read()}

    assert reads["leads"].is_set_aside
    assert reads["notes"].is_complete
    assert "leads" in world.history()[-1]["warnings"][0]["message"]


def is_live(record: dict[str, Any]) -> bool:
    """True of a record that is neither deleted nor archived."""
    return not record.get("is_deleted") and not record.get("is_archived")


def changes(world: World) -> Counter[tuple[Any, ...]]:
    """The changes of deals in raw."""
    return Counter(
        (row["deal_id"], row["field_key"], row["old_value"], row["new_value"])
        for row in world.raw(ACME, "deal_changes")
    )


def changes_at_source(world: World, sandbox: Sandbox) -> Counter[tuple[Any, ...]]:
    """The changes of every deal in raw that ever moved, read from each changelog."""
    found: Counter[tuple[Any, ...]] = Counter()
    for deal in world.raw(ACME, "deals"):
        if deal["stage_change_time"] is None:
            continue
        path = f"{sandbox.url}/v1/deals/{deal['id']}/changelog"
        answer = httpx.get(
            path, params={"limit": 500}, headers={"x-api-token": sandbox.api_token}, verify=TLS
        )
        for row in answer.json().get("data") or []:
            found[deal["id"], row["field_key"], row["old_value"], row["new_value"]] += 1
    return found
