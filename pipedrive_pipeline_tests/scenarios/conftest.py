"""A small world for each scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at


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
