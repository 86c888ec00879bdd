"""Secrets that travel through a browser: made random, signed, and stored as a hash only.

Belongs here: making and checking them. Does not belong here: where the hashes are stored.
Rests on https://itsdangerous.palletsprojects.com/ and RFC 9700 §2.1, §4.7.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from itsdangerous import BadSignature, Signer

from pipedrive_pipeline.settings import Settings

SECRET_BYTES = 32
SIGNED_MAX_CHARACTERS = 256  # ours have about 90


def fresh() -> str:
    """A new secret of 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hashed(secret: str) -> str:
    """What is stored of a secret; it has 256 bits, so that a plain digest cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def signed(settings: Settings, purpose: str, secret: str) -> str:
    """The secret with our signature, for one purpose."""
    return _signer(settings, purpose).sign(secret).decode()


def is_ours(settings: Settings, purpose: str, text: str) -> bool:
    """Whether we signed this for this purpose, with any key of the list."""
    if len(text) > SIGNED_MAX_CHARACTERS or not text.isascii():
        return False
    try:
        _signer(settings, purpose).unsign(text)
    except BadSignature:
        return False
    return True


def is_same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def _signer(settings: Settings, purpose: str) -> Signer:
    keys = [key.get_secret_value() for key in reversed(settings.encryption_keys())]  # newest last
    return Signer(
        keys, salt=f"pipedrive-pipeline/{purpose}", key_derivation="hmac", digest_method=_sha256
    )


def _sha256(data: bytes = b"") -> hashlib._Hash:
    return hashlib.sha256(data)
