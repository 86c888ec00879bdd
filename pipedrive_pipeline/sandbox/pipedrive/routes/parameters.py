"""Query parameters, checked as strictly as the service checks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import stamp
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid

Kind = Callable[[str, str], Any]  # name, text -> value
LIST_LIMIT = 500  # rows a page
ID_LIMIT = 100  # ids in one request
CUSTOM_FIELD_LIMIT = 15  # keys in one request
_WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")


def parsed(
    query: Sequence[tuple[str, str]], kinds: dict[str, Kind], *, ignores_unknown: bool
) -> dict[str, Any]:
    """The values of a query by name; parameters that were not sent are missing.

    Raises:
        Refusal: 400 for an unknown, repeated or ill-typed parameter.
    """
    values: dict[str, Any] = {}
    for name, text in query:
        if name in values:
            raise invalid(f"Parameter '{name}' must not be repeated")
        if name in kinds:
            values[name] = kinds[name](name, text)
        elif not ignores_unknown:
            raise invalid(f"Parameter '{name}' is not allowed")
    return values


def whole(name: str, text: str) -> int:
    """A positive integer."""
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0):
        raise invalid(f"Parameter '{name}' must be a positive integer")
    return int(text)


def count(name: str, text: str) -> int:
    """An integer from 0 on."""
    return 0 if text == "0" else whole(name, text)


def limit(maximum: int, *, clamps: bool = False, rows: int = LIST_LIMIT) -> Kind:
    """A page size, limited to ``rows``."""

    def check(name: str, text: str) -> int:
        value = whole(name, text)
        if value > maximum and not clamps:
            raise invalid(f"Parameter '{name}' must be less than or equal to {maximum}")
        return min(value, maximum, rows)

    return check


def flag(name: str, text: str) -> bool:
    """``true`` or ``false``, nothing else."""
    if text not in ("true", "false"):
        raise invalid(f"Parameter '{name}' must be a boolean")
    return text == "true"


def one_of(*choices: str) -> Kind:
    """One of the given words."""

    def check(name: str, text: str) -> str:
        if text not in choices:
            raise invalid(f"Parameter '{name}' must be one of: {', '.join(choices)}")
        return text

    return check


def some_of(*choices: str) -> Kind:
    """A comma list of the given words."""

    def check(name: str, text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        _refuse_repeats(name, words)
        for word in words:
            if word not in choices:
                raise invalid(f"Parameter '{name}' contains an unknown value '{word}'")
        return words

    return check


def _refuse_repeats(name: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        raise invalid(f"Parameter '{name}' must not contain duplicates")


def ids(name: str, text: str) -> tuple[int, ...]:
    """A comma list of at most 100 ids."""
    values = tuple(whole(name, part) for part in text.split(","))
    _refuse_repeats(name, values)
    if len(values) > ID_LIMIT:
        raise invalid(f"Parameter '{name}' must contain at most {ID_LIMIT} items")
    return values


def keys(name: str, text: str) -> tuple[str, ...]:
    """A comma list of at most 15 custom field keys."""
    values = tuple(text.split(","))
    _refuse_repeats(name, values)
    if len(values) > CUSTOM_FIELD_LIMIT:
        raise invalid(f"Parameter '{name}' must contain at most {CUSTOM_FIELD_LIMIT} items")
    return values


def time(name: str, text: str) -> str:
    """An RFC 3339 instant in whole seconds, as a UTC stamp; fractions are refused."""
    try:
        at = datetime.fromisoformat(text if _WHOLE_SECONDS.fullmatch(text) else "")
        return stamp(at.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise invalid(f"Parameter '{name}' is not a valid datetime") from error


def lenient_time(name: str, text: str) -> str:
    """An instant with or without fractions of a second, as a UTC stamp of the next full one."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
        whole_second = at.astimezone(UTC) + timedelta(microseconds=999_999)
    except (ValueError, OverflowError) as error:
        raise invalid(f"Parameter '{name}' is not a valid datetime") from error
    return stamp(whole_second)


def bit(name: str, text: str) -> bool:
    """``0`` or ``1``."""
    if text not in ("0", "1"):
        raise invalid(f"Parameter '{name}' must be 0 or 1")
    return text == "1"


def order_of(*fields: str) -> Kind:
    """An order of v1, ``update_time DESC, id ASC``: fields and whether they descend."""

    def check(name: str, text: str) -> tuple[tuple[str, bool], ...]:
        orders = []
        for part in text.split(","):
            field, _, direction = part.strip().partition(" ")
            if field not in fields or direction.strip().upper() not in ("", "ASC", "DESC"):
                raise invalid(f"Parameter '{name}' contains an unknown order '{part.strip()}'")
            orders.append((field, direction.strip().upper() == "DESC"))
        return tuple(orders)

    return check


def text(_: str, value: str) -> str:
    """Any text."""
    return value
