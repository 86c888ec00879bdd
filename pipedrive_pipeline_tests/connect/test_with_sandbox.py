"""The same way through the look-alike, which knows nothing of our tests' token endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests.connect import browser
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, HIDDEN, ROUTES, Site
from pipedrive_pipeline_tests.vault.world import World


@dataclass(frozen=True)
class Stage:
    """The Connect app before a sandbox."""

    site: Site
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
def stage(acme: World, request: pytest.FixtureRequest) -> Iterator[Stage]:
    account = seeded(organizations=3, persons=5, users=2)
    with serve(account, rotates_refresh_token=request.param) as sandbox:
        yield from _staged(acme, sandbox)


def _staged(acme: World, sandbox: Sandbox) -> Iterator[Stage]:
    facts = {
        **acme.vault.settings.model_dump(),
        "pipedrive_client_id": sandbox.client_id,
        "pipedrive_client_secret": SecretStr(sandbox.client_secret),
        "pipedrive_oauth_url": sandbox.url,
    }
    world = World(Vault(acme.vault.warehouse, Settings.model_validate(facts)), acme.oauth)
    with browser.served(world) as site:
        yield Stage(site, sandbox)


def test_a_tenant_connects_refreshes_disconnects_and_connects_again(stage: Stage) -> None:
    operator = stage.site.operator()
    stage.connect()
    result = operator.post(f"{ROUTES}/test").json()["data"]
    assert result["works"] is True
    assert result["missingScopes"] == []
    before = stage.site.world.row()

    stage.site.world.expire()
    stage.sandbox.grants.expire_access_tokens()
    assert operator.post(f"{ROUTES}/test").json()["data"]["works"] is True
    ended = operator.delete(f"{ROUTES}/disconnect").json()["data"]
    assert ended["isRevoked"] is True
    assert operator.post(f"{ROUTES}/test").status_code == 404
    stage.connect()

    after = stage.site.world.row()
    assert (after["id"], after["state"]) == (before["id"], "connected")
    assert after["generation"] == before["generation"] + 2


def test_an_access_token_that_ended_early_is_renewed_at_the_first_refusal(stage: Stage) -> None:
    """The database believes it fresh; the source knows better."""
    stage.connect()
    stage.sandbox.grants.expire_access_tokens()

    answer = stage.site.operator().post(f"{ROUTES}/test")

    assert answer.json()["data"]["works"] is True


def test_an_uninstall_at_the_source_ends_the_connection(stage: Stage) -> None:
    """By its notice over real HTTP, and without one by the first refused refresh."""
    stage.connect()

    stage.sandbox.revoke()
    answer = stage.site.operator().post(f"{ROUTES}/test")

    assert answer.status_code == 409
    assert stage.site.world.row()["state"] == "needs_reauth"
