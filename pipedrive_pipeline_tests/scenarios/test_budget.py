"""A day's budget that ends during a full read, and the requests until it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import AllowanceSpent, StillPaused, midnight
from pipedrive_pipeline.sync.runs.history import RunFacts, SyncType
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.runs.run import open_run
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

pytestmark = pytest.mark.usefixtures("one_day")
BRAVO = Tenant("bravo")
UNDER_WAY = 40  # tokens of calls that were counted, and broken off before they were sent
FULL_TOKENS = 140  # of 1,200 organizations and 3,500 persons: 3 + 8 pages, definitions, users


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(1_200, 3_500), plan="lite", seats=1) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """Acme and bravo are connected to the same company, which has 30,000 tokens a day."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    world.connect(BRAVO, sandbox)
    return world


def leave(sandbox: Sandbox, tokens: int) -> None:
    """Another app of the company spends all but so much of its day."""
    sandbox.budget.spend(sandbox.budget.remaining - tokens)


def run(
    world: World, sandbox: Sandbox, sync_type: SyncType = "full", tenant: Tenant = ACME
) -> None:
    """One run, at the time that the sandbox's clock shows."""
    facts = RunFacts(Scope(tenant, SYSTEM), sync_type, "manual", None)
    with (
        walk_lock(world.warehouse, Scope(tenant, SYSTEM)) as lock,
        open_run(world.warehouse, world.settings, facts, lock, now=sandbox.clock.now) as begun,
    ):
        list(begun.read())
        begun.build_marts()


@pytest.mark.slow
def test_a_day_that_ends_in_a_backfill_pauses_it_and_the_next_day_finishes_it(
    world: World, sandbox: Sandbox
) -> None:
    """No request is sent in between, and the read resumes where it paused."""
    leave(sandbox, 240)
    resets_at = midnight(sandbox.clock.now())
    with pytest.raises(AllowanceSpent):
        run(world, sandbox)
    calls_when_paused = sandbox.requests.count
    rows_when_paused = len(world.raw(ACME, "organizations"))

    with pytest.raises(StillPaused):
        run(world, sandbox)
    calls_while_paused = sandbox.requests.count
    sandbox.clock.set(resets_at + timedelta(minutes=1))
    run(world, sandbox)

    paused, refused, finished = world.history()
    assert [row["status"] for row in (paused, refused, finished)] == [
        "paused",
        "paused",
        "success",
    ]
    assert (paused["resume_at"], refused["resume_at"]) == (resets_at, resets_at)
    assert 120 - UNDER_WAY <= paused["tokens_spent"] <= 120
    assert refused["api_calls"] == 0
    assert calls_while_paused == calls_when_paused
    assert rows_when_paused > 0
    assert len(world.raw(ACME, "persons")) == len(list(sandbox.truth("persons")))


@pytest.mark.slow
def test_a_run_spends_no_more_than_its_share_of_what_is_left(
    world: World, sandbox: Sandbox
) -> None:
    leave(sandbox, 240)

    with pytest.raises(AllowanceSpent):
        run(world, sandbox)

    assert 120 <= sandbox.budget.remaining <= 120 + UNDER_WAY
    assert sandbox.requests.statuses[429] == 0


@pytest.mark.slow
def test_two_tenants_of_one_company_share_its_day(world: World, sandbox: Sandbox) -> None:
    """The second begins with what the first one left, and knows it before its first call."""
    leave(sandbox, 240)
    with pytest.raises(AllowanceSpent):
        run(world, sandbox)
    calls_before = sandbox.requests.count

    with pytest.raises(AllowanceSpent):
        run(world, sandbox, tenant=BRAVO)

    # 120 are left, of which 60 for each tenant's changes are not for a full read.
    assert sandbox.requests.count == calls_before
    assert 120 <= sandbox.budget.remaining <= 120 + UNDER_WAY


@pytest.mark.slow
def test_changes_of_another_tenant_are_read_while_a_backfill_waits(
    world: World, sandbox: Sandbox
) -> None:
    run(world, sandbox, tenant=BRAVO)
    leave(sandbox, 240)
    with pytest.raises(AllowanceSpent):
        run(world, sandbox)
    sandbox.account.edit("persons", 7, name="Änne Müller")

    run(world, sandbox, "incremental", BRAVO)

    names = {row["id"]: row["name"] for row in world.raw(BRAVO, "persons")}
    assert names[7] == "Änne Müller"


@pytest.mark.slow
def test_a_day_that_the_source_calls_spent_is_spent_for_the_whole_company(
    world: World, sandbox: Sandbox
) -> None:
    sandbox.faults.add("daily_429", after=4)
    with pytest.raises(BudgetSpent) as refused:
        run(world, sandbox)
    calls_before = sandbox.requests.count

    with pytest.raises(AllowanceSpent) as held_back:
        run(world, sandbox, tenant=BRAVO)

    assert sandbox.requests.count == calls_before
    assert held_back.value.resets_at == refused.value.resets_at


@pytest.mark.slow
def test_a_paused_read_asks_to_be_continued(world: World, sandbox: Sandbox) -> None:
    """A sensor starts what is queued; without this a paused first read would wait for a person."""
    leave(sandbox, 240)
    with pytest.raises(AllowanceSpent):
        run(world, sandbox)

    with world.warehouse.transaction() as connection:
        queued = connection.execute(
            "select tenant_id, sync_type, requested_by from integration.sync_requests"
            " where state = 'queued' and tenant_id = 'acme'"
        ).fetchall()

    assert queued == [("acme", "full", "a paused sync")]


@pytest.mark.slow
def test_the_price_of_a_first_read_is_within_a_fifth_of_what_it_costs(
    world: World, sandbox: Sandbox
) -> None:
    source = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM))

    price = source.price(entities_read(world.warehouse, source.scope).values())
    calls_for_the_price = sandbox.requests.count
    spent_before = sandbox.requests.tokens_spent
    run(world, sandbox)

    cost = sandbox.requests.tokens_spent - spent_before
    assert price.tokens_least <= cost <= price.tokens
    assert abs(price.tokens - cost) <= 0.2 * cost
    assert price.limit == 30_000
    assert str(price) == (f"{price.tokens_least} to {price.tokens} tokens, less than 1 % of 30,000")
    assert calls_for_the_price <= 2 + 2  # two for the price, two connected the tenants


@pytest.mark.slow
def test_the_price_of_a_known_account_costs_nothing(world: World, sandbox: Sandbox) -> None:
    run(world, sandbox)
    calls_before, cost = sandbox.requests.count, sandbox.requests.tokens_spent

    source = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM))
    price = source.price(entities_read(world.warehouse, source.scope).values())

    assert sandbox.requests.count == calls_before
    assert abs(price.tokens - cost) <= 0.2 * cost


def test_a_call_that_is_not_allowed_is_never_made(world: World, sandbox: Sandbox) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.sync_settings (tenant_id, system, daily_token_budget)"
            " values ('acme', 'pipedrive', 19)"
        )
    source = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM), is_increment=True)
    calls_before = sandbox.requests.count

    async def walk() -> None:
        async with source.open(lambda _call: None) as opened:
            async for _ in opened.pages(source.entities["persons"], None):
                pass

    with pytest.raises(AllowanceSpent):
        asyncio.run(walk())

    assert sandbox.requests.count == calls_before


def test_a_running_run_has_the_calls_that_are_booked_in_its_row(world: World) -> None:
    """A run that dies keeps them; the history showed 0 calls and 0 tokens of it."""
    with world.run(sync_type="full") as run:
        run.price()
        (row,) = world.rows("integration", "runs")
        booked = world.rows("integration", "api_usage", "call_kind")

    assert row["status"] == "running"
    assert row["tokens_spent"] == sum(usage["tokens"] for usage in booked) > 0
    assert row["api_calls"] == sum(usage["calls"] for usage in booked)
    (ended,) = world.rows("integration", "runs")
    assert ended["tokens_spent"] == row["tokens_spent"]  # it read nothing else
