"""The vault's world, with a browser before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline_tests.vault import oauth_server, world
from pipedrive_pipeline_tests.vault.oauth_server import OAuthServer
from pipedrive_pipeline_tests.vault.world import World


@pytest.fixture(scope="session")
def template_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with world.template(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with oauth_server.running() as memory:
        yield memory


@pytest.fixture
def acme(template_url: str, oauth: OAuthServer) -> Iterator[World]:
    """A vault with the tenants acme and bravo, neither connected."""
    with world.world(template_url, oauth) as made:
        yield made
