"""Stage visits from end to end: deals of the look-alike move, and syncs read them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.world.changelog import changelog
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.tenancy.person_erasure import PersonalRecord, erase_records
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.postgres_proxy import PostgresProxy, postgres_proxy
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

READ = ("users", "pipelines", "stages", "deals")
DEALS = 40


@pytest.fixture
def account() -> CrmAccount:
    return seeded(3, 3, deals=DEALS, seed=5)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """A tenant that reads deals and what they refer to, without their changelogs."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    read_only(world, *READ)
    return world


def read_only(world: World, *names: str) -> None:
    """Switches every other entity off."""
    with world.warehouse.transaction(ACME) as connection:
        connection.execute(
            "update integration.sync_settings set entities_off = %s",
            [[name for name in ENTITIES if name not in names]],
        )


def visits(world: World, *, also_gone: bool = False) -> dict[int, list[dict[str, Any]]]:
    """The visits of each deal in order."""
    by_deal: dict[int, list[dict[str, Any]]] = {}
    with world.warehouse.connect() as connection:
        rows = connection.cursor(row_factory=dict_row).execute(
            "select * from crm.deal_stage_history where %s or deleted_at is null"
            " order by entered_at, left_at nulls last",
            [also_gone],
        )
        for row in rows:
            by_deal.setdefault(int(row["deal_remote_id"]), []).append(row)
    return by_deal


def stages(world: World, deal_id: int) -> list[int]:
    """The stages of one deal in order."""
    return [int(row["stage_remote_id"]) for row in visits(world)[deal_id]]


def versions(world: World, deal_id: int) -> list[tuple[int, str]]:
    """Stage and status of each version in raw's history."""
    return [
        (row["stage_id"], row["status"])
        for row in world.rows(Scope(ACME, SYSTEM).raw_schema, "deals_history", "history_id")
        if row["id"] == deal_id
    ]


def movable(account: CrmAccount) -> dict[str, Any]:
    """A new open deal in the first stage of its pipeline."""
    return account.create("deals", title="New")


def stages_of(account: CrmAccount, deal: dict[str, Any]) -> list[int]:
    """The stages of the deal's pipeline in order."""
    every = [
        account.get("stages", number) for number in range(1, account.records["stages"].last_id + 1)
    ]
    own = [stage for stage in every if stage["pipeline_id"] == deal["pipeline_id"]]
    return [stage["id"] for stage in sorted(own, key=lambda stage: stage["order_nr"])]


@pytest.mark.slow
def test_moves_that_syncs_see_are_visits_and_a_full_resync_changes_none(
    world: World, account: CrmAccount
) -> None:
    """Neither a full read, nor one that starts over, nor a remap."""
    deal = movable(account)
    first, second, third, *_ = stages_of(account, deal)
    world.sync()
    for stage in (second, first, third):
        account.edit("deals", deal["id"], stage_id=stage)
        world.sync()
    account.edit("deals", deal["id"], status="won")
    world.sync()
    account.edit("deals", deal["id"], status="open")
    world.sync()
    before = visits(world)

    world.sync(sync_type="full")
    world.sync(sync_type="sweep")

    assert visits(world) == before
    assert stages(world, deal["id"]) == [first, second, first, third]
    names = [entry["status"] for entry in before[deal["id"]][-1]["statuses"]]
    assert names == ["open", "won", "open"]
    assert before[deal["id"]][-1]["stage_id"] is not None


@pytest.mark.slow
def test_the_changelog_gives_the_past_of_every_deal_that_moved(
    world: World, account: CrmAccount
) -> None:
    """Every move of the look-alike, with its time; the last stage is the deal's own."""
    world.sync()
    seen_before = {deal_id: len(rows) for deal_id, rows in visits(world).items()}
    read_only(world, *READ, "deal_changes")
    for _ in range(20):  # a run reads no more than its share allows
        if not world.sync().reads["deal_changes"].fetched:
            break

    after = visits(world)
    moved = 0
    for deal_id, rows in after.items():
        moves = [
            row for row in reversed(changelog(account, deal_id)) if row["field_key"] == "stage_id"
        ]
        deal = account.get("deals", deal_id)
        if not moves or deal["stage_change_time"] is None:
            assert len(rows) == 1
            continue
        moved += 1
        expected = [moves[0]["old_value"], *(move["new_value"] for move in moves)]
        assert [row["stage_remote_id"] for row in rows] == expected
        times = [f"{row['entered_at']:%Y-%m-%d %H:%M:%S}" for row in rows[1:]]
        assert times == [move["time"] for move in moves]
        assert {row["origin"] for row in rows} == {"source_history"}
        assert int(rows[-1]["stage_remote_id"]) == deal["stage_id"]
    assert moved >= DEALS // 4
    assert sum(map(len, after.values())) > sum(seen_before.values())


@pytest.mark.slow
def test_the_price_of_the_changelogs_is_that_of_the_deals_that_moved(
    world: World, sandbox: Sandbox
) -> None:
    """Known before, without a call, once deals were read; and it is what they cost."""
    world.first_sync()
    read_only(world, *READ, "deal_changes")
    source = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM))
    calls = sandbox.requests.count

    price = source.price([ENTITIES["deal_changes"]])

    assert sandbox.requests.count == calls
    moved = [row for row in world.raw(ACME, "deals") if row["stage_change_time"]]
    assert price.tokens_least == price.tokens == 20 * len(moved) > 0
    reads = [world.sync(entities=["deal_changes"]).reads["deal_changes"] for _ in range(2)]
    assert reads[0].tokens == price.tokens
    assert reads[1].tokens == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sync_killed_anywhere_doubles_and_loses_no_visit(
    world: World, account: CrmAccount
) -> None:
    """Raw and its history are one transaction, and so are the marts."""
    deal = movable(account)
    first, second, *_ = stages_of(account, deal)
    world.sync()
    expected = [first]
    with postgres_proxy(world.warehouse.url) as proxy:
        for number, piece in enumerate(range(40, 700, 110)):
            stage = (second, first)[number % 2]
            account.edit("deals", deal["id"], stage_id=stage)
            expected.append(stage)
            assert sync_killed_at(world, proxy, piece) in {-signal.SIGKILL, 0}
            world.wait_for_the_dead()

            world.sync()

            assert stages(world, deal["id"]) == expected
            assert [stage for stage, _ in versions(world, deal["id"])] == expected


def sync_killed_at(world: World, proxy: PostgresProxy, piece: int) -> int:
    """The exit code of a sync that dies after a piece of what it sends to Postgres."""
    victim: Future[ForkServerProcess] = Future()
    proxy.arm(piece, "after", lambda: worker.kill(victim.result(30)))
    victim.set_result(worker.start_sync(world, ACME, url=proxy.url))
    return worker.ended(victim.result())


@pytest.mark.slow
def test_an_erased_deal_leaves_no_history_and_no_visit(world: World, account: CrmAccount) -> None:
    deal = movable(account)
    world.sync()
    account.edit("deals", deal["id"], stage_id=stages_of(account, deal)[1])
    world.sync()
    assert len(versions(world, deal["id"])) == 2
    record = PersonalRecord(SYSTEM, "deals", str(deal["id"]))

    with tenant_lock(world.warehouse, ACME) as lock:
        erased = erase_records(lock, world.settings, [record], who="a test")
    world.sync(sync_type="full")

    assert erased.mart_rows["deal_stage_history"] == 2
    assert versions(world, deal["id"]) == []
    assert deal["id"] not in visits(world, also_gone=True)


@pytest.mark.slow
def test_another_company_has_a_history_of_its_own(world: World) -> None:
    """Equal ids are other deals: the former company's visits stay, under their former ids."""
    world.sync()
    count = sum(map(len, visits(world, also_gone=True).values()))
    other = seeded(3, 3, deals=7, seed=9)
    other.company_id = 2

    with serve(other, has_limits=False) as running:
        world.connect(ACME, running, is_other_company=True)
        world.sync()

    with world.warehouse.connect() as connection:
        former = connection.execute(
            "select count(*), count(*) filter (where deletion_reason = 'company_changed'"
            " and remote_id is null) from crm.deal_stage_history"
            " where former_remote_id is not null"
        ).fetchone()
    rows = world.rows(Scope(ACME, SYSTEM).raw_schema, "deals_history", "history_id")
    assert former == (count, count)
    ids = {row["id"] for row in rows}
    assert len(rows) == len(ids) == len(world.raw(ACME, "deals")) < DEALS
    assert visits(world).keys() <= ids
