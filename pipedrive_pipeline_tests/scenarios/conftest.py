"""A small world for each scenario."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sync.budget.daily_budget import midnight
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at

SPARE = timedelta(seconds=30)  # within which a test with a day's budget is over


@pytest.fixture
def one_day() -> None:
    """Waits for the next day in UTC, which has a new budget, if a test could outlast this one."""
    left = midnight(datetime.now(UTC)) - datetime.now(UTC)
    if left < SPARE:
        time.sleep(left.total_seconds())


@pytest.fixture
def account(request: pytest.FixtureRequest) -> CrmAccount:
    """A company; a test's parameters for it are arguments of `seeded`."""
    return seeded(120, 350, **getattr(request, "param", {}))


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """A warehouse in which tenant acme is connected to the sandbox."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    return world
