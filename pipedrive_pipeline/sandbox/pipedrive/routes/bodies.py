"""Bodies of creates and updates, checked as strictly as the service checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import RequestRefused
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.parameters import time as parsed_time
from pipedrive_pipeline.sandbox.pipedrive.routes.refusals import REFUSALS
from pipedrive_pipeline.sandbox.pipedrive.routes.value_checks import (
    CHECKS,
    CUSTOM_CHECKS,
    is_id,
    is_ids,
    is_int,
    is_text,
)
from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS, FieldBook, FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES

Record = dict[str, Any]
VISIBILITIES = {"lite": (1, 3), "growth": (1, 3), "premium": (1, 3, 5, 7), "ultimate": (1, 3, 5, 7)}
_V1_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def checked(
    call: AdmittedCall, entity: RecordKind, *, is_new: bool, before: Record | None = None
) -> Record:
    """The values of a create or update, validated and ready to be stored.

    Args:
        call: the request.
        entity: the kind of record.
        is_new: whether the record is created.
        before: the record that is updated.

    Raises:
        Refusal: 400 for an unknown key or an ill-typed value, 403 for a feature that is off.
    """
    body = call.json_object()
    custom: Record = {}
    if entity.is_v1 and entity.fields_of:
        body, custom = _split(call.account.fields[entity.fields_of], body)
    for key in body:
        is_barred = not is_new and key in entity.only_on_create
        if key not in entity.writable or is_barred:
            raise invalid(f"Parameter '{key}' is not allowed")
        if key in entity.featured and not call.account.has_features:
            raise by_service(403, f"The feature of '{key}' is not enabled")
    values = {key: _value(call, entity, key, value) for key, value in body.items()}
    if custom:
        values["custom_fields"] = _custom_values(call, entity, custom)
    for key in ("address", "postal_address", "location"):
        if values.get(key) is not None:
            values[key] = dict.fromkeys(SUBFIELDS["address"]) | values[key]
    refusal = REFUSALS.get(entity.name)
    text = refusal and refusal(before or {}, values)
    if text:
        raise invalid(text)
    return values


def _split(book: FieldBook, body: Record) -> tuple[Record, Record]:
    """A body of v1 without its custom fields, and these as v2 has them."""
    plain: Record = {}
    custom: Record = {}
    for key, value in body.items():
        code, _, part = key.partition("_")
        field = book.get(code)
        if field is None or not field.is_custom:
            plain[key] = value
        elif part:
            custom[code] = custom.get(code, {}) | {part: value}
        elif field.type in SUBFIELDS and value is not None:
            custom[code] = {"value": value} | custom.get(code, {})
        else:
            custom[code] = _from_v1(field, value)
    return plain, custom


def _from_v1(field: FieldDefinition, value: Any) -> Any:
    """One custom value: options come as texts of ids, sets as one text."""
    if field.type == "enum" and isinstance(value, str) and value.isdecimal():
        return int(value)
    if field.type == "set" and isinstance(value, str):
        return [int(part) for part in value.split(",") if part.isdecimal()]
    return value


def _value(call: AdmittedCall, entity: RecordKind, key: str, value: Any) -> Any:
    kind = entity.writable[key]
    if kind == "custom":
        return _custom_values(call, entity, value)
    form = kind.rstrip("?")
    if form != kind and value is None:
        return None
    if form in ENTITIES:
        return _link(call, ENTITIES[form], key, value)
    if form in CHECKS:
        expected, check = CHECKS[form]
        if not check(value):
            raise invalid(f"{key}: The value is not a valid '{expected}'")
    return CONVERTED[form](call, key, value) if form in CONVERTED else value


def _visibility(call: AdmittedCall, key: str, value: Any) -> int:
    if type(value) is not int or value not in VISIBILITIES[call.options.plan]:
        raise invalid(f"{key}: The value is not a valid visibility")
    return value


def _user(call: AdmittedCall, key: str, value: int) -> int:
    if value not in call.account.rights:
        raise invalid(f"{key}: User not found")
    return value


def _any_time(call: AdmittedCall, key: str, value: Any) -> str:
    """A time in the form of v1 or of v2."""
    return _time(call, key, value.replace(" ", "T") + "Z" if _is_plain_time(value) else value)


def _is_plain_time(value: Any) -> bool:
    return isinstance(value, str) and _V1_TIME.fullmatch(value) is not None


def _link(call: AdmittedCall, target: RecordKind, key: str, value: Any) -> Any:
    """The id of another record, which must exist."""
    is_right = is_text(value) if target.id_form == "uuid" else is_id(value)
    if not is_right:
        raise invalid(f"{key}: The value is not a valid id")
    try:
        record = call.account.get(target.name, value)
    except LookupError:
        record = None
    if record is None or record["is_deleted"]:
        raise invalid(f"{key}: {target.singular.capitalize()} not found")
    return value


def _clock(_: AdmittedCall, __: str, value: Any) -> Any:
    """A time of day with seconds."""
    return f"{value}:00" if isinstance(value, str) and len(value) == len("09:30") else value


def _activity_type(call: AdmittedCall, key: str, value: Any) -> Any:
    types = call.account.records["activity_types"]
    rows = (types.get(row_id) for row_id in range(1, types.last_id + 1))
    if not any(row and row["key_string"] == value and not row["is_deleted"] for row in rows):
        raise invalid(f"{key}: Unknown activity type")
    return value


def _lead_labels(call: AdmittedCall, key: str, values: list[str]) -> list[str]:
    for value in values:
        _link(call, ENTITIES["lead_labels"], key, value)
    return values


def _visibility_text(_: AdmittedCall, key: str, value: str) -> int:
    if value not in {"1", "3", "5", "7"}:
        raise invalid(f"{key}: The value is not a valid visibility")
    return int(value)


def _time(_: AdmittedCall, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"{key}: The value is not a valid datetime")
    return str(parsed_time(key, value))


def _with_primary(_: AdmittedCall, __: str, contacts: list[Record]) -> list[Record]:
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


CONVERTED: dict[str, Callable[[AdmittedCall, str, Any], Any]] = {  # kind of value -> as stored
    "time": _time,
    "any_time": _any_time,
    "visibility": _visibility,
    "user": _user,
    "contacts": _with_primary,
    "clock": _clock,
    "activity_type": _activity_type,
    "lead_label_ids": _lead_labels,
    "visibility_text": _visibility_text,
    "category": lambda _, __, value: str(value),  # a number in requests, a text in answers
    "bit": lambda _, __, value: bool(value),
}


def _custom_values(call: AdmittedCall, entity: RecordKind, values: Any) -> Record:
    if not isinstance(values, dict):
        raise invalid("Validation failed: custom_fields: Expected object")
    book = call.account.fields[entity.fields_of or ""]
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
        is_right, expected = is_int(value) and value in ids, "number"
    elif field.type == "set":
        is_right, expected = is_ids(value) and bool(value) and set(value) <= ids, "array"
    elif field.type in CUSTOM_CHECKS:
        expected, check = CUSTOM_CHECKS[field.type]
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
