"""The states of a connection, and the one function that changes them and writes the audit entry.

    (none) ──► pending ──► connected ◄──► needs_reauth
                  │            │               │
                  └────────────┴──► disconnected ──► connected

`MAY_BECOME` is this table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault import exported_rows
from pipedrive_pipeline.vault.errors import CannotChange

log = logging.getLogger(__name__)


class ConnectionState(StrEnum):
    """The state of a connection, as stored."""

    PENDING = "pending"  # consent was started and never confirmed
    CONNECTED = "connected"
    NEEDS_REAUTH = "needs_reauth"  # a person must connect again; tables stay as they are
    DISCONNECTED = "disconnected"  # tokens are gone; tables stay as they are


class Reason(StrEnum):
    """Why a connection is not connected; the code is stored, `sentence` is shown."""

    INVALID_GRANT = "invalid_grant"
    REFRESH_ANSWER_LOST = "refresh_answer_lost"
    API_TOKEN_REFUSED = "api_token_refused"  # noqa: S105 - a code
    TOKEN_UNREADABLE = "token_unreadable"  # noqa: S105 - a code
    DISCONNECTED = "disconnected"
    UNINSTALLED = "uninstalled"

    @property
    def sentence(self) -> str:
        """The reason in words, usable after "because" or in brackets."""
        return SENTENCES[self]


SENTENCES = {
    Reason.INVALID_GRANT: "consent was withdrawn or has lapsed",
    Reason.REFRESH_ANSWER_LOST: "the answer to a refresh was lost and the old token is void",
    Reason.API_TOKEN_REFUSED: "the API token was renewed or removed in the account's settings",
    Reason.TOKEN_UNREADABLE: "the stored token was altered",
    Reason.DISCONNECTED: "it was disconnected here",
    Reason.UNINSTALLED: "the app was uninstalled in the account",
}

MAY_BECOME: dict[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.PENDING: frozenset({ConnectionState.CONNECTED, ConnectionState.DISCONNECTED}),
    ConnectionState.CONNECTED: frozenset(
        {ConnectionState.CONNECTED, ConnectionState.NEEDS_REAUTH, ConnectionState.DISCONNECTED}
    ),
    ConnectionState.NEEDS_REAUTH: frozenset(
        {ConnectionState.CONNECTED, ConnectionState.DISCONNECTED}
    ),
    ConnectionState.DISCONNECTED: frozenset({ConnectionState.CONNECTED}),
}
NO_TOKENS: dict[str, object] = {
    "access_token": None,
    "refresh_token": None,
    "token_expires_at": None,
    "refresh_started_at": None,
    "refresh_failed_at": None,
}


def begin(transaction: psycopg.Connection, scope: Scope, *, kind: str) -> None:
    """Inserts a row in state pending if the tenant has none for this system."""
    transaction.execute(
        """
        insert into integration.connections (tenant_id, system, kind, state)
        values (%s, %s, %s, %s)
        on conflict (tenant_id, system) do nothing
        """,
        (scope.tenant.slug, scope.system, kind, ConnectionState.PENDING),
    )


def change(
    transaction: psycopg.Connection,
    scope: Scope,
    to: ConnectionState,
    *,
    reason: Reason | None,
    who: str,
    columns: Mapping[str, object] | None = None,
) -> UUID:
    """Writes state, reason and audit entry in this transaction, and returns the connection's id.

    Args:
        transaction: the caller's; it also contains the cause of the change.
        scope: the tenant and system of the connection.
        to: the new state; disconnected also deletes the tokens.
        reason: None if the state needs no reason.
        who: a person, a key's name, or the part of the program that makes the change.
        columns: other changes of the row, by column name; never shown in the audit entry.

    Raises:
        CannotChange: no such connection, or the new state may not follow the current one.
    """
    current = _locked_state(transaction, scope)
    if current is None or to not in MAY_BECOME[current.state]:
        from_state = current.state.value if current else "unknown"
        raise CannotChange(scope.tenant.slug, scope.system, current=from_state, wanted=to.value)
    forgotten = NO_TOKENS if to is ConnectionState.DISCONNECTED else {}
    changed = {"state": to, "state_reason": reason, **(columns or {}), **forgotten}
    write(transaction, current.connection_id, changed)
    after: dict[str, str | None] = {"state": to, "reason": reason}
    _record(transaction, scope, who=who, before=current.audit_facts, after=after)
    level = logging.WARNING if to is ConnectionState.NEEDS_REAUTH else logging.INFO
    if to is ConnectionState.DISCONNECTED:
        exported_rows.end(transaction, scope)
    elif to is not ConnectionState.CONNECTED:
        exported_rows.remove(transaction, scope)
    log.log(level, "%s is %s (%s)", scope, to.value, reason or "no reason")
    return current.connection_id


@dataclass(frozen=True)
class _CurrentState:
    connection_id: UUID
    state: ConnectionState
    reason: str | None

    @property
    def audit_facts(self) -> dict[str, str | None]:
        return {"state": self.state, "reason": self.reason}


def _locked_state(transaction: psycopg.Connection, scope: Scope) -> _CurrentState | None:
    row = transaction.execute(
        """
        select connections.id, connections.state, connections.state_reason
        from integration.connections as connections
        where connections.tenant_id = %s
            and connections.system = %s
        for no key update
        """,
        (scope.tenant.slug, scope.system),
    ).fetchone()
    return _CurrentState(row[0], ConnectionState(row[1]), row[2]) if row else None


def _record(
    transaction: psycopg.Connection,
    scope: Scope,
    *,
    who: str,
    before: dict[str, str | None],
    after: dict[str, str | None],
) -> None:
    transaction.execute(
        """
        insert into integration.audit_log (who, tenant_id, action, subject, before, after)
        values (%s, %s, 'connection.state', %s, %s, %s)
        """,
        (who, scope.tenant.slug, scope.system, Jsonb(before), Jsonb(after)),
    )


def write(
    transaction: psycopg.Connection, connection_id: UUID, columns: Mapping[str, object]
) -> None:
    """Sets columns of one connection in one statement, so that the table's checks see all of them.

    Never `state`, which only `change` sets.
    """
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    )
    transaction.execute(
        sql.SQL(
            "update integration.connections set {}, updated_at = now() where id = %(connection_id)s"
        ).format(assignments),
        {**columns, "connection_id": connection_id},
    )
