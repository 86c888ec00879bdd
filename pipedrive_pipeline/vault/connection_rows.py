"""One row of `integration.connections` with its sealed tokens, and the tokens that go into one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.errors import NotConnected, ReauthNeeded
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault

LOCK_TIMEOUT = "30s"  # a session that locks a row may be in a call of 10 s
NAME_MAX_CHARACTERS = 500

READ = """
    select
        connections.id,
        connections.tenant_id,
        connections.system,
        connections.kind,
        connections.state,
        connections.state_reason,
        connections.generation,
        connections.access_token,
        connections.refresh_token,
        connections.token_issued_at,
        connections.token_expires_at,
        connections.refresh_started_at,
        connections.refresh_failed_at,
        connections.api_domain,
        connections.company_id,
        connections.company_name,
        connections.account_user_id,
        connections.scopes,
        clock_timestamp() as read_at
    from integration.connections as connections
    where connections.tenant_id = %s
        and connections.system = %s
"""
LOCK = READ + " for update"


@dataclass(frozen=True)
class ConnectionRow:
    """The row at ``read_at``, by the database's clock. Its tokens are sealed."""

    id: UUID
    scope: Scope
    kind: Literal["oauth", "api_token"]
    state: ConnectionState
    state_reason: str | None
    generation: int
    access_token: str | None
    refresh_token: str | None
    token_issued_at: datetime | None
    token_expires_at: datetime | None
    refresh_started_at: datetime | None  # a refresh was started, and its answer never stored
    refresh_failed_at: datetime | None  # the last refresh had no usable answer
    api_domain: str | None
    company_id: str | None
    company_name: str | None
    account_user_id: str | None
    scopes: tuple[str, ...]
    read_at: datetime

    @property
    def is_valid(self) -> bool:
        """True if the access token has not expired."""
        return self.token_expires_at is None or self.token_expires_at > self.read_at

    def is_fresh_for(self, valid_for: timedelta) -> bool:
        """True if the access token is valid for so long, or for half of a short lifetime."""
        if self.token_expires_at is None:
            return True
        lifetime = self.token_expires_at - (self.token_issued_at or self.token_expires_at)
        margin = max(timedelta(0), min(valid_for, lifetime / 2))
        return self.token_expires_at - margin > self.read_at

    def location(self, column: str, *, generation: int | None = None) -> SecretLocation:
        """The location of a token of this row, in its own or another generation."""
        of_generation = self.generation if generation is None else generation
        return SecretLocation(self.scope, column, of_generation)


@dataclass(frozen=True)
class ConnectionTokens:
    """Tokens that a source issued or a person entered. Times are by the database's clock."""

    kind: Literal["oauth", "api_token"]
    access: SecretStr
    api_domain: str  # checked
    issued_at: datetime
    refresh: SecretStr | None = None
    expires_at: datetime | None = None  # None: does not expire
    scopes: tuple[str, ...] = ()

    def columns(self, cipher: Cipher, location: SecretLocation) -> dict[str, object]:
        """The columns of `integration.connections`, tokens sealed for this row and generation."""
        return {
            "kind": self.kind,
            "access_token": cipher.seal(self.access, replace(location, column="access_token")),
            "refresh_token": self.refresh
            and cipher.seal(self.refresh, replace(location, column="refresh_token")),
            "token_issued_at": self.issued_at,
            "token_expires_at": self.expires_at,
            "generation": location.generation,
            "refresh_started_at": None,
            "refresh_failed_at": None,
            "api_domain": self.api_domain,
            "scopes": [storable(scope) for scope in self.scopes] or None,
        }


def read(vault: Vault, scope: Scope) -> ConnectionRow:
    """The row as it is now.

    Raises:
        NotConnected: there is none.
    """
    with vault.warehouse.transaction() as transaction:
        return reread(transaction, scope)


def reread(transaction: psycopg.Connection, scope: Scope) -> ConnectionRow:
    """The row as it is now, in a session that is open.

    Raises:
        NotConnected: there is none.
    """
    return _row(transaction, READ, scope)


def locked(transaction: psycopg.Connection, scope: Scope) -> ConnectionRow:
    """The row as it is now, locked until this transaction ends.

    Raises:
        NotConnected: there is none.
        Contended: another session locked it for longer than a refresh takes.
    """
    transaction.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    return _row(transaction, LOCK, scope)


def _row(transaction: psycopg.Connection, query: str, scope: Scope) -> ConnectionRow:
    with transaction.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, (scope.tenant.slug, scope.system)).fetchone()
    if row is None:
        raise NotConnected(scope.tenant.slug, scope.system)
    return ConnectionRow(
        scope=Scope(Tenant(row.pop("tenant_id")), row.pop("system")),
        state=ConnectionState(row.pop("state")),
        scopes=tuple(row.pop("scopes") or ()),
        **row,
    )


def require_connected(row: ConnectionRow) -> None:
    """Returns if the connection may be used.

    Raises:
        NotConnected, ReauthNeeded: a person must connect (again).
    """
    if row.state is ConnectionState.NEEDS_REAUTH:
        reason = Reason(row.state_reason).sentence if row.state_reason else "no reason kept"
        raise ReauthNeeded(row.scope.tenant.slug, row.scope.system, reason)
    if row.state is not ConnectionState.CONNECTED:
        raise NotConnected(row.scope.tenant.slug, row.scope.system)


def credential(cipher: Cipher, row: ConnectionRow) -> Credential:
    """The decrypted credential for a call.

    Raises:
        WrongKey, SecretUnreadable: as `Cipher.open`.
    """
    return Credential(
        kind=row.kind,
        secret=token(cipher, row, "access_token"),
        base_url=row.api_domain or "",
        generation=row.generation,
        expires_at=row.token_expires_at,
    )


def token(
    cipher: Cipher, row: ConnectionRow, column: Literal["access_token", "refresh_token"]
) -> SecretStr:
    """One decrypted token of the row.

    Raises:
        NotConnected: the row has none.
        WrongKey, SecretUnreadable: as `Cipher.open`.
    """
    sealed = row.access_token if column == "access_token" else row.refresh_token
    if sealed is None:
        raise NotConnected(row.scope.tenant.slug, row.scope.system)
    return cipher.open(sealed, row.location(column))


def storable(text: str) -> str:
    """A name from the source as Postgres accepts it: no NUL, no lone surrogate, not too long."""
    shortened = text[:NAME_MAX_CHARACTERS].replace("\x00", "\ufffd")
    return shortened.encode("utf-8", "replace").decode()


def database_time(transaction: psycopg.Connection) -> datetime:
    """The current time in UTC, not the transaction's start; all processes share this clock."""
    row = transaction.execute("select clock_timestamp()").fetchone()
    if row is None:  # a select without from has one row
        raise AssertionError
    instant: datetime = row[0]
    return instant
