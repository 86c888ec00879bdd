"""Signs a delivery, so that its receiver knows who sent it, and when.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md (read
2026-11): the signed text is `<id>.<timestamp>.<body>`, the algorithm HMAC-SHA256 (`v1`), and a
header may have several signatures with blanks between them, for the time of a rotation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from pydantic import SecretStr

PREFIX = "whsec_"
SECRET_BYTES = 32  # the specification allows 24 to 64


def new_secret() -> SecretStr:
    """Returns a random secret in the form that receivers' libraries take."""
    return SecretStr(PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())


def signed_headers(
    message_id: str, sent_at: datetime, body: bytes, secrets_: Sequence[SecretStr]
) -> dict[str, str]:
    """Returns the three headers of a delivery.

    Args:
        message_id: the same in each attempt.
        sent_at: the time of this attempt; receivers refuse old ones.
        body: as it is sent.
        secrets_: that the receiver may have, the newest first.
    """
    timestamp = str(int(sent_at.timestamp()))
    text = b".".join((message_id.encode(), timestamp.encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(secret, text)}" for secret in secrets_),
    }


def _signature(secret: SecretStr, text: bytes) -> str:
    key = base64.b64decode(secret.get_secret_value().removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
