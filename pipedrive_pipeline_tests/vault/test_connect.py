"""A connection is stored only after it worked once, and nothing is changed when it did not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE as PIPEDRIVE_SYSTEM
from pipedrive_pipeline.errors import BadInput, HostNotAllowed, NotConnected, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connections, lend
from pipedrive_pipeline.vault.connect import connect_with_api_token
from pipedrive_pipeline.vault.errors import CannotChange, OtherCompany, TokenRefused, WrongKey
from pipedrive_pipeline.vault.rotation import check_keys
from pipedrive_pipeline.vault.states import MAY_BECOME, ConnectionState, Reason, change
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup, settings_for

TOKEN = "canary-api-token"
SCOPE = Scope(ACME, PIPEDRIVE)


def connect(world: VaultSetup, *, token: str = TOKEN, url: str | None = None, **more: Any) -> None:
    connect_with_api_token(
        world.vault,
        Scope(more.pop("tenant", ACME), PIPEDRIVE),
        SecretStr(token),
        url or world.oauth.url,
        who="a person",
        **more,
    )


def test_an_api_token_that_works_is_stored_sealed_and_lent(acme: VaultSetup) -> None:
    """And its company is known, because `users/me` is the only place that tells it."""
    acme.oauth.api_tokens[TOKEN] = OAuthCompany()

    connect(acme, url=acme.oauth.url + "/api/v1/")

    row = acme.row()
    assert row["state"] == "connected"
    assert (row["kind"], row["company_id"], row["company_name"]) == (
        "api_token",
        "7654321",
        "Müller & Söhne",
    )
    assert row["is_account_admin"] is True
    assert TOKEN not in str(row)
    credential = lend(ACME, PIPEDRIVE, warehouse=acme.vault.warehouse, settings=acme.vault.settings)
    assert credential.secret.get_secret_value() == TOKEN
    assert credential.base_url == acme.oauth.url


@pytest.mark.parametrize(
    ("change_of", "error"),
    [
        ({"token": "wrong"}, TokenRefused),
        ({"url": "https://evil.example"}, HostNotAllowed),
        ({"url": "http://127.0.0.1.nip.io"}, HostNotAllowed),
        ({"tenant": Tenant("nobody")}, UnknownTenant),
    ],
    ids=["token", "host", "look-alike", "tenant"],
)
def test_a_connection_that_does_not_work_changes_nothing(
    acme: VaultSetup, change_of: dict[str, Any], error: type[Exception]
) -> None:
    """A typing error must not end the connection that works."""
    acme.oauth.api_tokens[TOKEN] = OAuthCompany()
    connect(acme)
    before = acme.rows("select connections::text as connection from integration.connections")

    with pytest.raises(error) as refused:
        connect(acme, **change_of)

    after = acme.rows("select connections::text as connection from integration.connections")
    assert after == before
    assert TOKEN not in str(refused.value)


def test_connecting_asks_for_one_full_sync_and_again_for_what_changed(acme: VaultSetup) -> None:
    """The row and the state are one transaction: no connection without its sync."""
    acme.oauth.api_tokens[TOKEN] = OAuthCompany()

    connect(acme)
    connect(acme)
    connect(acme)

    requests = acme.rows(
        "select sync_type, trigger, state from integration.sync_requests order by requested_at"
    )
    assert requests == [
        {"sync_type": "full", "trigger": "connect", "state": "queued"},
        {"sync_type": "incremental", "trigger": "connect", "state": "queued"},
    ]


def test_another_companys_token_is_refused_until_a_person_confirms(acme: VaultSetup) -> None:
    """Two companies' rows under the same ids would be nobody's."""
    acme.oauth.api_tokens = {TOKEN: OAuthCompany(), "other": OAuthCompany(id=99, name="Other Ltd")}
    connect(acme)
    begun_afresh: list[Tenant] = []

    with pytest.raises(OtherCompany, match=r"Müller & Söhne \(id 7654321\).*Other Ltd \(id 99\)"):
        connect(acme, token="other")
    assert acme.row()["company_id"] == "7654321"
    connect(acme, token="other", start_afresh=lambda _, scope: begun_afresh.append(scope.tenant))

    assert acme.row()["company_id"] == "99"
    assert begun_afresh == [ACME]


def test_each_change_of_state_is_in_the_audit_log_without_a_secret(acme: VaultSetup) -> None:
    """Who, when, from what to what; never a token, not even a sealed one."""
    acme.oauth.api_tokens[TOKEN] = OAuthCompany()
    connect(acme)

    log = acme.rows(
        "select who, tenant_id, action, subject, before, after from integration.audit_log"
    )

    assert log == [
        {
            "who": "a person",
            "tenant_id": "acme",
            "action": "connection.state",
            "subject": "pipedrive",
            "before": {"state": "pending", "reason": None},
            "after": {"state": "connected", "reason": None},
        }
    ]


@pytest.mark.parametrize("state", ConnectionState)
@pytest.mark.parametrize("to", ConnectionState)
def test_a_state_follows_only_where_the_table_says_so(
    acme: VaultSetup, state: ConnectionState, to: ConnectionState
) -> None:
    """One table, one place: nothing brings a disconnected tenant to needs_reauth."""
    acme.connect_acme()
    if state is not ConnectionState.CONNECTED:
        acme.execute(
            "update integration.connections set state = %s, access_token = null, "
            "refresh_token = null",
            state,
        )
    columns = {"access_token": "x"} if to is ConnectionState.CONNECTED else {}

    def act() -> None:
        with acme.vault.warehouse.transaction() as transaction:
            change(
                transaction,
                SCOPE,
                to,
                reason=Reason.DISCONNECTED,
                who="a test",
                columns=columns,
            )

    if to in MAY_BECOME[state]:
        act()
    else:
        with pytest.raises(CannotChange):
            act()
    assert acme.row()["state"] == (to if to in MAY_BECOME[state] else state)


def test_a_wrong_key_is_found_at_start_and_overwrites_nothing(acme: VaultSetup) -> None:
    """Else every tenant would have to consent again after one wrong deploy."""
    acme.connect_acme()
    before = acme.row()
    assert check_keys(acme.vault) == 2
    url = acme.vault.warehouse.url
    wrong = open_vault(acme.vault.warehouse, settings_for(url, acme.oauth))

    with pytest.raises(WrongKey, match="TOKEN_ENCRYPTION_KEYS"):
        check_keys(wrong)
    with pytest.raises(WrongKey):
        lend(ACME, PIPEDRIVE, warehouse=wrong.warehouse, settings=wrong.settings)

    assert acme.row() == before


def test_a_connection_is_shown_without_its_tokens(acme: VaultSetup) -> None:
    acme.connect_acme()

    shown = connections.existing(acme.vault, SCOPE)

    assert shown.state is ConnectionState.CONNECTED
    assert shown.company_name == "Müller & Söhne"
    assert "token" not in " ".join(vars(shown)).replace("token_expires_at", "")
    with pytest.raises(NotConnected):
        connections.existing(acme.vault, Scope(Tenant("bravo"), PIPEDRIVE))


def test_a_system_that_takes_no_api_token_is_sent_none(
    acme: VaultSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person could otherwise type a secret into a call that can never work."""
    only_oauth = replace(PIPEDRIVE_SYSTEM, auth=PIPEDRIVE_SYSTEM.auth[:1])
    monkeypatch.setitem(registry._registered, PIPEDRIVE, only_oauth)

    with pytest.raises(BadInput, match="takes no API token"):
        connect(acme)

    assert acme.oauth.calls == []
