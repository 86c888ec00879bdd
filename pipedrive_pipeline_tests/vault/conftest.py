"""The vault's fixtures: one database a session, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline_tests.vault import world
from pipedrive_pipeline_tests.vault.world import VaultSetup


@pytest.fixture(scope="session")
def running_world(database_template: str) -> Iterator[VaultSetup]:
    with world.running(database_template) as environment:
        yield environment


@pytest.fixture
def acme(running_world: VaultSetup) -> VaultSetup:
    """A vault with the tenants acme and bravo, neither connected."""
    running_world.forget()
    return running_world
