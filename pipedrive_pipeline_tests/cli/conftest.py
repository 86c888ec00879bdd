"""A warehouse, a sandbox, and a terminal whose settings lead to both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.scenarios.world import World, environment_of, world_at


@pytest.fixture
def database_url(dagster_template: str) -> Iterator[str]:
    """A migrated database of this test's own, with the tables of Dagster."""
    with databases.copy_of(dagster_template) as url:
        yield url


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(12, 35)) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> World:
    """A warehouse without tenants."""
    return world_at(database_url, tmp_path)


@pytest.fixture
def terminal(world: World) -> Iterator[Terminal]:
    with environment_of(world) as settings:
        yield Terminal(settings)


@pytest.fixture
def in_process(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> InProcessTerminal:
    return InProcessTerminal(terminal, monkeypatch, capsys)
