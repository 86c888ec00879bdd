"""Postgres dies while events arrive and are served: what was answered is there, and is served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from pydantic import AnyHttpUrl

from pipedrive_pipeline.errors import Busy
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.signals.loop import serve_until
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.store import due_scopes
from pipedrive_pipeline.sync.webhooks import lifecycle
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import EmbeddedServer, ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate
from pipedrive_pipeline_tests.connect.browser import running_app
from pipedrive_pipeline_tests.databases import read_few_entities
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at
from pipedrive_pipeline_tests.waiting import wait_until
from pipedrive_pipeline_tests.warehouse.embedded.conftest import open_folder

PATIENCE_SECONDS = 100
EDITS = 20  # between two kills
HALF_AN_HOUR = 1_800  # so long the source may pause after deliveries that failed


@pytest.fixture
def account() -> CrmAccount:
    return seeded(10, 220)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account, has_limits=False) as running:
        yield running


@pytest.fixture
def home() -> Iterator[Path]:
    """Of a server of the test's own, as durable as in production."""
    with open_folder() as folder:
        yield folder
        ensure_running(folder).stop()


@pytest.fixture
def world(home: Path, tmp_path: Path, sandbox: Sandbox) -> World:
    """Acme, connected and synced."""
    url = ensure_running(home).url
    migrate(Warehouse(url))
    read_few_entities(url)
    world = world_at(url, tmp_path)
    world.connect(ACME, sandbox)
    world.sync(sync_type="full")
    return world


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_answered_event_is_lost_when_postgres_dies(
    home: Path, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """The receiver and the loop go on when it is back; nobody has to start them again."""
    kill_amid_events(home, world, sandbox, account, kills=2)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_answered_event_is_lost_by_ten_deaths_of_postgres(
    home: Path, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    kill_amid_events(home, world, sandbox, account, kills=10)


def kill_amid_events(
    home: Path, world: World, sandbox: Sandbox, account: CrmAccount, *, kills: int
) -> None:
    """Kills Postgres so many times, each amid edits of other persons."""
    persons = [row["id"] for row in world.raw(ACME, "persons")]
    with receiving(world), serving(world):
        for kill in range(kills):
            answered_before = len(answered(sandbox))
            for person in persons[kill * EDITS : (kill + 1) * EDITS]:
                account.edit("persons", person, name=f"Edit {kill}")
            amid = answered_before + 1 + 3 * kill % (EDITS // 2)
            wait_until(partial(has_answered, sandbox, amid), PATIENCE_SECONDS, every_seconds=0.002)
            die(ensure_running(home))
            ensure_running(home)
            sandbox.clock.advance(HALF_AN_HOUR)  # with everything that the source repeats
            assert sandbox.webhooks.settled(PATIENCE_SECONDS)
        wait_until(partial(is_served, world), PATIENCE_SECONDS)

    events = world.rows("integration", "webhook_events", "event_key")
    assert len(answered(sandbox)) > kills
    assert answered(sandbox) <= {event["remote_id"] for event in events}
    assert all(event["served_at"] for event in events)
    names = {row["remote_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert {names[person][:5] for person in answered(sandbox)} == {"Edit "}
    world.sync()
    assert_all_equals_source(world, sandbox)


def answered(sandbox: Sandbox) -> set[str]:
    """The ids of the records of which an event was answered with 200."""
    return {each.key for each in sandbox.webhooks.deliveries() if each.status == 200}


def has_answered(sandbox: Sandbox, count: int) -> bool:
    """True if events of so many records were answered with 200."""
    return len(answered(sandbox)) >= count


def is_served(world: World) -> bool:
    """True if no signal waits; what the loop leaves is served as a run of `refresh` serves it."""
    for scope in due_scopes(world.warehouse):
        with suppress(Busy):
            serve_waiting(world.warehouse, world.settings, scope)
    return not world.rows("integration", "signals", "remote_id")


def die(server: EmbeddedServer) -> None:
    """Ends every process of a server at once, as the kernel does when memory is short."""
    postmaster = psutil.Process(server.pid)
    for process in (postmaster, *postmaster.children()):
        process.kill()
    postmaster.wait(PATIENCE_SECONDS)


@contextmanager
def receiving(world: World) -> Iterator[None]:
    """A Connect app for the sandbox's events, with acme's webhook."""
    with running_app(open_vault(world.warehouse, world.settings)) as (url, _):
        settings = world.settings.model_copy(update={"app_url": AnyHttpUrl(url)})
        lifecycle.look_at(world.warehouse, settings, Scope(ACME, SYSTEM))
        yield


@contextmanager
def serving(world: World) -> Iterator[None]:
    """The loop that serves signals."""
    stop = threading.Event()
    loop = threading.Thread(target=serve_until, args=(stop, world.warehouse, world.settings))
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join()
