"""Random secrets that a browser carries: created, signed, hashed, compared.

Source: https://itsdangerous.palletsprojects.com/ and RFC 9700 §2.1, §4.7.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from itsdangerous import BadSignature, Signer

from pipedrive_pipeline.settings import Settings

SECRET_BYTES = 32
SIGNED_MAX_CHARACTERS = 1_024  # a place in a list has at most 700, others about 140


def fresh() -> str:
    """A new secret of 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hashed(secret: str) -> str:
    """The digest that is stored. A secret has 256 bits, so that a plain digest is safe."""
    return hashlib.sha256(secret.encode()).hexdigest()


def signed(settings: Settings, purpose: str, secret: str) -> str:
    """The secret with our signature for one purpose."""
    return _signer(settings, purpose).sign(secret).decode()


def is_ours(settings: Settings, purpose: str, text: str) -> bool:
    """True if we signed the text for this purpose, with any of the encryption keys."""
    if len(text) > SIGNED_MAX_CHARACTERS or not text.isascii():
        return False
    try:
        _signer(settings, purpose).unsign(text)
    except BadSignature:
        return False
    return True


def derived(settings: Settings, purpose: str, text: str) -> str:
    """43 characters of base64url that follow from the text and our newest key, and from no less."""
    return _signer(settings, purpose).get_signature(text).decode()


def is_same(first: str, second: str) -> bool:
    """True if two secrets are equal, compared in constant time."""
    return hmac.compare_digest(first.encode(), second.encode())


def _signer(settings: Settings, purpose: str) -> Signer:
    keys = [key.get_secret_value() for key in reversed(settings.encryption_keys())]  # newest last
    return Signer(keys, salt=f"connect/{purpose}", key_derivation="hmac", digest_method=_sha256)


def _sha256(data: bytes = b"") -> hashlib._Hash:
    return hashlib.sha256(data)
