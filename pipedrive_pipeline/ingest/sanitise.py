"""JSON text that Postgres would refuse, made storable and kept readable.

Left to itself dlt treats such a refusal as network trouble and retries it for ever.

    NUL and lone surrogates in strings and keys     U+FFFD, the replacement character
    numbers beyond numeric's range (1e200000)       the same digits as a string
    bytes that are no UTF-8                         U+FFFD
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

REPLACEMENT = "\ufffd"
# RE2 and re alike. A number follows `:`, `,` or `[`; within a field's 40-character key
# something like 3e1234 is common, and looking at every such record took half of a full read.
SUSPECT_PATTERN = (
    r"\\u0000|\\u[dD][89abAB]|[:,\[]\s*-?[0-9.]+[eE][+-]?[0-9]{4}|[:,\[]\s*-?[0-9.]{999}"
    r"|^-?[0-9.]+[eE][+-]?[0-9]{4}|^-?[0-9.]{999}"
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUMERIC_MAX_EXPONENT = 131_000  # digits before the point, PostgreSQL's numeric (8.1.2): 131,072
_NUMERIC_MIN_EXPONENT = -16_300  # digits after it: 16,383
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass
class Cleaned:
    """A decoded value in which everything can be stored; ``replaced`` counts what could not."""

    value: Any
    replaced: int = 0


def cleaned(text: bytes) -> Cleaned:
    """The value of one JSON text, with everything that Postgres refuses replaced and counted."""
    replaced = 0
    decoded = text.decode("utf-8", errors="replace")
    if REPLACEMENT in decoded and REPLACEMENT.encode() not in text:
        replaced += 1
    value = json.loads(decoded, parse_float=Decimal, parse_int=_integer, parse_constant=str)
    result = Cleaned(value, replaced)
    result.value = _walk(value, result)
    return result


def json_text(value: Any) -> str:
    """JSON of a cleaned value; decimals keep their digits."""
    return _encode(value).decode()


def clean_text(text: str) -> str:
    """A string without NUL and lone surrogates."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 4000 else Decimal(digits)  # Python's own limit is 4,300


def _walk(value: Any, result: Cleaned) -> Any:
    if isinstance(value, str):
        return _replaced(value, result)
    if isinstance(value, list):
        return [_walk(item, result) for item in value]
    if isinstance(value, dict):
        return {_replaced(key, result): _walk(item, result) for key, item in value.items()}
    if isinstance(value, Decimal) and not _fits_numeric(value):
        result.replaced += 1
        return str(value)
    return value


def _replaced(text: str, result: Cleaned) -> str:
    storable, count = _UNSTORABLE.subn(REPLACEMENT, text)
    result.replaced += count
    return storable


def _fits_numeric(number: Decimal) -> bool:
    if not number:
        return True
    exponent = number.as_tuple().exponent
    return (
        isinstance(exponent, int)
        and number.adjusted() < _NUMERIC_MAX_EXPONENT
        and exponent > _NUMERIC_MIN_EXPONENT
    )
