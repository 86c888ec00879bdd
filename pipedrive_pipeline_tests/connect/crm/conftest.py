"""An installation with a synced tenant: one for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.connect.crm.installation import Installed, installation
from pipedrive_pipeline_tests.scenarios.world import World
from pipedrive_pipeline_tests.scenarios.writing import allow_writes


@pytest.fixture(scope="module")
def installed(
    database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    with installation(database_template, Path(tmp_path_factory.mktemp("home"))) as running:
        yield running


@pytest.fixture
def sandbox(installed: Installed) -> Iterator[Sandbox]:
    yield installed.sandbox
    installed.sandbox.faults.clear()


@pytest.fixture
def world(installed: Installed) -> World:
    return installed.world


@pytest.fixture
def admin(installed: Installed) -> httpx.Client:
    """A key that may do everything, of a tenant that allows every write."""
    allow_writes(installed.world)
    return installed.client(Role.ADMIN)
