"""A connected tenant and our own Dagster instance, in this process's environment."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from pipedrive_pipeline.cli.session import CommandSession, dagster_environment
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of, world_at


@pytest.fixture
def account() -> CrmAccount:
    return seeded(20, 40)


@pytest.fixture
def database_url(dagster_template: str) -> Iterator[str]:
    """A migrated database of this test's own, with the tables of Dagster."""
    with databases.copy_of(dagster_template) as url:
        yield url


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve(account) as running:
        yield running


@pytest.fixture
def world(
    database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Tenant acme, connected, in this process's environment too."""
    world = world_at(database_url, tmp_path_factory.mktemp("home"))
    world.connect(ACME, sandbox)
    with environment_of(world) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    return world


@pytest.fixture
def instance(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Our own instance: storage in schema `dagster` of this test's database."""
    for name, value in dagster_environment(CommandSession(world.settings, world.warehouse)).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("tenants", ["acme"])
        yield instance
