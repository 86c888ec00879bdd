"""Bodies of creates and updates, checked as strictly as the service checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import RequestRefused
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.parameters import time as parsed_time
from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS, FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import RecordKind

Record = dict[str, Any]
Check = Callable[[Any], bool]
VISIBILITIES = {"lite": (1, 3), "growth": (1, 3), "premium": (1, 3, 5, 7), "ultimate": (1, 3, 5, 7)}
MARKETING_STATUSES = ("no_consent", "unsubscribed", "subscribed", "archived")
TEXT_LIMIT, LONG_TEXT_LIMIT = 255, 65_000  # characters
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d)?")


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _is_id(value: Any) -> bool:
    return _is_int(value) and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


CHECKS: dict[str, tuple[str, Check]] = {  # kind of a built-in key -> what it expects
    "text": ("string", _is_text),
    "user": ("number", _is_id),
    "id": ("number", _is_id),
    "int": ("number", _is_int),
    "ids": ("array", _is_ids),
    "address": ("object", _is_address),
    "contacts": ("array", _is_contacts),
    "date": ("date", _is_date),
    "marketing": ("marketing status", lambda value: value in MARKETING_STATUSES),
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


_CUSTOM: dict[str, tuple[str, Check]] = {  # field type -> what it expects
    "varchar": ("string", lambda value: _is_text(value) and len(value) <= TEXT_LIMIT),
    "varchar_auto": ("string", lambda value: _is_text(value) and len(value) <= TEXT_LIMIT),
    "text": ("string", lambda value: _is_text(value) and len(value) <= LONG_TEXT_LIMIT),
    "phone": ("string", lambda value: _is_text(value) and len(value) <= TEXT_LIMIT),
    "double": ("number", _is_number),
    "int": ("number", _is_int),
    "user": ("number", _is_id),
    "org": ("number", _is_id),
    "people": ("number", _is_id),
    "date": ("string", _is_date),
    "monetary": ("object", _parts(value=_is_number, currency=_is_text)),
    "daterange": ("object", _parts(value=_is_date, until=_is_date)),
    "time": ("object", _parts(value=_is_clock)),
    "timerange": ("object", _parts(value=_is_clock, until=_is_clock)),
    "address": ("object", _is_address),
}


def checked(call: AdmittedCall, entity: RecordKind, *, is_new: bool) -> Record:
    """The values of a create or update, validated and ready to be stored.

    Raises:
        Refusal: 400 for an unknown key or an ill-typed value, 403 for a feature that is off.
    """
    body = call.json_object()
    for key in body:
        is_barred = not is_new and key in entity.only_on_create
        if key not in entity.writable or is_barred:
            raise invalid(f"Parameter '{key}' is not allowed")
        if key in entity.featured and not call.account.has_features:
            raise by_service(403, f"The feature of '{key}' is not enabled")
    values = {key: _value(call, entity, key, value) for key, value in body.items()}
    if "address" in values or "postal_address" in values:
        for key in ("address", "postal_address"):
            if values.get(key) is not None:
                values[key] = dict.fromkeys(SUBFIELDS["address"]) | values[key]
    return values


def _value(call: AdmittedCall, entity: RecordKind, key: str, value: Any) -> Any:
    kind = entity.writable[key]
    if kind == "custom":
        return _custom_values(call, entity, value)
    if kind.endswith("?") and value is None:
        return None
    if kind == "time":
        return _time(key, value)
    if kind == "visibility":
        if type(value) is not int or value not in VISIBILITIES[call.options.plan]:
            raise invalid(f"{key}: The value is not a valid visibility")
        return value
    expected, check = CHECKS[kind.rstrip("?")]
    if not check(value):
        raise invalid(f"{key}: The value is not a valid '{expected}'")
    if kind == "user" and value not in call.account.rights:
        raise invalid(f"{key}: User not found")
    return _with_primary(value) if kind == "contacts" else value


def _time(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"{key}: The value is not a valid datetime")
    return str(parsed_time(key, value))


def _with_primary(contacts: list[Record]) -> list[Record]:
    """Labels default to work; if none is primary, the first becomes it."""
    rows = [
        {
            "value": row["value"],
            "primary": row.get("primary", False),
            "label": row.get("label", "work"),
        }
        for row in contacts
    ]
    if rows and not any(row["primary"] for row in rows):
        rows[0]["primary"] = True
    return rows


def _custom_values(call: AdmittedCall, entity: RecordKind, values: Any) -> Record:
    if not isinstance(values, dict):
        raise invalid("Validation failed: custom_fields: Expected object")
    book = call.account.fields[entity.name]
    for code, value in values.items():
        field = book.get(code)
        if field is None or not field.is_custom:
            raise invalid(f"Validation failed: custom_fields: Unknown key '{code}'")
        if value is not None:
            _check_custom(entity, field, value)
    return values


def _check_custom(entity: RecordKind, field: FieldDefinition, value: Any) -> None:
    ids = {option.id for option in field.options or ()}
    if field.type == "enum":
        is_right, expected = _is_int(value) and value in ids, "number"
    elif field.type == "set":
        is_right, expected = _is_ids(value) and bool(value) and set(value) <= ids, "array"
    elif field.type in _CUSTOM:
        expected, check = _CUSTOM[field.type]
        is_right = check(value)
    else:
        is_right, expected = True, "any"
    if not is_right:
        raise _wrong_type(entity, field, expected)


def _wrong_type(entity: RecordKind, field: FieldDefinition, expected: str) -> RequestRefused:
    return invalid(
        f"Validation failed: custom_fields: Expected '{expected}' as value for "
        f"{entity.singular} custom field '{field.code}'",
        field_code=field.code,
    )
