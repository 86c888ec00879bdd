"""A usable credential for one tenant: the stored token if it is fresh, else a refreshed one.

At most one refresh of a connection runs at a time, over all processes. The order, and what a
process that dies after each step leaves behind:

1. a lock in a session of its own: one process refreshes, the others wait; the lock ends with the
   session;
2. ``refresh_started_at`` is committed: from here on an answer may be lost;
3. the row is locked and read again: a disconnect or a reconnect meanwhile wins;
4. one call with a deadline: the source may now have replaced the refresh token;
5. the new pair is committed, the mark removed; only then is the token lent.

After 2 to 4 the old token is still stored and tried once more. If the source does not rotate, or
accepts the old token for a while, it answers; if not, ``invalid_grant`` ends the connection.

Source: RFC 6749 §5.2 and §6, RFC 9700 §4.14 (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import psycopg

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Credential, Lender
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.connectors.oauth import TokenGrant
from pipedrive_pipeline.connectors.refusals import GrantRefused
from pipedrive_pipeline.errors import (
    ClientRejected,
    HostNotAllowed,
    PipelineError,
    ReauthNeeded,
    SourceBroke,
    SourceUnavailable,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, exported_rows, states
from pipedrive_pipeline.vault.connection_rows import ConnectionRow, ConnectionTokens, database_time
from pipedrive_pipeline.vault.errors import NotLendable, SecretUnreadable, TokenRefused
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault, open_vault
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import Warehouse

REFRESH_BEFORE_EXPIRY = timedelta(minutes=5)  # a page of 500 records takes seconds, a retry 15 s


def lend(
    tenant: Tenant | str,
    system: str,
    *,
    refused: Credential | None = None,
    valid_for: timedelta = REFRESH_BEFORE_EXPIRY,
    warehouse: Warehouse | None = None,
    settings: Settings | None = None,
) -> Credential:
    """A credential that is valid for some minutes at least; safe to call from many processes.

    Args:
        tenant: the owner of the connection.
        system: the connector's key.
        refused: the credential that the source just refused; it is not lent again.
        valid_for: the credential is valid for so long, or for half of a shorter lifetime.
        warehouse: where the connection is stored; from the settings if left out.
        settings: from the environment if left out.

    Raises:
        NotConnected: the tenant must connect first.
        ReauthNeeded: consent is gone; the tenant must connect again. The state is stored.
        ClientRejected: the operator must correct the app's id or secret; the consent stays.
        SecretUnreadable: the stored token was altered; this connection is stopped.
        WrongKey: the operator must put the encryption key back.
        HostNotAllowed: the operator decides about the host that the source named.
        SourceUnavailable: no answer to a refresh; the stored token has expired. A rerun may help.
    """
    tenant = tenant if isinstance(tenant, Tenant) else Tenant(tenant)
    vault = open_vault(warehouse, settings)
    return borrow(vault, Scope(tenant, system), refused, valid_for=valid_for)


def borrow(
    vault: Vault,
    scope: Scope,
    refused: Credential | None = None,
    *,
    valid_for: timedelta = REFRESH_BEFORE_EXPIRY,
) -> Credential:
    """As `lend`, from a vault that is open."""
    row = connection_rows.read(vault, scope)
    try:
        return _usable(vault, row, refused, valid_for)
    except SecretUnreadable:
        _stop(vault, row, Reason.TOKEN_UNREADABLE)
        raise


def lender_of(scope: Scope, credential: Credential) -> Lender:
    """Returns what lends one credential that somebody brought, which nothing renews.

    It raises `TokenRefused` once the source has refused the credential.
    """

    def lend_again(refused: Credential | None = None) -> Credential:
        if refused is not None:
            host = urlsplit(credential.base_url).hostname or ""
            raise TokenRefused(scope.tenant.slug, registry.system(scope.system).label, host)
        return credential

    return lend_again


def require_lendable(scope: Scope, credential: Credential) -> datetime:
    """When a credential that leaves this program ends.

    Raises:
        NotLendable: it is an API token, which never ends.
    """
    if credential.kind == "api_token" or credential.expires_at is None:
        raise NotLendable(scope.tenant.slug, scope.system)
    return credential.expires_at


def _usable(
    vault: Vault, row: ConnectionRow, refused: Credential | None, valid_for: timedelta
) -> Credential:
    connection_rows.require_connected(row)
    is_refused = refused is not None and refused.generation >= row.generation
    if row.is_fresh_for(valid_for) and not is_refused:
        return connection_rows.credential(vault.cipher, row)
    if row.kind == "oauth":
        return refreshed(vault, row, is_refused=is_refused, valid_for=valid_for)
    _stop(vault, row, Reason.API_TOKEN_REFUSED)
    raise ReauthNeeded(row.scope.tenant.slug, row.scope.system, Reason.API_TOKEN_REFUSED.sentence)


def _stop(vault: Vault, row: ConnectionRow, reason: Reason) -> None:
    """Sets the state needs_reauth, unless another token was stored meanwhile."""
    with vault.warehouse.transaction() as transaction:
        current = connection_rows.locked(transaction, row.scope)
        if current.state is ConnectionState.CONNECTED and current.generation == row.generation:
            states.change(
                transaction,
                row.scope,
                ConnectionState.NEEDS_REAUTH,
                reason=reason,
                who="vault",
            )


WAIT_SECONDS = 30  # one refresh of another process, and the time to store it


def refreshed(
    vault: Vault, earlier: ConnectionRow, *, is_refused: bool, valid_for: timedelta
) -> Credential:
    """A credential newer than ``earlier``, refreshed by this process or by a faster one.

    Args:
        vault: the vault.
        earlier: the row as the caller read it, before any lock.
        is_refused: True if the source refused its access token before it expired.
        valid_for: so long the credential must be valid.

    Raises:
        ReauthNeeded: the source ended the grant; the new state is committed.
        ClientRejected: the app's id or secret is wrong; the grant stays.
        HostNotAllowed: the source named a host that is not on the list; the new pair is stored.
        SourceUnavailable, SourceBroke: no usable answer, and the stored token cannot be lent.
    """
    with _exclusive(vault, earlier) as holder:
        row = connection_rows.reread(holder, earlier.scope)
        connection_rows.require_connected(row)
        if not _is_due(row, earlier, is_refused=is_refused, valid_for=valid_for):
            return connection_rows.credential(vault.cipher, row)
        if _failed_meanwhile(row, earlier):
            outcome: Outcome = SourceUnavailable(_no_answer(row))
            after = row
        else:
            with vault.warehouse.connect(autocommit=True) as session:
                outcome = _refresh(vault, session, row)
                after = connection_rows.reread(session, earlier.scope)
    if outcome is None:
        return connection_rows.credential(vault.cipher, after)
    may_wait = isinstance(outcome, SourceUnavailable | ClientRejected | SourceBroke)
    if may_wait and not is_refused and after.is_valid and after.state is ConnectionState.CONNECTED:
        return connection_rows.credential(vault.cipher, after)
    raise outcome


Outcome = PipelineError | None
"""The error of one refresh; None if a new pair was stored."""


def _is_due(
    row: ConnectionRow, earlier: ConnectionRow, *, is_refused: bool, valid_for: timedelta
) -> bool:
    return not row.is_fresh_for(valid_for) or (is_refused and row.generation <= earlier.generation)


def _failed_meanwhile(row: ConnectionRow, earlier: ConnectionRow) -> bool:
    """True if the refresh that this caller waited for got no answer: a second call adds load."""
    return row.refresh_failed_at is not None and row.refresh_failed_at > earlier.read_at


def _refresh(vault: Vault, session: psycopg.Connection, row: ConnectionRow) -> Outcome:
    """Steps 2 to 5; the effect of every answer is committed."""
    was_lost = row.refresh_started_at is not None
    session.execute(
        """
        update integration.connections
        set refresh_started_at = clock_timestamp()
        where id = %s and generation = %s and state = 'connected'
        """,
        (row.id, row.generation),
    )
    with session.transaction():
        locked = connection_rows.locked(session, row.scope)
        connection_rows.require_connected(locked)
        if locked.generation != row.generation:
            return None  # connected again since; that token is the newest
        try:
            grant = _answer(vault, locked)
        except PipelineError as error:
            return _refused(session, locked, error, was_lost=was_lost)
        return _accepted(vault, session, locked, grant)


def _answer(vault: Vault, row: ConnectionRow) -> TokenGrant:
    """The answer of the source to one refresh call."""
    return vault.oauth_app(row.scope).refresh(
        connection_rows.token(vault.cipher, row, "refresh_token")
    )


def _accepted(
    vault: Vault, session: psycopg.Connection, row: ConnectionRow, grant: TokenGrant
) -> Outcome:
    """Stores the new pair; as expired if its host is not allowed, so that it is not lent."""
    issued_at, lifetime = database_time(session), timedelta(seconds=grant.expires_in_seconds)
    expires_at, api_domain, outcome = issued_at + lifetime, row.api_domain, None
    try:
        api_domain = checked_base_url(
            grant.api_domain or row.api_domain or "",
            vault.allowed_hosts(row.scope),
        )
    except HostNotAllowed as error:
        outcome, expires_at = error, issued_at
    tokens = ConnectionTokens(
        kind="oauth",
        access=grant.access_token,
        refresh=grant.refresh_token or connection_rows.token(vault.cipher, row, "refresh_token"),
        api_domain=api_domain or "",
        issued_at=issued_at,
        expires_at=expires_at,
        scopes=grant.scopes or row.scopes,
    )
    location = row.location("", generation=row.generation + 1)
    states.write(session, row.id, tokens.columns(vault.cipher, location))
    if outcome is None:
        exported_rows.write(
            session,
            row.scope,
            tokens.access,
            expires_at=tokens.expires_at,
            api_domain=tokens.api_domain,
        )
    return outcome


def _refused(
    session: psycopg.Connection, row: ConnectionRow, error: PipelineError, *, was_lost: bool
) -> Outcome:
    """Writes the effect of an answer without tokens, and returns the error for the caller."""
    if isinstance(error, GrantRefused) and error.error == "invalid_grant":
        reason = Reason.REFRESH_ANSWER_LOST if was_lost else Reason.INVALID_GRANT
        states.change(
            session,
            row.scope,
            ConnectionState.NEEDS_REAUTH,
            reason=reason,
            who="vault",
        )
        return ReauthNeeded(row.scope.tenant.slug, row.scope.system, reason.sentence)
    if isinstance(error, SourceUnavailable | SourceBroke):
        states.write(session, row.id, {"refresh_failed_at": database_time(session)})
    else:
        states.write(session, row.id, {"refresh_started_at": None})  # an answer came
    return error


def _no_answer(row: ConnectionRow) -> str:
    return (
        f"{row.scope.tenant}: {row.scope.system} gave no usable answer to a refresh at "
        f"{row.refresh_failed_at:%H:%M:%S} UTC; consent stands, the next run tries again."
    )


@contextmanager
def _exclusive(vault: Vault, earlier: ConnectionRow) -> Iterator[psycopg.Connection]:
    """Waits until no other process refreshes this connection; the session that holds the lock."""
    name = earlier.scope.token_lock
    with vault.warehouse.lock_session(name) as session:
        locks.take(session, name, wait_seconds=WAIT_SECONDS)
        yield session
