"""Opaque cursors: JSON that a caller cannot read at a glance and must send back unchanged."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

Content = TypeVar("Content", bound=msgspec.Struct)


def sealed(content: msgspec.Struct) -> str:
    """The cursor with this content: base64url without padding."""
    return urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")


def opened(cursor: str, kind: type[Content]) -> Content:
    """The content of a cursor.

    Raises:
        ValueError: it was not made by `sealed`, or has other content.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(urlsafe_b64decode(padded.encode("ascii")), type=kind)
    except (msgspec.MsgspecError, binascii.Error, UnicodeError) as error:
        raise ValueError("the cursor cannot be read") from error
