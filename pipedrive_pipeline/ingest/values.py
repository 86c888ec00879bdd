"""One declared key of many records: JSON texts in, one typed Arrow column out.

A value that does not fit its column's type is a misfit: the column holds null, and the value stays
readable in raw's ``extra`` under its own key. Unless it is empty it is also listed as rejected, so
that nothing is silently null. Numbers, ids and booleans written as text (``"12"``) fit, and so does
the id in an object (``{"id": 12}``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import Column, ColumnType
from pipedrive_pipeline.ingest.sanitise import SUSPECT_PATTERN, cleaned, json_text

NULL = Raw(b"null")
_NUMERIC = pa.decimal128(38, 9)  # dlt's decimal
NUMBER_TEXT_MAX = 400  # characters
_NUMBER_TEXT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.NUMERIC: _NUMERIC,
    ColumnType.TEXT: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIMESTAMP: pa.timestamp("us", "UTC"),
    ColumnType.JSON: pa.string(),
}
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_PYTHON_TYPES: dict[ColumnType, Any] = {
    ColumnType.BIGINT: list[int | None],
    ColumnType.NUMERIC: list[Decimal | None],
    ColumnType.TEXT: list[str | None],
    ColumnType.BOOLEAN: list[bool | None],
    ColumnType.TIMESTAMP: list[datetime | None],
}


@dataclass(frozen=True)
class MisfitValue:
    """A value that its column cannot hold, or not all of it; ``value`` may be stored as JSON.

    ``reason`` is None where the column holds the id of an object that is kept whole.
    """

    row: int
    value: Any
    reason: str | None


@dataclass
class ColumnValues:
    """One column of a batch; ``replaced`` counts characters and numbers that were made storable."""

    array: pa.Array
    misfits: list[MisfitValue] = field(default_factory=list)
    replaced: int = 0


def is_empty(value: Any) -> bool:
    """True for values by which a source says that there is none: blank text, ``[]``, ``{}``.

    PHP writes an empty object as ``[]``.
    """
    if isinstance(value, str):
        return all(character.isspace() or character in _ZERO_WIDTH for character in value)
    return value in ([], {})


def column_values(column: Column, texts: list[Raw]) -> ColumnValues:
    """The texts as one Arrow array of the column's type, in their order, null for null."""
    if column.type is ColumnType.JSON:
        return _json_values(texts)
    joined = b",".join(texts)
    if b"\\u0000" not in joined:
        try:
            return ColumnValues(_typed_array(column.type, joined))
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, pa.ArrowException):
            pass  # at least one value is out of type or range: look at each
    return _careful_values(column.type, texts)


def typed_keys(key: Column, ids: Sequence[str]) -> list[Any]:
    """The ids as values of a key's column; None, which finds nothing, where one is no such key."""
    if key.type is not ColumnType.BIGINT:
        return list(ids)
    return [int(text) if text.isascii() and text.isdigit() else None for text in ids]


def _typed_array(kind: ColumnType, joined: bytes) -> pa.Array:
    values = msgspec.json.decode(b"[" + joined + b"]", type=_PYTHON_TYPES[kind])
    if kind is ColumnType.TIMESTAMP:
        values = [_in_utc(value) for value in values]
    if kind is ColumnType.NUMERIC and not all(
        value is None or _is_exact(value) for value in values
    ):
        raise OverflowError
    return pa.array(values, ARROW_TYPES[kind])


def _in_utc(value: datetime | None) -> datetime | None:
    """An instant; a time without zone is UTC (v1's ``2026-01-31 10:20:30``).

    Raises:
        OverflowError: in UTC it lies before year 1 or after 9999, where neither Python nor the
            driver could read it back.
    """
    if value is None or value.tzinfo is UTC:
        return value
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _json_values(texts: list[Raw]) -> ColumnValues:
    blobs: list[bytes | None] = [None if text == b"null" else text for text in map(bytes, texts)]
    try:
        array = _text_array(blobs)
    except pa.ArrowInvalid:  # bytes that are no UTF-8
        suspects = list(range(len(blobs)))
    else:
        suspects = pc.indices_nonzero(pc.match_substring_regex(array, SUSPECT_PATTERN)).to_pylist()
        if not suspects:
            return ColumnValues(array)
    replaced = 0
    for row in suspects:
        blob = blobs[row]
        if blob is not None:
            result = cleaned(blob)
            replaced += result.replaced
            blobs[row] = json_text(result.value).encode()
    return ColumnValues(_text_array(blobs), replaced=replaced)


def _text_array(blobs: list[bytes | None]) -> pa.Array:
    """JSON texts as Arrow text without a detour over `str`: one emoji would quadruple them all."""
    return pa.array(blobs, pa.binary()).cast(pa.string())


def _careful_values(kind: ColumnType, texts: list[Raw]) -> ColumnValues:
    fit = _FITS[kind]
    values: list[Any] = []
    result = ColumnValues(pa.nulls(0))
    for row, text in enumerate(texts):
        decoded = cleaned(bytes(text))
        result.replaced += decoded.replaced
        value = None if decoded.value is None else fit(decoded.value)
        if value is None and decoded.value is not None:
            result.misfits.append(MisfitValue(row, decoded.value, f"does not fit {kind.value}"))
        elif isinstance(decoded.value, dict):
            result.misfits.append(MisfitValue(row, decoded.value, None))
        values.append(value)
    result.array = pa.array(values, ARROW_TYPES[kind])
    return result


def _number(value: Any) -> int | Decimal | None:
    """A finite number, also one written as text; the rules are those of `pipeline.as_numeric`."""
    if isinstance(value, str) and len(value) <= NUMBER_TEXT_MAX and _NUMBER_TEXT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return value if Decimal(value).is_finite() else None


def _as_bigint(value: Any) -> int | None:
    """A whole number of 64 bits; of an object its id, as v1 sends references."""
    if isinstance(value, dict):
        record_id = value.get("id")
        value = value.get("value") if record_id is None else record_id
    number = _number(value)
    if number is None or not -(2**63) <= number < 2**63 or number != int(number):
        return None
    return int(number)


def _as_boolean(value: Any) -> bool | None:
    if isinstance(value, str | int | Decimal):
        return _BOOLEANS.get(str(value).lower() if isinstance(value, bool) else str(value))
    return None


def _is_exact(value: Decimal) -> bool:
    """True if the column keeps every digit; Arrow rounds what is tiny enough to zero (26.0)."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return False
    significant = "".join(map(str, digits)).rstrip("0")
    return not significant or exponent + len(digits) - len(significant) >= -_NUMERIC.scale


def _as_numeric(value: Any) -> Decimal | None:
    number = _number(value)
    if number is None or not _is_exact(Decimal(number)):
        return None
    try:
        return pa.scalar(Decimal(number), _NUMERIC).as_py()  # type: ignore[no-any-return]
    except pa.ArrowException:
        return None


def _as_timestamp(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return _in_utc(msgspec.convert(value, datetime))
    except (msgspec.ValidationError, OverflowError):
        return None


_FITS: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.BIGINT: _as_bigint,
    ColumnType.NUMERIC: _as_numeric,
    ColumnType.TEXT: lambda value: value if isinstance(value, str) else None,
    ColumnType.BOOLEAN: _as_boolean,
    ColumnType.TIMESTAMP: _as_timestamp,
}
