"""The same way through the look-alike, which knows nothing of our tests' token endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests.connect import browser
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, HIDDEN, ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.world import VaultSetup


@dataclass(frozen=True)
class SiteWithSandbox:
    """The Connect app whose source is a sandbox."""

    site: ConnectSite
    sandbox: Sandbox

    def connect(self) -> None:
        """Link, consent, confirm, by HTTP alone."""
        client = self.site.browser()
        back = client.get(client.get(self.site.link()).headers["location"])
        landed = client.get(back.headers["location"])
        assert landed.headers["location"] == CONFIRM_PAGE
        form = dict(HIDDEN.findall(client.get(CONFIRM_PAGE).text))
        confirmed = client.post(f"{ROUTES}/confirm", data={**form, "other_company": "yes"})
        assert confirmed.status_code == 303


@pytest.fixture(params=[False, True], ids=["same-token", "rotating"])
def installation(acme: VaultSetup, request: pytest.FixtureRequest) -> Iterator[SiteWithSandbox]:
    account = seeded(organizations=3, persons=5, users=2)
    with serve(account, rotates_refresh_token=request.param) as sandbox:
        yield from _installations(acme, sandbox)


def _installations(acme: VaultSetup, sandbox: Sandbox) -> Iterator[SiteWithSandbox]:
    settings = acme.with_app(
        client_id=sandbox.client_id,
        client_secret=SecretStr(sandbox.client_secret),
        oauth_url=sandbox.url,
    )
    world = replace(acme, vault=Vault(acme.vault.warehouse, settings))
    with browser.served(world) as site:
        yield SiteWithSandbox(site, sandbox)


@pytest.mark.slow
def test_a_tenant_connects_refreshes_disconnects_and_connects_again(
    installation: SiteWithSandbox,
) -> None:
    operator = installation.site.operator()
    installation.connect()
    result = operator.post(f"{ROUTES}/test").json()["data"]
    assert result["works"] is True
    assert result["missingScopes"] == []
    before = installation.site.world.row()

    installation.site.world.expire()
    installation.sandbox.grants.expire_access_tokens()
    assert operator.post(f"{ROUTES}/test").json()["data"]["works"] is True
    ended = operator.delete(f"{ROUTES}/disconnect").json()["data"]
    assert ended["isRevoked"] is True
    assert operator.post(f"{ROUTES}/test").status_code == 404
    installation.connect()

    after = installation.site.world.row()
    assert (after["id"], after["state"]) == (before["id"], "connected")
    assert after["generation"] == before["generation"] + 2


@pytest.mark.slow
def test_an_access_token_that_ended_early_is_renewed_at_the_first_refusal(
    installation: SiteWithSandbox,
) -> None:
    """The database believes it fresh; the source knows better."""
    installation.connect()
    installation.sandbox.grants.expire_access_tokens()

    answer = installation.site.operator().post(f"{ROUTES}/test")

    assert answer.json()["data"]["works"] is True


@pytest.mark.slow
def test_an_uninstall_at_the_source_ends_the_connection(installation: SiteWithSandbox) -> None:
    """By its notice over real HTTP, and without one by the first refused refresh."""
    installation.connect()

    installation.sandbox.revoke()
    answer = installation.site.operator().post(f"{ROUTES}/test")

    assert answer.status_code == 409
    assert installation.site.world.row()["state"] == "needs_reauth"
