"""ConnectionTokens on their way into a row: opened, with the facts that came with them.

Belongs here: the value, and its form as sealed columns. Does not belong here: which row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import SecretStr

from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation

NAME_MAX_CHARACTERS = 500


def storable(text: str) -> str:
    """A name from a stranger's account as Postgres takes it: no NUL, no half of a character."""
    shortened = text[:NAME_MAX_CHARACTERS].replace("\x00", "\ufffd")
    return shortened.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class ConnectionTokens:
    """What a source issued, or a person pasted. Times are the database's."""

    kind: Literal["oauth", "api_token"]
    access: SecretStr
    api_domain: str  # checked
    issued_at: datetime
    refresh: SecretStr | None = None
    expires_at: datetime | None = None  # None: does not expire
    scopes: tuple[str, ...] = ()

    def columns(self, cipher: Cipher, place: SecretLocation) -> dict[str, object]:
        """The columns of `integration.connections`, tokens sealed for this row and generation."""
        return {
            "kind": self.kind,
            "access_token": cipher.seal(self.access, replace(place, column="access_token")),
            "refresh_token": self.refresh
            and cipher.seal(self.refresh, replace(place, column="refresh_token")),
            "token_issued_at": self.issued_at,
            "token_expires_at": self.expires_at,
            "generation": place.generation,
            "refresh_started_at": None,
            "refresh_failed_at": None,
            "api_domain": self.api_domain,
            "scopes": [storable(scope) for scope in self.scopes] or None,
        }
