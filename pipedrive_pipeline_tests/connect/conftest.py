"""The Connect app before the vault's world: one of each a session, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline_tests.connect import browser
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.vault import world
from pipedrive_pipeline_tests.vault.world import VaultSetup


@pytest.fixture(scope="session")
def running_site(database_template: str) -> Iterator[ConnectSite]:
    with world.running(database_template) as environment, browser.served(environment) as site:
        yield site


@pytest.fixture
def site(running_site: ConnectSite) -> Iterator[ConnectSite]:
    """The Connect app before a vault with the tenants acme and bravo, neither connected."""
    running_site.forget()
    yield running_site
    running_site.close()


@pytest.fixture
def acme(site: ConnectSite) -> VaultSetup:
    """That vault."""
    return site.world
