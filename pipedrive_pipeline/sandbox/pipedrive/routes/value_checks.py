"""What the values in a body must look like, by their kind and by the type of a custom field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import DEAL_STATUSES
from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LABEL_COLORS
from pipedrive_pipeline.sandbox.pipedrive.world.product_kinds import BILLING_FREQUENCIES

Check = Callable[[Any], bool]
MARKETING_STATUSES = ("no_consent", "unsubscribed", "subscribed", "archived")
TEXT_LIMIT, LONG_TEXT_LIMIT = 255, 65_000  # characters
MAX_CYCLES = 208  # of a recurring line
_COLOR = re.compile("[0-9A-F]{6}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d)?")


def is_int(value: Any) -> bool:
    """A whole number that a database can hold."""
    return type(value) is int and abs(value) < 2**63


def is_id(value: Any) -> bool:
    """A positive whole number."""
    return is_int(value) and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def is_ids(value: Any) -> bool:
    """An array of ids."""
    return isinstance(value, list) and all(map(is_id, value))


def _is_address(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        return False
    parts = (*SUBFIELDS["address"], "org_id")
    return all(key in parts and isinstance(part, str | None) for key, part in value.items())


def _is_contacts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_contact, value))


def _is_contact(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= {"value", "primary", "label"}
        and isinstance(value.get("value"), str)
        and isinstance(value.get("primary", False), bool)
        and isinstance(value.get("label", ""), str)
    )


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _is_clock(value: Any) -> bool:
    return isinstance(value, str) and _CLOCK.fullmatch(value) is not None


def is_text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_bit(value: Any) -> bool:
    return type(value) is int and value in (0, 1)


def _is_percent(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 100


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and _CURRENCY.fullmatch(value) is not None


def _is_money(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"amount", "currency"}
        and _is_number(value["amount"])
        and _is_currency(value["currency"])
    )


def _is_participants(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and set(row) <= {"person_id", "primary"}
        and is_id(row.get("person_id"))
        and isinstance(row.get("primary", False), bool)
        for row in value
    )


def _is_attendees(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and set(row) <= {"email", "name", "status", "is_organizer", "person_id", "user_id"}
        and isinstance(row.get("email"), str)
        for row in value
    )


def _is_prices(value: Any) -> bool:
    """Prices of a product: one for each currency."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        return False
    keys = {"currency", "price", "cost", "direct_cost", "notes"}
    currencies = [row.get("currency") for row in value]
    return (
        all(set(row) <= keys and _is_currency(row.get("currency")) for row in value)
        and len(set(currencies)) == len(currencies)
        and all(_is_number(row.get(key, 0)) for row in value for key in ("price", "cost"))
        and all(_is_number(row.get("direct_cost") or 0) for row in value)
        and all(isinstance(row.get("notes", ""), str) for row in value)
    )


def _is_uuids(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _is_one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


CHECKS: dict[str, tuple[str, Check]] = {  # kind of a built-in key -> what it expects
    "text": ("string", is_text),
    "user": ("number", is_id),
    "id": ("number", is_id),
    "int": ("number", is_int),
    "ids": ("array", is_ids),
    "address": ("object", _is_address),
    "contacts": ("array", _is_contacts),
    "date": ("date", _is_date),
    "marketing": ("marketing status", lambda value: value in MARKETING_STATUSES),
    "number": ("number", _is_number),
    "flag": ("boolean", _is_flag),
    "bit": ("number", _is_bit),
    "category": ("number", is_id),
    "percent": ("number", _is_percent),
    "currency": ("currency", _is_currency),
    "money": ("object", _is_money),
    "clock": ("time", _is_clock),
    "participants": ("array", _is_participants),
    "attendees": ("array", _is_attendees),
    "prices": ("array", _is_prices),
    "lead_label_ids": ("array", _is_uuids),
    "color": ("color", lambda value: is_text(value) and _COLOR.fullmatch(value) is not None),
    "lead_color": ("color", _is_one_of(*LABEL_COLORS)),
    "deal_status": ("status", _is_one_of(*DEAL_STATUSES[:-1])),
    "discount_type": ("discount type", _is_one_of("percentage", "amount")),
    "tax_method": ("tax method", _is_one_of("exclusive", "inclusive", "none")),
    "billing_frequency": ("billing frequency", _is_one_of(*BILLING_FREQUENCIES)),
    "cycles": ("number", lambda value: is_id(value) and value <= MAX_CYCLES),
    "activity_type": ("string", is_text),
    "visibility_text": ("string", is_text),
}


def _parts(**checks: Check) -> Check:
    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(
                key in SUBFIELDS["timerange"] + SUBFIELDS["monetary"]
                and (key not in checks or checks[key](part))
                for key, part in value.items()
            )
            and set(checks) <= set(value)
        )

    return check


CUSTOM_CHECKS: dict[str, tuple[str, Check]] = {  # field type -> what it expects
    "varchar": ("string", lambda value: is_text(value) and len(value) <= TEXT_LIMIT),
    "varchar_auto": ("string", lambda value: is_text(value) and len(value) <= TEXT_LIMIT),
    "text": ("string", lambda value: is_text(value) and len(value) <= LONG_TEXT_LIMIT),
    "phone": ("string", lambda value: is_text(value) and len(value) <= TEXT_LIMIT),
    "double": ("number", _is_number),
    "int": ("number", is_int),
    "user": ("number", is_id),
    "org": ("number", is_id),
    "people": ("number", is_id),
    "date": ("string", _is_date),
    "monetary": ("object", _parts(value=_is_number, currency=is_text)),
    "daterange": ("object", _parts(value=_is_date, until=_is_date)),
    "time": ("object", _parts(value=_is_clock)),
    "timerange": ("object", _parts(value=_is_clock, until=_is_clock)),
    "address": ("object", _is_address),
}
