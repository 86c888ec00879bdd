"""One refresh of one connection at a time, whoever asks and however it ends.

Belongs here: the order of lock, mark, call and commit, and what each answer does to the row.
Does not belong here: the call itself (`connectors/oauth.py`), or whether a refresh is due
(`lending.py`). Rests on RFC 6749 §5.2 and §6, RFC 9700 §4.14, and
https://pipedrive.readme.io/docs/marketplace-oauth-authorization (read 2026-11).

The order, and what a process that dies after each step leaves behind:

1. a lock of a session of its own, so that one process refreshes and the others wait;
   the lock ends with its session;
2. ``refresh_started_at`` is committed: from here on an answer may be lost;
3. the row is locked and read again: a disconnect or a reconnect meanwhile wins;
4. one call with a deadline: the source may now have replaced the refresh token;
5. the new pair is committed, the mark removed; only then is the token lent.

After 2 to 4 the old token is still stored and tried once more. A source that does not rotate, or
honours the old one for a while, answers; one that does not ends it with ``invalid_grant``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg

from pipedrive_pipeline.connectors.base import Credential
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
from pipedrive_pipeline.vault import clock, connection_rows, states
from pipedrive_pipeline.vault.connection_rows import ConnectionRow
from pipedrive_pipeline.vault.oauth_app import oauth_app
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.tokens import ConnectionTokens
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import locks

WAIT_SECONDS = 30  # for those who wait: one refresh, and the time to store it


def refreshed(vault: Vault, asked: ConnectionRow, *, is_refused: bool) -> Credential:
    """A credential newer than the one that was read, made by us or by who was faster.

    Args:
        vault: the vault.
        asked: the row as the caller read it, before any lock.
        is_refused: whether the source refused its access token, whatever its expiry says.

    Raises:
        ReauthNeeded: the source honours the grant no more; the state says so, committed.
        ClientRejected: the app's own id or secret; the grant stays.
        HostNotAllowed: the source named a host that is not on the list; the new pair is kept.
        SourceUnavailable, SourceBroke: no usable answer, and the held token cannot be lent.
    """
    with _turn(vault, asked), vault.warehouse.connect(autocommit=True) as session:
        held = connection_rows.reread(session, asked.tenant, asked.system)
        connection_rows.require_connected(held)
        if not _is_due(held, asked, is_refused=is_refused):
            return connection_rows.credential(vault.cipher, held)
        if _failed_meanwhile(held, asked):
            outcome: Outcome = SourceUnavailable(_no_answer(held))
        else:
            outcome = _refresh(vault, session, held)
        after = connection_rows.reread(session, asked.tenant, asked.system)
    if outcome is None:
        return connection_rows.credential(vault.cipher, after)
    may_wait = isinstance(outcome, SourceUnavailable | ClientRejected | SourceBroke)
    if may_wait and not is_refused and after.is_valid and after.state is ConnectionState.CONNECTED:
        return connection_rows.credential(vault.cipher, after)
    raise outcome


Outcome = PipelineError | None
"""What came of one refresh: None is a new pair, stored."""


def _is_due(held: ConnectionRow, asked: ConnectionRow, *, is_refused: bool) -> bool:
    return not held.is_fresh or (is_refused and held.generation <= asked.generation)


def _failed_meanwhile(held: ConnectionRow, asked: ConnectionRow) -> bool:
    """Whether the refresh that this caller waited for had no answer: asking again adds load."""
    return held.refresh_failed_at is not None and held.refresh_failed_at > asked.read_at


def _refresh(vault: Vault, session: psycopg.Connection, held: ConnectionRow) -> Outcome:
    """Steps 2 to 5. Whatever the answer, what it means is committed."""
    was_lost = held.refresh_started_at is not None
    session.execute(
        """
        update integration.connections
        set refresh_started_at = clock_timestamp()
        where id = %s and generation = %s and state = 'connected'
        """,
        (held.id, held.generation),
    )
    with session.transaction():
        locked = connection_rows.locked(session, held.tenant, held.system)
        connection_rows.require_connected(locked)
        if locked.generation != held.generation:
            return None  # connected anew since; that token is the newest
        try:
            grant = _answer(vault, locked)
        except PipelineError as error:
            return _refused(session, locked, error, was_lost=was_lost)
        return _accepted(vault, session, locked, grant)


def _answer(vault: Vault, held: ConnectionRow) -> TokenGrant:
    """The one call."""
    app = oauth_app(vault.settings_of(held.tenant), held.system)
    return app.refresh(connection_rows.token(vault.cipher, held, "refresh_token"))


def _accepted(
    vault: Vault, session: psycopg.Connection, held: ConnectionRow, grant: TokenGrant
) -> Outcome:
    """Store the new pair; where its host is refused, stored as expired, so that it is not lent."""
    issued_at, lifetime = clock.now(session), timedelta(seconds=grant.expires_in_seconds)
    expires_at, api_domain, outcome = issued_at + lifetime, held.api_domain, None
    try:
        api_domain = checked_base_url(
            grant.api_domain or held.api_domain or "",
            vault.settings_of(held.tenant).pipedrive_allowed_hosts,
        )
    except HostNotAllowed as error:
        outcome, expires_at = error, issued_at
    tokens = ConnectionTokens(
        kind="oauth",
        access=grant.access_token,
        refresh=grant.refresh_token or connection_rows.token(vault.cipher, held, "refresh_token"),
        api_domain=api_domain or "",
        issued_at=issued_at,
        expires_at=expires_at,
        scopes=grant.scopes or held.scopes,
    )
    place = held.place("", generation=held.generation + 1)
    states.write(session, held.id, tokens.columns(vault.cipher, place))
    return outcome


def _refused(
    session: psycopg.Connection, held: ConnectionRow, error: PipelineError, *, was_lost: bool
) -> Outcome:
    """What an answer without tokens does to the row, and the error for the caller."""
    if isinstance(error, GrantRefused) and error.error == "invalid_grant":
        reason = Reason.REFRESH_ANSWER_LOST if was_lost else Reason.INVALID_GRANT
        states.change(
            session,
            held.tenant,
            held.system,
            ConnectionState.NEEDS_REAUTH,
            reason=reason,
            who="vault",
        )
        return ReauthNeeded(held.tenant.slug, held.system, reason.sentence)
    if isinstance(error, SourceUnavailable | SourceBroke):
        states.write(session, held.id, {"refresh_failed_at": clock.now(session)})
    else:
        states.write(session, held.id, {"refresh_started_at": None})  # an answer came
    return error


def _no_answer(held: ConnectionRow) -> str:
    return (
        f"{held.tenant}: {held.system} gave no usable answer to a refresh at "
        f"{held.refresh_failed_at:%H:%M:%S} UTC; consent stands, the next run tries again."
    )


@contextmanager
def _turn(vault: Vault, asked: ConnectionRow) -> Iterator[None]:
    """This connection's refreshes, one after the other, over all processes."""
    name = asked.tenant.token_lock(asked.system)
    with vault.warehouse.lock_session(name) as session:
        locks.take(session, name, wait_seconds=WAIT_SECONDS)
        yield
