"""What a sync may cost, and how little of it is done twice: the figures that we promise."""

from __future__ import annotations

import math
import signal
from collections import Counter
from concurrent.futures import Future
from multiprocessing.context import ForkServerProcess

import pytest

from pipedrive_pipeline.connectors.pipedrive.windows import PAGES_PER_SPLIT, WORKERS_MAX
from pipedrive_pipeline.ingest.reading import Reader
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, mart, read_by
from pipedrive_pipeline_tests.scenarios.world import ACME, World

TOKENS_WITHOUT_CHANGES = 60
PAGE_LIMIT = 500
KILL_PAGE_ROWS = 20
KILL_CHUNK_PAGES = 2
KILL_PERSONS = 400  # in 20 pages and 10 chunks


@pytest.mark.slow
def test_a_sync_without_changes_costs_sixty_tokens_and_rewrites_no_row(
    world: World, sandbox: Sandbox
) -> None:
    """A row that is rewritten for nothing has another xmin."""
    world.first_sync()
    sandbox.clock.advance(3_600)
    raw_before = {name: world.raw(ACME, name) for name in read_by(world)}
    marts_before = [mart(world, name) for name in ("customers", "contacts")]
    tokens_before = sandbox.requests.tokens_spent

    world.sync()

    assert sandbox.requests.tokens_spent - tokens_before <= TOKENS_WITHOUT_CHANGES
    assert {name: world.raw(ACME, name) for name in read_by(world)} == raw_before
    assert [mart(world, name) for name in ("customers", "contacts")] == marts_before


@pytest.mark.slow
def test_a_full_read_asks_for_each_page_once(world: World) -> None:
    with serve(seeded(1_700, 5_200, organization_fields=5, person_fields=5)) as sandbox:
        world.connect(ACME, sandbox)
        before = sandbox.requests.count

        world.sync(sync_type="full")

        calls = Counter(request.path for request in sandbox.requests.since(before))
        for path, entity in (
            ("/api/v2/organizations", "organizations"),
            ("/api/v2/persons", "persons"),
        ):
            pages = math.ceil(len(world.raw(ACME, entity)) / PAGE_LIMIT)
            assert calls.pop(path) <= max(1.05 * pages, pages + 2)
        assert calls == {
            "/api/v2/organizationFields": 1,
            "/api/v2/personFields": 1,
            "/v1/users": 1,
        }


@pytest.mark.slow
@pytest.mark.parametrize("call", [14, 19])
def test_a_backfill_that_was_killed_reads_one_chunk_and_the_read_ahead_again(
    call: int, world: World
) -> None:
    account = seeded(30, KILL_PERSONS, organization_fields=2, person_fields=2)
    with serve(account, page_rows=KILL_PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        victim: Future[ForkServerProcess] = Future()
        path = "/api/v2/persons"
        sandbox.faults.before(call, lambda: worker.kill(victim.result(30)), path=path)
        chunk_rows = KILL_CHUNK_PAGES * KILL_PAGE_ROWS
        begun = worker.start_sync(world, ACME, sync_type="full", chunk_rows=chunk_rows)
        victim.set_result(begun)
        assert worker.ended(begun) == -signal.SIGKILL
        world.wait_for_the_dead()

        resumed = world.sync(sync_type="full", chunk_rows=chunk_rows)

        pages = math.ceil(len(world.raw(ACME, "persons")) / KILL_PAGE_ROWS)
        asked = len(list(sandbox.requests.of(path)))
        look_for_the_newest = 1
        under_way = 2 * WORKERS_MAX  # each has a page that it offers, or a call
        read_ahead = KILL_CHUNK_PAGES
        splits = pages // PAGES_PER_SPLIT
        repeated = KILL_CHUNK_PAGES + read_ahead + under_way
        assert asked - pages <= repeated + splits + look_for_the_newest
        assert resumed.reads["persons"].resumed_rows > 0
        assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_a_full_read_that_died_before_its_plan_ended_knows_what_it_saw(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with the last page alone; all others would seem to be gone."""
    with serve(seeded(30, KILL_PERSONS), page_rows=KILL_PAGE_ROWS) as sandbox:
        world.connect(ACME, sandbox)
        with monkeypatch.context() as patched:
            patched.setattr(Reader, "_end_plans", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                world.sync(sync_type="full")

        resumed = world.sync(sync_type="full")

        assert resumed.reads["persons"].resumed_rows > 0
        assert resumed.reads["persons"].deleted == 0
        assert_all_equals_source(world, sandbox)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt
