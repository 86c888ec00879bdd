"""Secrets at rest: sealed for one place, and refused anywhere else.

Belongs here: the form of a sealed secret, and the check that it is read where it was written.
Does not belong here: which rows hold one (`connections.py`, `rotation.py`), or where keys come from
(`settings.py`). Rests on https://cryptography.io/en/latest/fernet/ (read 2026-11).

A sealed secret is ``<key id>.<Fernet token>``. Fernet knows no associated data, so the place
(tenant, system, column, generation) stands inside the plaintext and is compared on reading. The
key id, a digest of the key, tells a key that is missing from the list (the operator's mistake, no
row's fault) from a row that was altered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey

SEALED = re.compile(r"(?P<key_id>[0-9a-f]{8})\.(?P<token>[A-Za-z0-9_-]+={0,2})")


@dataclass(frozen=True)
class SecretLocation:
    """Where a secret stands. ``generation`` is 0 where the row has none."""

    tenant: Tenant
    system: str
    column: str
    generation: int = 0


class _Plaintext(msgspec.Struct, frozen=True):
    """What Fernet encrypts."""

    tenant: str
    system: str
    column: str
    generation: int
    secret: str


class Cipher:
    """Seals with the first key, opens with any.

    Args:
        keys: Fernet keys, newest first, at least one.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        fernets = [Fernet(key.get_secret_value()) for key in keys]
        self._fernets = MultiFernet(fernets)
        self._key_ids = tuple(key_id(key) for key in keys)

    def __repr__(self) -> str:
        return f"Cipher(keys={', '.join(self._key_ids)})"

    def seal(self, secret: SecretStr, place: SecretLocation) -> str:
        """The secret as text that only this place can open."""
        plaintext = _plaintext(secret.get_secret_value(), place)
        token = self._fernets.encrypt(msgspec.json.encode(plaintext)).decode()
        return f"{self._key_ids[0]}.{token}"

    def open(self, sealed: str, place: SecretLocation) -> SecretStr:
        """The secret that was sealed for this place.

        Raises:
            WrongKey: its key is not in the list; the operator must put it back.
            SecretUnreadable: the text was altered, or was sealed for another place.
        """
        plaintext = self._decrypted(sealed, place)
        if plaintext != _plaintext(plaintext.secret, place):
            raise _unreadable(place, "it was sealed for another row, column or generation")
        return SecretStr(plaintext.secret)

    def is_current(self, sealed: str) -> bool:
        """Whether the text is sealed with the first key."""
        return sealed.startswith(self._key_ids[0] + ".")

    def missing_keys(self, key_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the key ids that are not in the list, sorted."""
        return tuple(sorted(set(key_ids) - set(self._key_ids)))

    def _decrypted(self, sealed: str, place: SecretLocation) -> _Plaintext:
        parts = SEALED.fullmatch(sealed)
        if not parts:
            raise _unreadable(place, "it is not in the form of a sealed secret")
        if parts["key_id"] not in self._key_ids:
            raise WrongKey((parts["key_id"],))
        # Base64's last characters hold unused bits: without this, some altered texts still open.
        if not _is_canonical(parts["token"]):
            raise _unreadable(place, "it was altered")
        try:
            return msgspec.json.decode(self._fernets.decrypt(parts["token"]), type=_Plaintext)
        except (InvalidToken, msgspec.DecodeError):
            raise _unreadable(place, "it was altered") from None


def key_id(key: SecretStr) -> str:
    """Eight hexadecimal digits that name a key without telling it."""
    digest = hashlib.sha256(b"pipedrive-pipeline/key/" + key.get_secret_value().encode())
    return digest.hexdigest()[:8]


def _plaintext(secret: str, place: SecretLocation) -> _Plaintext:
    return _Plaintext(
        tenant=place.tenant.slug,
        system=place.system,
        column=place.column,
        generation=place.generation,
        secret=secret,
    )


def _is_canonical(token: str) -> bool:
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() == token
    except binascii.Error:
        return False


def _unreadable(place: SecretLocation, reason: str) -> SecretUnreadable:
    return SecretUnreadable(place.tenant.slug, place.system, reason)
