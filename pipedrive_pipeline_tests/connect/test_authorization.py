"""Consent without a web app: what the command line and the callback both call."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent import oauth_flow
from pipedrive_pipeline.connect.errors import CodeRefused, ConsentDeclined, StateRefused
from pipedrive_pipeline.errors import (
    Busy,
    ClientRejected,
    HostNotAllowed,
    SettingsError,
    SourceUnavailable,
    UnknownTenant,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import lend
from pipedrive_pipeline.vault.errors import NothingToConfirm, OtherCompany
from pipedrive_pipeline.vault.pending import PendingGrant
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests.trust import TLS
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import ACME, PIPEDRIVE, VaultSetup

SCOPE = Scope(ACME, PIPEDRIVE)


def begun(world: VaultSetup, session: str = "browser") -> str:
    """The state of a consent that this session began."""
    return oauth_flow.begin(world.vault, SCOPE, session=session, who="the operator").state


def arrived(
    world: VaultSetup, company: OAuthCompany | None = None, session: str = "browser"
) -> PendingGrant:
    return oauth_flow.finish(
        world.vault,
        PIPEDRIVE,
        session=session,
        state=begun(world, session),
        code=world.oauth.consent(company),
    )


def test_a_browser_that_consents_leads_to_a_connection_named_and_confirmed(
    acme: VaultSetup,
) -> None:
    """The whole way over HTTP, as the demo walks it."""
    session = signing.fresh()
    begun = oauth_flow.begin(acme.vault, SCOPE, session=session, who="the operator")
    back = parse_qs(urlsplit(httpx.get(begun.url, verify=TLS).headers["location"]).query)

    waiting = oauth_flow.finish(
        acme.vault, PIPEDRIVE, session=session, state=back["state"][0], code=back["code"][0]
    )
    assert waiting.account.company_name == "Müller & Söhne"
    assert acme.row()["state"] == "pending"
    connection = oauth_flow.confirm(acme.vault, waiting.id)

    assert connection.state == "connected"
    assert connection.scopes == ("base", "contacts:read", "users:read")
    credential = lend(ACME, PIPEDRIVE, warehouse=acme.vault.warehouse, settings=acme.vault.settings)
    assert acme.oauth.company_of(credential.secret.get_secret_value(), "")
    acme.expire()
    lend(ACME, PIPEDRIVE, warehouse=acme.vault.warehouse, settings=acme.vault.settings)
    assert acme.oauth.calls == ["exchange", "me", "refresh"]
    assert acme.rows("select sync_type, trigger from integration.sync_requests") == [
        {"sync_type": "full", "trigger": "connect"}
    ]


def test_a_working_connection_stays_until_the_new_consent_is_confirmed(acme: VaultSetup) -> None:
    """Closing the page changes nothing."""
    acme.connect_acme()
    before = acme.row()

    arrived(acme)

    assert acme.row() == before


def test_a_consent_is_confirmed_once(acme: VaultSetup) -> None:
    """The second click, or a replayed form, finds nothing."""
    waiting = arrived(acme)
    oauth_flow.confirm(acme.vault, waiting.id)

    with pytest.raises(NothingToConfirm):
        oauth_flow.confirm(acme.vault, waiting.id)


def test_a_consent_left_alone_for_ten_minutes_cannot_be_confirmed(acme: VaultSetup) -> None:
    waiting = arrived(acme)
    acme.execute("update integration.pending_grants set expires_at = now()")

    with pytest.raises(NothingToConfirm):
        oauth_flow.confirm(acme.vault, waiting.id)


def test_another_company_needs_a_second_yes_and_its_rows_are_marked(acme: VaultSetup) -> None:
    """The old rows keep their ids, which other tables may refer to; raw and mapping start empty."""
    acme.connect_acme()
    acme.execute("create schema raw_pipedrive_acme create table persons (id bigint)")
    acme.execute(
        "insert into crm.customers (tenant_id, system, remote_id, name) values "
        "('acme', 'pipedrive', '1', 'Old'), ('acme', null, null, 'made by the app'),"
        " ('bravo', 'pipedrive', '1', 'B')"
    )
    acme.execute(
        "insert into crm.contacts (tenant_id, system, remote_id, customer_id) "
        "select tenant_id, 'pipedrive', '7', id from crm.customers where name = 'Old'"
    )
    acme.execute(
        "insert into integration.erased_records (tenant_id, system, entity, record_id, receipt)"
        " select slug, 'pipedrive', 'persons', '5', gen_random_uuid() from integration.tenants"
    )
    before = acme.rows("select id, name from crm.customers order by name")
    waiting = arrived(acme, OAuthCompany(id=99, name="Other Ltd"))
    assert waiting.held_company == "Müller & Söhne"

    with pytest.raises(OtherCompany):
        oauth_flow.confirm(acme.vault, waiting.id)
    assert acme.row()["company_id"] == "7654321"
    oauth_flow.confirm(acme.vault, waiting.id, is_other_company_confirmed=True)

    assert acme.row()["company_id"] == "99"
    assert acme.rows("select id, name from crm.customers order by name") == before
    marked = acme.rows(
        "select name, pipedrive_id, former_remote_id, deletion_reason from crm.customers "
        "where deleted_at is not null"
    )
    assert marked == [
        {
            "name": "Old",
            "pipedrive_id": None,
            "former_remote_id": "1",
            "deletion_reason": "company_changed",
        }
    ]
    assert acme.rows(
        "select former_remote_id, deletion_reason, customer_id is null as is_loose "
        "from crm.contacts"
    ) == [{"former_remote_id": "7", "deletion_reason": "company_changed", "is_loose": False}]
    assert acme.rows("select to_regnamespace('raw_pipedrive_acme') as schema") == [{"schema": None}]
    erased = acme.rows("select distinct tenant_id from integration.erased_records")
    assert {"tenant_id": "acme"} not in erased  # its person 5 is another one now
    assert {"tenant_id": "bravo"} in erased


def test_a_company_is_not_changed_while_a_sync_runs(acme: VaultSetup) -> None:
    """It would write the former company's rows again."""
    acme.connect_acme()
    waiting = arrived(acme, OAuthCompany(id=99, name="Other Ltd"))

    with walk_lock(acme.vault.warehouse, Scope(ACME, PIPEDRIVE)), pytest.raises(Busy):
        oauth_flow.confirm(acme.vault, waiting.id, is_other_company_confirmed=True)

    assert acme.row()["company_id"] == "7654321"
    oauth_flow.confirm(acme.vault, waiting.id, is_other_company_confirmed=True)


@pytest.mark.parametrize(
    "forged",
    [None, "", "x", "x.y", "a" * 10_000, "ä", "' or 1=1 --", "\x00", "{{7*7}}"],
    ids=["absent", "empty", "short", "dotted", "long", "umlaut", "sql", "nul", "template"],
)
def test_a_state_that_we_never_made_is_refused_without_a_call(
    acme: VaultSetup, forged: str | None
) -> None:
    with pytest.raises(StateRefused):
        oauth_flow.finish(
            acme.vault, PIPEDRIVE, session="browser", state=forged, code=acme.oauth.consent()
        )

    assert acme.oauth.calls == []


def test_a_state_works_once(acme: VaultSetup) -> None:
    state = begun(acme)
    oauth_flow.finish(
        acme.vault, PIPEDRIVE, session="browser", state=state, code=acme.oauth.consent()
    )
    acme.oauth.calls.clear()

    with pytest.raises(StateRefused):
        oauth_flow.finish(
            acme.vault, PIPEDRIVE, session="browser", state=state, code=acme.oauth.consent()
        )

    assert acme.oauth.calls == []


def test_a_state_of_another_browser_is_refused_and_used_up(acme: VaultSetup) -> None:
    """Login CSRF: an attacker's code in a victim's browser, or a stolen state."""
    state = begun(acme, session="victim")

    for session in ("attacker", "victim"):
        with pytest.raises(StateRefused):
            oauth_flow.finish(
                acme.vault, PIPEDRIVE, session=session, state=state, code=acme.oauth.consent()
            )

    assert acme.oauth.calls == []


def test_a_state_older_than_ten_minutes_is_refused(acme: VaultSetup) -> None:
    state = begun(acme)
    acme.execute("update integration.oauth_states set expires_at = now()")

    with pytest.raises(StateRefused):
        oauth_flow.finish(
            acme.vault, PIPEDRIVE, session="browser", state=state, code=acme.oauth.consent()
        )

    assert acme.oauth.calls == []


@pytest.mark.parametrize("error", ["user_denied", "access_denied", "", "<script>"])
def test_a_declined_consent_makes_no_call_even_with_a_code(acme: VaultSetup, error: str) -> None:
    """An answer with both an error and a code is a refusal."""
    with pytest.raises(ConsentDeclined):
        oauth_flow.finish(
            acme.vault,
            PIPEDRIVE,
            session="browser",
            state=begun(acme),
            code=acme.oauth.consent(),
            error=error,
        )

    assert acme.oauth.calls == []


@pytest.mark.parametrize("code", [None, "", "c" * 10_000])
def test_a_callback_without_a_possible_code_makes_no_call(
    acme: VaultSetup, code: str | None
) -> None:
    with pytest.raises(ConsentDeclined):
        oauth_flow.finish(acme.vault, PIPEDRIVE, session="browser", state=begun(acme), code=code)

    assert acme.oauth.calls == []


def test_a_code_that_the_source_does_not_know_stores_nothing(acme: VaultSetup) -> None:
    with pytest.raises(CodeRefused):
        oauth_flow.finish(
            acme.vault, PIPEDRIVE, session="browser", state=begun(acme), code="replayed"
        )

    assert acme.rows("select pending_grants.id from integration.pending_grants") == []


def test_a_token_answer_that_names_a_foreign_host_sends_it_nothing(acme: VaultSetup) -> None:
    acme.oauth.api_domain = "https://pipedrive.com.evil.example"

    with pytest.raises(HostNotAllowed):
        arrived(acme)

    assert acme.oauth.calls == ["exchange"]
    assert acme.rows("select pending_grants.id from integration.pending_grants") == []


def test_a_token_endpoint_in_trouble_stores_nothing(acme: VaultSetup) -> None:
    acme.oauth.faults = ["503"]

    with pytest.raises(SourceUnavailable):
        arrived(acme)

    assert acme.rows("select pending_grants.id from integration.pending_grants") == []


def test_a_wrong_client_secret_is_the_operators(acme: VaultSetup) -> None:
    wrong = acme.with_app(client_id="another-app")
    world = replace(acme, vault=Vault(acme.vault.warehouse, wrong))

    with pytest.raises(ClientRejected):
        arrived(world)


def test_without_an_app_registered_consent_says_which_setting_is_missing(acme: VaultSetup) -> None:
    without = acme.with_app(client_secret=None)

    with pytest.raises(SettingsError, match="PIPEDRIVE_CLIENT_SECRET"):
        begun(replace(acme, vault=Vault(acme.vault.warehouse, without)))


def test_an_unknown_tenant_begins_nothing(acme: VaultSetup) -> None:
    with pytest.raises(UnknownTenant):
        oauth_flow.begin(
            acme.vault,
            Scope(Tenant("nobody"), PIPEDRIVE),
            session="browser",
            who="the operator",
        )
