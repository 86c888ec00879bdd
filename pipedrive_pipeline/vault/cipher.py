"""Encrypts secrets for one location, and refuses to decrypt them at another.

A sealed secret is ``<key id>.<Fernet token>``. Fernet has no associated data, so the location
(scope, column, generation) is part of the plaintext and is compared on reading. The key
id, a digest of the key, distinguishes a key that is missing from the list (the operator's mistake)
from a row that was altered. Source: https://cryptography.io/en/latest/fernet/ (read 2026-11).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey

SEALED = re.compile(r"(?P<key_id>[0-9a-f]{8})\.(?P<token>[A-Za-z0-9_-]+={0,2})")


@dataclass(frozen=True)
class SecretLocation:
    """Row, column and generation of a secret; ``generation`` is 0 if the row has none.

    Attributes:
        what: the secret in words; a token of the scope's system if left out.
        repair: what a person does about one that cannot be read; to connect again if left out.
    """

    scope: Scope
    column: str
    generation: int = 0
    what: str = ""
    repair: str = ""

    def unreadable(self, reason: str) -> SecretUnreadable:
        """The error of a secret that cannot be read there."""
        tenant, system = self.scope.tenant.slug, self.scope.system
        return SecretUnreadable(
            tenant,
            self.what or f"the stored {system} token",
            reason,
            repair=self.repair
            or f"Run `connect --tenant {tenant} --system {system}` to connect again",
        )


def secret_of_webhook(tenant: Tenant, webhook_id: UUID) -> SecretLocation:
    """The location of an app webhook's secrets: its row, whichever of the two columns."""
    return SecretLocation(
        Scope(tenant, "app"),
        f"app_webhooks.{webhook_id}",
        what="a webhook's secret",
        repair=f"Run `webhooks rotate --tenant {tenant} --webhook {webhook_id} --overlap-hours 0`",
    )


def alert_addresses(scope: Scope) -> SecretLocation:
    """The location of the addresses of a tenant's alerts."""
    return SecretLocation(
        scope,
        "sync_settings.alert_urls",
        what="the stored list of alert addresses",
        repair="Run `rotate-keys --discard --confirm`, and set alert_urls again",
    )


class _Plaintext(msgspec.Struct, frozen=True):
    """The text that Fernet encrypts."""

    tenant: str
    system: str
    column: str
    generation: int
    secret: str


class Cipher:
    """Encrypts with the first key, decrypts with any.

    Args:
        keys: Fernet keys, newest first, at least one.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        fernets = [Fernet(key.get_secret_value()) for key in keys]
        self._fernets = MultiFernet(fernets)
        self._key_ids = tuple(key_id(key) for key in keys)

    def __repr__(self) -> str:
        return f"Cipher(keys={', '.join(self._key_ids)})"

    def seal(self, secret: SecretStr, location: SecretLocation) -> str:
        """The secret, encrypted so that `open` accepts it for this location only."""
        plaintext = _plaintext(secret.get_secret_value(), location)
        token = self._fernets.encrypt(msgspec.json.encode(plaintext)).decode()
        return f"{self._key_ids[0]}.{token}"

    def open(self, sealed: str, location: SecretLocation) -> SecretStr:
        """The secret that was sealed for this location.

        Raises:
            WrongKey: its key is not in the list; the operator must put it back.
            SecretUnreadable: the text was altered, or was sealed for another location.
        """
        plaintext = self._decrypted(sealed, location)
        if plaintext != _plaintext(plaintext.secret, location):
            raise location.unreadable("it was sealed for another row, column or generation")
        return SecretStr(plaintext.secret)

    def is_current(self, sealed: str) -> bool:
        """True if the text is sealed with the first key."""
        return sealed.startswith(self._key_ids[0] + ".")

    def missing_keys(self, key_ids: Sequence[str]) -> tuple[str, ...]:
        """The key ids that are not in the list, sorted."""
        return tuple(sorted(set(key_ids) - set(self._key_ids)))

    def _decrypted(self, sealed: str, location: SecretLocation) -> _Plaintext:
        parts = SEALED.fullmatch(sealed)
        if not parts:
            raise location.unreadable("it is not in the form of a sealed secret")
        if parts["key_id"] not in self._key_ids:
            raise WrongKey((parts["key_id"],))
        # Base64's last characters have unused bits: without this check, some altered texts decrypt.
        if not _is_canonical(parts["token"]):
            raise location.unreadable("it was altered")
        try:
            return msgspec.json.decode(self._fernets.decrypt(parts["token"]), type=_Plaintext)
        except (InvalidToken, msgspec.DecodeError):
            raise location.unreadable("it was altered") from None


def key_id(key: SecretStr) -> str:
    """Eight hexadecimal digits that identify a key without revealing it."""
    digest = hashlib.sha256(b"token-encryption-key/" + key.get_secret_value().encode())
    return digest.hexdigest()[:8]


def _plaintext(secret: str, location: SecretLocation) -> _Plaintext:
    return _Plaintext(
        tenant=location.scope.tenant.slug,
        system=location.scope.system,
        column=location.column,
        generation=location.generation,
        secret=secret,
    )


def _is_canonical(token: str) -> bool:
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() == token
    except binascii.Error:
        return False
