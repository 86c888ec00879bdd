"""A lent credential is fresh despite faults of the source, the network or another process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.errors import (
    ClientRejected,
    HostNotAllowed,
    NotConnected,
    ReauthNeeded,
    SourceBroke,
    SourceUnavailable,
)
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import lend
from pipedrive_pipeline_tests.vault.oauth_server import Rotation
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup


def lent(world: VaultSetup, refused: Credential | None = None, tenant: Tenant = ACME) -> Credential:
    return lend(
        tenant,
        PIPEDRIVE,
        refused=refused,
        warehouse=world.vault.warehouse,
        settings=world.vault.settings,
    )


def works(world: VaultSetup, credential: Credential) -> bool:
    return world.oauth.company_of(credential.secret.get_secret_value(), "") is not None


def test_a_fresh_token_is_lent_without_a_call(acme: VaultSetup) -> None:
    """The fast path is one read: a sync lends for each page of minutes."""
    acme.connect_acme()

    credential = lent(acme)

    assert works(acme, credential)
    assert credential.base_url == acme.oauth.url
    assert credential.kind == "oauth"
    assert acme.oauth.calls == []


def test_the_tenant_may_be_named_by_its_slug(
    acme: VaultSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`vault.lend(tenant, system)` takes everything else from the environment."""
    acme.connect_acme()
    settings = acme.vault.settings
    assert settings.database_url
    keys = settings.encryption_keys()
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("TOKEN_ENCRYPTION_KEYS", keys[0].get_secret_value())

    assert works(acme, lend("acme", PIPEDRIVE))


@pytest.mark.parametrize("rotation", ["static", "silent", "grace", "strict"])
def test_an_expired_token_is_refreshed_once_and_stored(
    acme: VaultSetup, rotation: Rotation
) -> None:
    """Whether the source sends the same refresh token, none, or another."""
    acme.connect_acme()
    acme.oauth.rotation = rotation
    for _ in range(3):
        acme.expire()

        first, second = lent(acme), lent(acme)

        assert works(acme, first)
        assert first == second
    assert acme.oauth.calls == ["refresh"] * 3
    assert acme.row()["refresh_started_at"] is None


def test_a_token_is_refreshed_minutes_before_it_ends(acme: VaultSetup) -> None:
    """Else it ends in the middle of a page."""
    acme.connect_acme()
    acme.execute(
        "update integration.connections set token_issued_at = now() - interval '56 minutes', "
        "token_expires_at = now() + interval '4 minutes'"
    )

    lent(acme)

    assert acme.oauth.calls == ["refresh"]


def test_a_source_with_short_lives_is_not_refreshed_at_each_call(acme: VaultSetup) -> None:
    """A token of one minute is fresh for half of it, not never."""
    acme.connect_acme()
    acme.oauth.expires_in = 60
    acme.expire()

    lent(acme)
    lent(acme)

    assert acme.oauth.calls == ["refresh"]


def test_a_refused_token_is_refreshed_although_it_has_not_ended(acme: VaultSetup) -> None:
    """A source may end a token early; the refused one is never lent again."""
    acme.connect_acme()
    refused = lent(acme)

    newer = lent(acme, refused)

    assert newer.secret != refused.secret
    assert newer.generation > refused.generation
    assert lent(acme, refused) == newer  # a second caller, refused as well, gets the same
    assert acme.oauth.calls == ["refresh"]


def test_invalid_grant_asks_for_a_new_consent_and_is_not_repeated(acme: VaultSetup) -> None:
    """The state is committed before the error leaves: the next caller makes no call."""
    refresh_token = acme.connect_acme()
    acme.oauth.revoke(refresh_token)
    acme.expire()

    for _ in range(2):
        with pytest.raises(ReauthNeeded, match="acme: pipedrive no longer accepts"):
            lent(acme)

    assert acme.oauth.calls == ["refresh"]
    assert acme.row()["state"] == "needs_reauth"
    assert acme.row()["state_reason"] == "invalid_grant"


def test_a_wrong_client_secret_ends_no_consent(acme: VaultSetup) -> None:
    """The operator's mistake concerns all tenants: none of them may have to consent again."""
    acme.connect_acme()
    acme.expire()
    wrong = acme.with_app(client_secret=SecretStr("not-it"))

    with pytest.raises(ClientRejected, match="PIPEDRIVE_CLIENT_SECRET"):
        lend(ACME, PIPEDRIVE, warehouse=acme.vault.warehouse, settings=wrong)

    assert acme.row()["state"] == "connected"
    assert works(acme, lent(acme))


@pytest.mark.parametrize("fault", ["500", "503", "429", "html", "lost"])
def test_trouble_at_the_source_leaves_the_state_alone(acme: VaultSetup, fault: str) -> None:
    """The next call tries again and succeeds."""
    acme.connect_acme()
    acme.expire()
    acme.oauth.faults = [fault]

    with pytest.raises((SourceUnavailable, SourceBroke)):
        lent(acme)

    assert acme.row()["state"] == "connected"
    assert works(acme, lent(acme))


def test_a_token_that_still_works_is_lent_while_the_source_is_in_trouble(acme: VaultSetup) -> None:
    """Refreshing early must not make a short outage of the token endpoint ours."""
    acme.connect_acme()
    acme.execute(
        "update integration.connections set token_issued_at = now() - interval '58 minutes', "
        "token_expires_at = now() + interval '2 minutes'"
    )
    acme.oauth.faults = ["500"]

    assert works(acme, lent(acme))


@pytest.mark.parametrize("rotation", ["static", "silent", "grace"])
def test_a_lost_answer_costs_nothing_where_the_old_token_is_honoured(
    acme: VaultSetup, rotation: Rotation
) -> None:
    """The old one is still stored, and tried again."""
    acme.connect_acme()
    acme.oauth.rotation = rotation
    acme.oauth.faults = ["lost"]
    acme.expire()
    with pytest.raises(SourceUnavailable):
        lent(acme)
    assert acme.row()["refresh_started_at"] is not None

    assert works(acme, lent(acme))
    assert acme.row()["refresh_started_at"] is None


def test_a_lost_answer_under_strict_rotation_ends_after_one_try(acme: VaultSetup) -> None:
    """Nobody can close that window; it must not become a loop, and it must say what happened."""
    acme.connect_acme()
    acme.oauth.rotation = "strict"
    acme.oauth.faults = ["lost"]
    acme.expire()
    with pytest.raises(SourceUnavailable):
        lent(acme)

    for _ in range(3):
        with pytest.raises(ReauthNeeded, match="answer to a refresh was lost"):
            lent(acme)

    assert acme.oauth.calls == ["refresh", "refresh"]
    assert acme.row()["state_reason"] == "refresh_answer_lost"


@pytest.mark.parametrize(
    "api_domain",
    [
        "https://pipedrive.com.evil.example",
        "https://169.254.169.254",
        "http://[::1]",
        "https://2130706433",
        "https://user@127.0.0.1",
        "file:///etc/passwd",
    ],
)
def test_a_refresh_that_names_a_foreign_host_is_not_followed(
    acme: VaultSetup, api_domain: str
) -> None:
    """The token stays here, and so does the grant: nothing is lost when the host is listed."""
    acme.connect_acme()
    acme.expire()
    acme.oauth.rotation = "strict"
    acme.oauth.api_domain = api_domain

    for _ in range(2):
        with pytest.raises(HostNotAllowed, match="PIPEDRIVE_ALLOWED_HOSTS"):
            lent(acme)

    assert acme.row()["api_domain"] == acme.oauth.url
    acme.oauth.api_domain = None
    assert works(acme, lent(acme))


def test_a_renamed_company_is_followed_to_its_new_address(acme: VaultSetup) -> None:
    """Each refresh returns `api_domain`, and the newest counts."""
    acme.connect_acme()
    acme.expire()
    acme.oauth.api_domain = acme.oauth.url + "/"

    assert lent(acme).base_url == acme.oauth.url


def test_an_api_token_is_lent_as_it_is_and_not_after_it_was_refused(acme: VaultSetup) -> None:
    """It cannot be refreshed: refused, it needs a person."""
    acme.connect_acme()
    acme.execute("update integration.connections set kind = 'api_token', token_expires_at = null")
    credential = lent(acme)
    assert lent(acme) == credential

    with pytest.raises(ReauthNeeded, match="API token"):
        lent(acme, credential)
    with pytest.raises(ReauthNeeded):
        lent(acme)

    assert acme.row()["state"] == "needs_reauth"
    assert acme.oauth.calls == []


def test_a_stale_refusal_of_an_api_token_does_not_end_its_successor(acme: VaultSetup) -> None:
    """A run that began before the tenant connected again must not undo that."""
    acme.connect_acme()
    acme.execute("update integration.connections set kind = 'api_token', token_expires_at = null")
    current = lent(acme)

    assert lent(acme, replace(current, generation=current.generation - 1)) == current


def test_a_tenant_that_never_connected_gets_no_credential(acme: VaultSetup) -> None:
    with pytest.raises(NotConnected, match="connect --tenant bravo"):
        lent(acme, tenant=Tenant("bravo"))
