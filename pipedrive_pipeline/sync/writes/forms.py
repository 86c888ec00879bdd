"""The forms of values: what a caller sent becomes what a body says, or it is said what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pipedrive_pipeline.connectors.writing import Body, WriteField

CURRENCY: Final = re.compile(r"[A-Z]{3}")
NUMBER_MAX: Final = Decimal(10) ** 15
TEXT_MAX: Final = 65_000  # characters, of a text without a limit of its own


class WrongValue(Exception):
    """A value that the field cannot have; the text says what it must be."""


def plain(name: str) -> str:
    """A name without case, and with one `_` for what is no letter or digit, as columns have it."""
    return re.sub(r"[^\w]+", "_", name.casefold()).strip("_")


def numbered(options: Mapping[str, str]) -> dict[Any, str]:
    """The labels of options by id, with ids that are numbers as numbers."""
    return {int(key) if key.isdecimal() else key: label for key, label in options.items()}


def option(options: Mapping[Any, str], value: Any) -> Any:
    """An option's id, from its id or its label."""
    for key, label in options.items():
        if (value == key and not isinstance(value, bool)) or value == str(key) or value == label:
            return key
    alike = [key for key, label in options.items() if plain(label) == plain(str(value))]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(list(options.values())[:20])
    raise WrongValue(f"is none of the options: {shown or 'there are none'}")


def choice(choices: Mapping[str, Any], value: Any) -> Any:
    """What a body says for one of the allowed values."""
    if str(value) not in choices or isinstance(value, bool):
        raise WrongValue(f"must be one of {', '.join(choices)}")
    return choices[str(value)]


def _text(declared: WriteField, value: Any) -> str:
    text = _any_text(value)
    if not declared.is_nullable and declared.length_max and not text.strip():
        raise WrongValue("cannot be empty")
    if len(text) > (declared.length_max or TEXT_MAX):
        raise WrongValue(f"has more than {declared.length_max or TEXT_MAX} characters")
    return text


def _any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue("must be text")
    if "\x00" in value or value.encode(errors="ignore") != value.encode(errors="surrogatepass"):
        raise WrongValue("has characters that cannot be stored")
    if len(value) > TEXT_MAX:
        raise WrongValue(f"has more than {TEXT_MAX} characters")
    return value


def _number(declared: WriteField, value: Any) -> int | float:
    number = _any_number(value)
    _require_range(declared, number)
    return number


def _any_number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise WrongValue("must be a number")
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        raise WrongValue("must be a number") from None
    if not exact.is_finite() or abs(exact) >= NUMBER_MAX:
        raise WrongValue("must be a number of at most 15 digits before the point")
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def _whole(declared: WriteField, value: Any) -> int:
    number = _any_whole(value)
    _require_range(declared, number)
    return number


def _any_whole(value: Any) -> int:
    number = _any_number(value)
    if not isinstance(number, int):
        raise WrongValue("must be a whole number")
    return number


def _require_range(declared: WriteField, number: float) -> None:
    if declared.range is not None and not declared.range[0] <= number <= declared.range[1]:
        least, greatest = declared.range
        raise WrongValue(f"must be between {least:g} and {greatest:g}")


def _boolean(_: Any, value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongValue("must be true or false")
    return value


def _parsed(parse: Callable[[str], Any], form: str) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        try:
            return parse(value)
        except (TypeError, ValueError):
            raise WrongValue(f"must be {form}") from None

    return parsed


_day = _parsed(lambda text: date.fromisoformat(text).isoformat(), "a day such as 2026-11-30")
_clock = _parsed(
    lambda text: time.fromisoformat(text).replace(tzinfo=None, microsecond=0).isoformat(),
    "a time such as 09:30",
)


def _instant(_: Any, value: Any) -> str:
    at: datetime = _parsed(datetime.fromisoformat, "an instant such as 2026-11-30T09:30:00Z")(value)
    if at.tzinfo is None:
        raise WrongValue("must have an offset, such as 2026-11-30T09:30:00Z")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _currency(_: Any, value: Any) -> str:
    if not isinstance(value, str) or not CURRENCY.fullmatch(value):
        raise WrongValue("must be three capital letters, such as EUR")
    return value


def _address(_: Any, value: Any) -> Body:
    return {"value": _any_text(value)}


def _points(_: Any, value: Any) -> list[Body]:
    if not isinstance(value, list):
        raise WrongValue("must be a list of texts, or of objects with value, label, primary")
    points = [{"value": each} if isinstance(each, str) else each for each in value]
    for point in points:
        if not isinstance(point, dict) or not isinstance(point.get("value"), str):
            raise WrongValue("must be a list of texts, or of objects with value, label, primary")
        if set(point) - {"value", "label", "primary"}:
            raise WrongValue("has entries with other keys than value, label, primary")
        if not isinstance(point.get("label", ""), str | None):
            raise WrongValue("has a label that is no text")
        if not isinstance(point.get("primary", False), bool):
            raise WrongValue("has a primary that is neither true nor false")
        _any_text(point["value"])
    if sum(bool(point.get("primary")) for point in points) > 1:
        raise WrongValue("has more than one primary entry")
    has_primary = any(point.get("primary") for point in points)
    return [
        {
            "value": point["value"],
            "primary": bool(point.get("primary")) or (not has_primary and place == 0),
            "label": point.get("label") or "work",
        }
        for place, point in enumerate(points)
    ]


def _prices(_: Any, value: Any) -> list[Body]:
    if not isinstance(value, list):
        raise WrongValue("must be a list of prices, one for each currency")
    prices = []
    for each in value:
        if not isinstance(each, dict) or set(each) - {"currency", "price", "cost", "direct_cost"}:
            raise WrongValue("must be a list of objects with currency, price, cost, direct_cost")
        price: Body = {"currency": _currency(None, each.get("currency"))}
        for key in ("price", "cost", "direct_cost"):
            if each.get(key) is not None:
                price[key] = _any_number(each[key])
        prices.append(price)
    if len({price["currency"] for price in prices}) < len(prices):
        raise WrongValue("has two prices in one currency")
    return prices


def _parts(**forms: Callable[[Any], Any]) -> Callable[[Any], Body]:
    """An object with these parts, all of them."""

    def converted(value: Any) -> Body:
        if not isinstance(value, dict) or set(value) != set(forms):
            raise WrongValue(f"must be an object with {' and '.join(forms)}")
        return {key: forms[key](part) for key, part in value.items()}

    return converted


FORMS: Final[Mapping[str, Callable[[WriteField, Any], Any]]] = {
    "text": _text,
    "number": _number,
    "whole": _whole,
    "boolean": _boolean,
    "day": lambda _, value: _day(value),
    "clock": lambda _, value: _clock(value),
    "instant": _instant,
    "currency": _currency,
    "address": _address,
    "points": _points,
    "prices": _prices,
}
CUSTOM_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "text": _any_text,
    "int": _any_whole,
    "double": _any_number,
    "boolean": lambda value: _boolean(None, value),
    "date": _day,
    "time": _clock,
    "timerange": _parts(value=_clock, until=_clock),
    "daterange": _parts(value=_day, until=_day),
    "monetary": _parts(value=_any_number, currency=lambda value: _currency(None, value)),
    "address": _any_text,
    "reference": _any_whole,
}
