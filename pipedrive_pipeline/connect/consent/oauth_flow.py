"""The steps of an OAuth consent, for the web callback and for the command line.

Source: RFC 6749 §4.1, RFC 7636, RFC 9700 §4.5 and §4.7.

    begin ──► (browser at the source) ──► finish ──► (a person reads the company) ──► confirm
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
from pydantic import SecretStr

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.connect.consent.company_change import start_afresh
from pipedrive_pipeline.connect.consent.links import LinkTarget
from pipedrive_pipeline.connect.errors import CodeRefused, ConsentDeclined, StateRefused
from pipedrive_pipeline.connectors.contract import Account, Credential
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.connectors.oauth import TokenGrant
from pipedrive_pipeline.connectors.refusals import GrantRefused
from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connect, pending
from pipedrive_pipeline.vault.connect import NewConnection
from pipedrive_pipeline.vault.connection_rows import ConnectionTokens, database_time
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.errors import NothingToConfirm, TokenRefused
from pipedrive_pipeline.vault.pending import PendingGrant
from pipedrive_pipeline.vault.vault import Vault

STATE_MINUTES = 10
STATE_PURPOSE = "oauth-state"
VERIFIER_PURPOSE = "pkce-verifier"
STATES_OF_LINK_MAX = 20  # browsers and previews that open one link
CODE_MAX_CHARACTERS = 2_048


@dataclass(frozen=True)
class StartedConsent:
    """The address that the browser goes to, and the state that must come back from there."""

    url: str
    state: str


def begin(
    vault: Vault,
    scope: Scope,
    *,
    session: str,
    who: str,
    link: LinkTarget | None = None,
) -> StartedConsent:
    """Begins a consent in this browser session; its state works once, for ten minutes.

    The tenant's connection does not change.

    Args:
        vault: the vault.
        scope: the tenant that will be connected, and the system.
        session: a secret that only this browser holds (`signing.fresh`).
        who: the person or key, for the audit log.
        link: the one-time link that the browser opened; the source's answer uses it up.

    Raises:
        SettingsError: the operator has not set the app's id or secret.
        UnknownTenant: no such tenant.
    """
    app = vault.oauth_app(scope)
    state = signing.signed(vault.settings, STATE_PURPOSE, signing.fresh())
    url = app.authorize_url(state, _verifier(vault, state))
    values = {
        "state_hash": signing.hashed(state),
        "session_hash": signing.hashed(session),
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "who": who,
        "minutes": STATE_MINUTES,
        "link_hash": link and link.link_hash,
    }
    with vault.warehouse.transaction() as transaction:
        transaction.execute(_DELETE_OLD_STATES, {**values, "kept": STATES_OF_LINK_MAX - 1})
        try:
            transaction.execute(_ADD_STATE, values)
        except psycopg.errors.ForeignKeyViolation:
            raise UnknownTenant(scope.tenant.slug) from None
    return StartedConsent(url, state)


def finish(
    vault: Vault,
    system: str,
    *,
    session: str,
    state: str | None,
    code: str | None,
    error: str | None = None,
) -> PendingGrant:
    """Exchanges the code for a grant and names its company; the grant waits for `confirm`.

    The state is used up first, in every case.

    Args:
        vault: the vault.
        system: the connector's key, of the callback's path.
        session: the secret of the browser that came back.
        state: as the source sent it.
        code: as the source sent it.
        error: as the source sent it; any error is a refusal.

    Raises:
        StateRefused: forged, foreign, used, expired or missing. No call was made.
        ConsentDeclined: the source sent an error instead of a code. No call was made.
        CodeRefused: the source does not know the code.
        OtherCompany: the link allows connecting the tenant's company again, and this is another.
        ClientRejected, HostNotAllowed: the operator must act.
        SourceUnavailable, SourceBroke: no usable answer; the person starts again.
    """
    started = _use_state(vault, system, session, state)
    scope = Scope(started.tenant, system)
    if error is not None or not code or not state or len(code) > CODE_MAX_CHARACTERS:
        raise ConsentDeclined
    grant = _exchange(vault, scope, SecretStr(code), _verifier(vault, state))
    with vault.warehouse.transaction() as transaction:
        if started.reconnects_only:
            connect.require_same_company(transaction, scope, grant.account)
        arrival = NewConnection(scope, grant.tokens(transaction), grant.account, started.who)
        pending.hold(
            transaction,
            vault.cipher,
            arrival,
            signing.hashed(session),
            came_by_link=started.came_by_link,
        )
    waiting = pending.of_session(vault, signing.hashed(session))
    if waiting is None:
        raise NothingToConfirm
    return waiting


def confirm(
    vault: Vault,
    grant_id: UUID,
    *,
    is_other_company_confirmed: bool = False,
    is_choice_awaited: bool = False,
) -> TenantConnection:
    """Makes the grant the connection and asks for its sync, unless a choice comes before it.

    Raises:
        NothingToConfirm: it was confirmed before, or ten minutes are over.
        OtherCompany: the tenant holds rows of another company and that was not confirmed.
        Busy: a sync of the former company is running.
    """
    return pending.confirm(
        vault,
        grant_id,
        start_afresh=start_afresh if is_other_company_confirmed else None,
        is_choice_awaited=is_choice_awaited,
    )


@dataclass(frozen=True)
class _UsedState:
    """The consent that a state began."""

    tenant: Tenant
    who: str
    came_by_link: bool
    reconnects_only: bool


def _use_state(vault: Vault, system: str, session: str, state: str | None) -> _UsedState:
    """Deletes the state, and the one-time link that it came from.

    Raises:
        StateRefused: forged, foreign, used, expired or missing, or its link was used before.
    """
    if not state or not signing.is_ours(vault.settings, STATE_PURPOSE, state):
        raise StateRefused
    with vault.warehouse.transaction() as transaction:
        row = transaction.execute(_DELETE_STATE, (signing.hashed(state),)).fetchone()
        if row is None:
            raise StateRefused
        tenant_id, who, state_system, session_hash, link_hash, is_in_time = row
        is_same_browser = signing.is_same(session_hash, signing.hashed(session))
        is_usable, link = is_same_browser and is_in_time and state_system == system, None
        if is_usable and link_hash is not None:
            link = links.use_up(transaction, link_hash)
            is_usable = link is not None
    if not is_usable:
        raise StateRefused
    return _UsedState(
        Tenant(tenant_id),
        who,
        came_by_link=link is not None,
        reconnects_only=link is not None and link.reconnects_only,
    )


@dataclass(frozen=True)
class _TestedGrant:
    """A grant whose token has opened the account once."""

    grant: TokenGrant
    base_url: str  # checked
    account: Account

    def tokens(self, transaction: psycopg.Connection) -> ConnectionTokens:
        issued_at = database_time(transaction)
        return ConnectionTokens(
            kind="oauth",
            access=self.grant.access_token,
            refresh=self.grant.refresh_token,
            api_domain=self.base_url,
            issued_at=issued_at,
            expires_at=issued_at + timedelta(seconds=self.grant.expires_in_seconds),
            scopes=self.grant.scopes,
        )


def _exchange(vault: Vault, scope: Scope, code: SecretStr, verifier: str) -> _TestedGrant:
    """Exchanges the code, checks the host and reads the account. Nothing is stored."""
    try:
        app = vault.oauth_app(scope)
        grant = app.exchange(code, verifier)
        base_url = checked_base_url(grant.api_domain or "", app.allowed_hosts)
        credential = Credential("oauth", grant.access_token, base_url)
        account = connect.account_of_credential(vault, scope, credential)
    except (GrantRefused, TokenRefused):
        raise CodeRefused from None
    return _TestedGrant(grant, base_url, account)


def _verifier(vault: Vault, state: str) -> str:
    """The PKCE verifier of a consent: derived from the state, so that none is stored."""
    return signing.derived(vault.settings, VERIFIER_PURPOSE, state)


_DELETE_OLD_STATES = """
delete from integration.oauth_states
where oauth_states.expires_at < now()
    or oauth_states.state_hash in (
        select surplus.state_hash
        from integration.oauth_states as surplus
        where surplus.link_hash = %(link_hash)s
        order by surplus.created_at desc
        offset %(kept)s
    )
"""
_ADD_STATE = """
insert into integration.oauth_states (
    state_hash, session_hash, tenant_id, system, started_by, link_hash, expires_at
)
values (
    %(state_hash)s, %(session_hash)s, %(tenant)s, %(system)s, %(who)s, %(link_hash)s,
    now() + make_interval(mins => %(minutes)s)
)
"""
_DELETE_STATE = """
delete from integration.oauth_states
where oauth_states.state_hash = %s
returning
    oauth_states.tenant_id,
    oauth_states.started_by,
    oauth_states.system,
    oauth_states.session_hash,
    oauth_states.link_hash,
    oauth_states.expires_at > now()
"""
