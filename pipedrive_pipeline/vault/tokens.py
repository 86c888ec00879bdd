"""Tokens in the clear with the facts that came with them, and their form as sealed columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import psycopg
from pydantic import SecretStr

from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation

NAME_MAX_CHARACTERS = 500


def storable(text: str) -> str:
    """A name from the source as Postgres accepts it: no NUL, no lone surrogate, not too long."""
    shortened = text[:NAME_MAX_CHARACTERS].replace("\x00", "\ufffd")
    return shortened.encode("utf-8", "replace").decode()


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


def database_time(transaction: psycopg.Connection) -> datetime:
    """The current time in UTC, not the transaction's start; all processes share this clock."""
    row = transaction.execute("select clock_timestamp()").fetchone()
    if row is None:  # a select without from has one row
        raise AssertionError
    instant: datetime = row[0]
    return instant
