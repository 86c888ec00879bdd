"""The forms of values: what a caller sent becomes what a body says, or it is said what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from pipedrive_pipeline.connectors.writing import Body, WriteField

CURRENCY: Final = re.compile(r"[A-Z]{3}")
DECIMAL_TEXT: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
NUMBER_MAX: Final = Decimal(10) ** 15
OPTIONS_SHOWN: Final = 20  # in a message
TEXT_MAX: Final = 65_000  # characters, of a text without a limit of its own


class WrongValue(Exception):
    """A value that the field cannot have; the text says what it must be."""


class OutOfRange(WrongValue):
    """A number that is too small or too large."""

    def __init__(self, least: float, greatest: float) -> None:
        self._least, self._greatest = least, greatest
        super().__init__(self.text(1))

    def text(self, unit: int) -> str:
        """What it must be, in a unit that is so many of the column's."""
        return f"must be between {self._least / unit:g} and {self._greatest / unit:g}"


def sent_twice(names: Iterable[str]) -> str:
    """What is wrong with a value that was sent under several names, with different values."""
    return f"is sent twice with two values: {' and '.join(names)}; send one of them"


def plain(name: str) -> str:
    """A name without case, and with one `_` for what is no letter or digit, as columns have it."""
    return re.sub(r"[^\w]+", "_", name.casefold()).strip("_")


def numbered(options: Mapping[str, str]) -> dict[Any, str]:
    """The labels of options by id, with ids that are numbers as numbers."""
    return {int(key) if key.isdecimal() else key: label for key, label in options.items()}


def option(options: Mapping[Any, str], value: Any) -> Any:
    """An option's id, from its id or its label; case does not matter where one label is alike.

    Raises:
        WrongValue: no option is meant, or several are.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise WrongValue("must be the label or the id of an option")
    text = str(value).strip()
    exact = [key for key, label in options.items() if text == str(key) or value == label]
    meant = exact or [
        key for key, label in options.items() if text.casefold() == label.strip().casefold()
    ]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise WrongValue(f"is the label of several options; use the id: {_listed(meant)}")
    raise WrongValue(f"is none of the options: {_listed(options.values()) or 'there are none'}")


def options_of(options: Mapping[Any, str], value: Any) -> list[Any]:
    """The ids of several options, from ids or labels."""
    if not isinstance(value, list):
        raise WrongValue("must be a list of labels or ids")
    return list(dict.fromkeys(option(options, each) for each in value))


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(each) for each in [*values][:OPTIONS_SHOWN])


def choice(choices: Mapping[str, Any], value: Any) -> Any:
    """What a body says for one of the allowed values."""
    if str(value) not in choices or isinstance(value, bool):
        raise WrongValue(f"must be one of {', '.join(choices)}")
    return choices[str(value)]


def _text(declared: WriteField, value: Any) -> str:
    text = any_text(value, declared.length_max or TEXT_MAX)
    if not declared.is_nullable and declared.length_max and not text.strip():
        raise WrongValue("cannot be empty")
    return text


def any_text(value: Any, length_max: int = TEXT_MAX) -> str:
    """A text of at most so many characters that can be stored."""
    if not isinstance(value, str):
        raise WrongValue("must be text")
    if "\x00" in value or value.encode(errors="ignore") != value.encode(errors="surrogatepass"):
        raise WrongValue("has characters that cannot be stored")
    if len(value) > length_max:
        raise WrongValue(f"has more than {length_max} characters")
    return value


def _number(declared: WriteField, value: Any) -> int | float:
    number = _any_number(value)
    _require_range(declared, number)
    return number


def decimal_of(value: Any) -> Decimal:
    """The number that a value is: a number of JSON, or plain decimal text such as "12.50".

    Raises:
        WrongValue: it is neither, or too large.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise WrongValue("must be a number")
    # Decimal itself takes underscores, exponents, and digits of other scripts.
    if isinstance(value, str) and not DECIMAL_TEXT.fullmatch(value.strip()):
        raise WrongValue("must be a number")
    exact = Decimal(str(value))
    if not exact.is_finite() or abs(exact) >= NUMBER_MAX:
        raise WrongValue("must be a number of at most 15 digits before the point")
    return exact


def json_number(exact: Decimal) -> int | float:
    """A number as JSON has it."""
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def _any_number(value: Any) -> int | float:
    return json_number(decimal_of(value))


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
        raise OutOfRange(*declared.range)


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


def _clock(value: Any) -> str:
    at: time = _parsed(time.fromisoformat, "a time such as 09:30")(value)
    if at.tzinfo is not None:  # the day may be another one in UTC, and is another field
        raise WrongValue("must be a time without an offset, such as 09:30")
    return at.replace(microsecond=0).isoformat()


def _instant(_: Any, value: Any) -> str:
    at: datetime = _parsed(datetime.fromisoformat, "an instant such as 2026-11-30T09:30:00Z")(value)
    if at.tzinfo is None:
        raise WrongValue("must have an offset, such as 2026-11-30T09:30:00Z")
    try:
        in_utc = at.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    except OverflowError:
        raise WrongValue("must be of the years 1 to 9999 in UTC") from None
    return f"{in_utc.isoformat()}Z"


def _currency(_: Any, value: Any) -> str:
    if not isinstance(value, str) or not CURRENCY.fullmatch(value):
        raise WrongValue("must be three capital letters, such as EUR")
    return value


def _address(_: Any, value: Any) -> Body:
    return {"value": any_text(value)}


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
        any_text(point["value"])
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
    "text": any_text,
    "int": _any_whole,
    "double": _any_number,
    "boolean": lambda value: _boolean(None, value),
    "date": _day,
    "time": _clock,
    "timerange": _parts(value=_clock, until=_clock),
    "daterange": _parts(value=_day, until=_day),
    "monetary": _parts(value=_any_number, currency=lambda value: _currency(None, value)),
    "address": any_text,
    "reference": _any_whole,
}
