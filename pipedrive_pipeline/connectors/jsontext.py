"""Decodes a body into top-level keys with undecoded values (msgspec's `Raw`).

A slow path reads the values that msgspec refuses although their meaning is clear: NaN and Infinity,
lone surrogates, raw control characters, nesting too deep to decode. Such values become JSON strings
and are counted. A truncated body is an error.

Source: https://jcristharif.com/msgspec/api.html#raw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

DEPTH_MAX = 100  # levels; CPython's recursion limit is 1,000, Postgres refuses jsonb near 6,000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
STRING_OR_BARE_WORD = re.compile(STRING + rb"|-?Infinity|-?NaN", re.DOTALL)
STRING_OR_BRACKET = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)
# A pair, an escaped backslash or other escape (all left alone), or a lone half of a pair.
SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?P<lone>[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)
CONTROL_CHARACTER = re.compile(rb"[\x00-\x1f]")


class NotReadable(ValueError):
    """The body is no JSON of the expected shape. Says why, never what it held."""


class JsonReader(Generic[T]):
    """Decodes bodies into one shape."""

    def __init__(self, shape: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(shape)

    def __call__(self, body: bytes) -> tuple[T, int]:
        """The decoded body, and the number of values that had to be made readable.

        Raises:
            NotReadable: it was cut, is no JSON, or has another shape.
        """
        text = body.removeprefix(BYTE_ORDER_MARK)
        try:
            text.decode()
        except UnicodeDecodeError:
            raise NotReadable("the body is not UTF-8") from None
        try:
            return self._decoder.decode(text), 0
        except msgspec.ValidationError:
            raise NotReadable("the body has another shape than documented") from None
        except (msgspec.DecodeError, RecursionError):
            pass
        mended, count = _mended(text)
        try:
            return self._decoder.decode(mended), count
        except msgspec.ValidationError:
            raise NotReadable("the body has another shape than documented") from None
        except (msgspec.DecodeError, RecursionError):
            raise NotReadable("the body is no complete JSON") from None


def _mended(text: bytes) -> tuple[bytes, int]:
    """The text with each unreadable value as a JSON string, and their number."""
    count = 0

    def mend(token: re.Match[bytes]) -> bytes:
        nonlocal count
        word = token[0]
        if not word.startswith(b'"'):
            count += 1
            return b'"' + word + b'"'
        mended = CONTROL_CHARACTER.sub(lambda match: b"\\u%04x" % match[0][0], word)
        mended = SURROGATE.sub(lambda match: rb"\ufffd" if match["lone"] else match[0], mended)
        count += mended != word
        return mended

    mended = STRING_OR_BARE_WORD.sub(mend, text)
    shallow: list[bytes] = []
    kept_to = 0
    for start, end in _deep_spans(mended):
        shallow += [mended[kept_to:start], msgspec.json.encode(mended[start:end].decode())]
        kept_to = end
        count += 1
    return b"".join([*shallow, mended[kept_to:]]), count


def _deep_spans(text: bytes) -> Iterator[tuple[int, int]]:
    """The positions of the containers that begin below the deepest level we decode."""
    depth, start = 0, 0
    for token in STRING_OR_BRACKET.finditer(text):
        bracket = token[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == DEPTH_MAX:
                start = token.start()
        elif bracket in (b"]", b"}"):
            if depth == DEPTH_MAX:
                yield start, token.end()
            depth -= 1
