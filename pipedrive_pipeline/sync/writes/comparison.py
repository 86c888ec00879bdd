"""Compares rows of the marts: with what was sent, with a former version; gives them a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pipedrive_pipeline.connectors.writing import Row, WriteField
from pipedrive_pipeline.marts.declared import Mart, mart

CUSTOM: Final = "custom_fields"  # of a row: the record's custom fields, which no mart has
# What our own engine writes, or another row: it says nothing about the record.
NOT_OF_RECORD: Final = frozenset(
    {"id", "synced_at", "created_at", "updated_at", "changed_at", "attributes"}
)


def version(name: str, row: Mapping[str, Any]) -> str:
    """The version of a record, as an ETag has it: another one whenever the record changed.

    A name that is repeated from another row, and a link that is found later, change nothing.

    Args:
        name: of the mart.
        row: of the mart, with the record's custom fields as they are shown (`CUSTOM`), which
            include what a mapping put into `attributes`.
    """
    columns = [*_facts(mart(name)), *(link.remote_column for link in mart(name).links)]
    facts = {key: row.get(key) for key in (*columns, "changed_at", "deleted_at")}
    facts[CUSTOM] = row[CUSTOM]  # without them a version would match no other
    text = json.dumps(facts, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def changes(
    name: str, before: Row, after: Row, columns: Iterable[str] | None = None
) -> dict[str, tuple[Any, Any]]:
    """The columns that differ between two versions of a row: both values."""
    declared = mart(name)
    shown = {column: column for column in _facts(declared)}
    for link in declared.links:
        shown[link.name] = link.remote_column
    return {
        column: (before.get(stored), after.get(stored))
        for column, stored in shown.items()
        if (columns is None or column in columns) and before.get(stored) != after.get(stored)
    }


def _facts(declared: Mart) -> list[str]:
    return [column.name for column in declared.columns if column.name not in NOT_OF_RECORD]


def stored_value(declared: WriteField, name: str, row: Mapping[str, Any]) -> Any:
    """What a row says for a field; of a reference the other record's id in the system."""
    for link in mart(name).links:
        if link.name == declared.column:
            return row.get(link.remote_column)
    return row.get(declared.column)


def is_stored(
    declared: WriteField, name: str, value: Any, row: Row, *, unsure: bool = False
) -> bool:
    """True if a row has a value that was sent; ``unsure`` where the two forms do not compare."""
    stored = stored_value(declared, name, row)
    if value is None or stored is None:
        return (value in (None, "", [])) == (stored in (None, "", []))
    compare = SAME.get(declared.form)
    return unsure if compare is None else compare(value, stored)


def _same_number(value: Any, stored: Any) -> bool:
    return Decimal(str(value)) == Decimal(str(stored))


def _same_text(value: Any, stored: Any) -> bool:
    text = stored.isoformat() if isinstance(stored, date) else str(stored)
    return str(value).strip() == text.strip()


def _same_instant(value: Any, stored: Any) -> bool:
    at = datetime.fromisoformat(value)
    return isinstance(stored, datetime) and abs(at - stored) < timedelta(seconds=1)


def _same_points(value: Any, stored: Any) -> bool:
    texts = [each if isinstance(each, str) else each.get("value") for each in value]
    return texts == [each.get("value") for each in stored]


def shown(value: Any) -> str:
    """A value for people, as an answer names it."""
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
    return "" if value is None else str(value)


SAME: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "number": _same_number,
    "whole": _same_number,
    "boolean": lambda value, stored: bool(value) is bool(stored),
    "text": _same_text,
    "currency": _same_text,
    "reference": _same_text,
    "address": _same_text,
    "day": _same_text,
    "instant": _same_instant,
    "points": _same_points,
}
