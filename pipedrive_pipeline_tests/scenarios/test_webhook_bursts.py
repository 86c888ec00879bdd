"""Bursts of events with every fault of delivery, and processes that die while they serve them."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from statistics import quantiles

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sync.signals.loop import serve_until
from pipedrive_pipeline_tests.databases import read_only
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.edits import EDITS, SALES_EDITS
from pipedrive_pipeline_tests.scenarios.live_tenant import LiveTenant, live_by_webhook
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.postgres_proxy import PostgresProxy, postgres_proxy
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at
from pipedrive_pipeline_tests.waiting import wait_until

pytestmark = pytest.mark.slow
SEED = 20_261_129
READ = (
    *("organization_fields", "person_fields", "deal_fields", "users"),
    *("organizations", "persons", "pipelines", "stages", "deals"),
)
FAULTS = ("webhook_duplicated", "webhook_reordered", "webhook_duplicated", "webhook_lost")
EDITS_OF_ALL = EDITS | SALES_EDITS
# More often what keeps a company from being empty in the end.
ACTS = [
    *(["edit"] * 6 + ["create"] * 3 + ["restore", "delete", "merge", "edit_many"]),
    *(["move_deal"] * 3 + ["edit_one"] * 2 + ["create_one"] * 2),
    *("close_deal", "archive_one", "delete_one", "restore_one"),
]
PATIENCE_SECONDS = 30
EDITS_BETWEEN_ARRIVALS = 500


@pytest.fixture
def account() -> CrmAccount:
    return seeded(20, 60, deals=15, organization_fields=6, person_fields=6)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def live(database_url: str, tmp_path: Path, sandbox: Sandbox) -> Iterator[LiveTenant]:
    """Acme, synced, with an event for every edit from now on."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    read_only(world.warehouse, ACME, READ)
    world.first_sync()
    with live_by_webhook(world, sandbox) as live:
        yield live


def assert_served(live: LiveTenant) -> None:
    """Nothing waits, and every event that was answered is served."""
    world = live.world
    assert world.rows("integration", "signals", "remote_id") == []
    events = world.rows("integration", "webhook_events", "event_key")
    assert [row["event_key"] for row in events if row["served_at"] is None] == []


def test_an_edit_is_in_crm_when_its_event_was_served(live: LiveTenant, account: CrmAccount) -> None:
    """The whole way, over HTTP: edit, event, signal, raw, marts; without a sync."""
    account.edit("persons", 7, name="LiveTenant")
    account.delete("persons", 8)
    account.merge("persons", 9, 10)
    made = account.create("organizations", name="New")

    served = live.serve()

    assert served.errors == ()
    assert_served(live)
    contacts = {row["remote_id"]: row for row in live.world.rows("crm", "contacts")}
    assert contacts["7"]["name"] == "LiveTenant"
    assert contacts["8"]["deletion_reason"] == "deleted"
    assert contacts["9"]["merged_into_remote_id"] == "10"
    customers = {row["remote_id"] for row in live.world.rows("crm", "customers")}
    assert str(made["id"]) in customers
    assert_all_equals_source(live.world, live.sandbox)


def test_the_loop_serves_events_as_they_arrive(live: LiveTenant, account: CrmAccount) -> None:
    """From the edit to the row, without the start of a process in between."""
    seconds = edited_to_row(live, account, lambda count: count < 6)

    assert_served(live)
    assert max(seconds) < PATIENCE_SECONDS


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_edit_is_in_crm_within_five_seconds(live: LiveTenant, account: CrmAccount) -> None:
    seconds = edited_to_row(live, account, lambda count: count < 100)

    assert quantiles(seconds, n=20)[-1] <= 5, seconds


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_an_edit_is_in_crm_within_thirty_seconds_while_100_000_persons_are_read(
    database_url: str, tmp_path: Path
) -> None:
    account = seeded(20, 100_000, deals=15, organization_fields=6, person_fields=6)
    with serve(account, has_limits=False) as sandbox:
        world = world_at(database_url, tmp_path)
        world.connect(ACME, sandbox)
        read_only(world.warehouse, ACME, READ)
        world.sync(sync_type="full")
        whole_read = threading.Thread(target=partial(world.sync, sync_type="full"))
        with live_by_webhook(world, sandbox) as live:
            whole_read.start()
            seconds = edited_to_row(live, account, lambda _count: whole_read.is_alive())
            whole_read.join()

    assert len(seconds) > 3
    assert quantiles(seconds, n=20)[-1] <= 30, seconds


def edited_to_row(
    live: LiveTenant, account: CrmAccount, goes_on: Callable[[int], bool]
) -> list[float]:
    """The seconds from each edit to its row, while a loop serves the signals.

    Args:
        live: the tenant.
        account: of the source.
        goes_on: False after so many edits.
    """
    world, stop = live.world, threading.Event()
    seconds: list[float] = []
    loop = threading.Thread(target=serve_until, args=(stop, world.warehouse, world.settings))
    loop.start()
    try:
        while goes_on(len(seconds)):
            name, began = f"Edit {len(seconds)}", time.monotonic()
            account.edit("persons", 7, name=name)
            wait_until(partial(_is_named, world, name), 2 * PATIENCE_SECONDS)
            seconds.append(time.monotonic() - began)
        wait_until(lambda: not world.rows("integration", "signals", "remote_id"), PATIENCE_SECONDS)
    finally:
        stop.set()
        loop.join()
    return seconds


def _is_named(world: World, name: str) -> bool:
    with world.warehouse.connect() as connection:
        query = "select from crm.contacts where remote_id = '7' and name = %s"
        return connection.execute(query, [name]).rowcount == 1


def burst(live: LiveTenant, account: CrmAccount, count: int) -> None:
    """So many edits, with faults of delivery; some are served while others arrive."""
    chance = random.Random(SEED)  # noqa: S311
    for number in range(count):
        if chance.random() < 0.1:
            live.sandbox.faults.add(chance.choice(FAULTS))
        EDITS_OF_ALL[chance.choice(ACTS)](account, chance.randrange(1_000))
        if number % (count // 2) == count // 4:
            live.serve_once()
        if number % EDITS_BETWEEN_ARRIVALS == 0:
            live.arrived()  # edits are faster than their delivery
    live.sandbox.clock.advance(10)  # what no other event overtook
    assert live.serve().errors == ()
    assert_served(live)
    live.world.sync()
    live.world.sync(sync_type="sweep", is_confirmed=True)
    assert_all_equals_source(live.world, live.sandbox)


@pytest.mark.timeout(600)
def test_a_burst_with_every_fault_of_delivery_equals_the_source_after_the_next_walk(
    live: LiveTenant, account: CrmAccount
) -> None:
    burst(live, account, 150)

    assert len(live.world.rows("integration", "webhook_events", "event_key")) > 200


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_twenty_thousand_events_equal_the_source_after_the_next_walk(
    live: LiveTenant, account: CrmAccount
) -> None:
    burst(live, account, 12_000)

    assert len(live.world.rows("integration", "webhook_events", "event_key")) > 20_000


@pytest.mark.timeout(600)
def test_no_event_is_lost_by_a_kill(live: LiveTenant, account: CrmAccount) -> None:
    """Any process that serves signals may die anywhere."""
    kill_while_serving(live, account, 20)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_event_is_lost_by_two_hundred_kills(live: LiveTenant, account: CrmAccount) -> None:
    kill_while_serving(live, account, 200)


def kill_while_serving(live: LiveTenant, account: CrmAccount, count: int) -> None:
    """Kills so many refreshes at places that are spread over all that one of them does."""
    chance, world, killed = random.Random(SEED), live.world, 0  # noqa: S311
    with postgres_proxy(world.warehouse.url) as proxy:
        _edit(live, account, 0)
        proxy.arm(10**9, "before", lambda: None)
        assert worker.ended(worker.start_serving(world, ACME, url=proxy.url)) == 0
        pieces = proxy.count
        for number in range(1, count + 1):
            _edit(live, account, number)
            if number % 5 == 0:
                at = Point("call", 1 + number % 2, chance.choice(("before", "after")))
                code = worker.ended(worker.start_serving(world, ACME, at=at))
            else:
                code = _killed_at(world, proxy, chance.randrange(number % 4, pieces + 1))
            assert code in {-signal.SIGKILL, 0}
            killed += code != 0
            world.wait_for_the_dead()
    assert killed >= count // 2

    assert live.serve().errors == ()
    assert_served(live)
    assert_all_equals_source(world, live.sandbox)


def _edit(live: LiveTenant, account: CrmAccount, number: int) -> None:
    """Edits, a deletion and a restoration; every event arrives."""
    account.edit("persons", number % 30 + 1, name=f"Person {number}")
    account.edit("deals", number % 10 + 1, title=f"Deal {number}")
    gone = 31 + number % 20
    if number % 40 < 20:
        account.delete("persons", gone)
    else:
        account.restore("persons", gone)
    live.arrived()


def _killed_at(world: World, proxy: PostgresProxy, piece: int) -> int:
    """The exit code of a refresh that dies after a piece of what it sends to Postgres."""
    victim: Future[ForkServerProcess] = Future()
    proxy.arm(piece, "after", lambda: worker.kill(victim.result(PATIENCE_SECONDS)))
    victim.set_result(worker.start_serving(world, ACME, url=proxy.url))
    return worker.ended(victim.result())
