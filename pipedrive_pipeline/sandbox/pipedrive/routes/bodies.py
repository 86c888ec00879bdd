"""Bodies of creates and updates, checked as strictly as the service checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import RequestRefused
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.parameters import time as parsed_time
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import DEAL_STATUSES
from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS, FieldBook, FieldDefinition
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LABEL_COLORS
from pipedrive_pipeline.sandbox.pipedrive.world.product_kinds import BILLING_FREQUENCIES
from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import NOTE_TARGETS

Record = dict[str, Any]
Check = Callable[[Any], bool]
VISIBILITIES = {"lite": (1, 3), "growth": (1, 3), "premium": (1, 3, 5, 7), "ultimate": (1, 3, 5, 7)}
MARKETING_STATUSES = ("no_consent", "unsubscribed", "subscribed", "archived")
TEXT_LIMIT, LONG_TEXT_LIMIT = 255, 65_000  # characters
MAX_CYCLES = 208  # of a recurring line
_COLOR = re.compile("[0-9A-F]{6}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_V1_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
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
        and _is_id(row.get("person_id"))
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
    return isinstance(value, list) and all(map(_is_text, value))


def _is_one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


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
    "number": ("number", _is_number),
    "flag": ("boolean", _is_flag),
    "bit": ("number", _is_bit),
    "category": ("number", _is_id),
    "percent": ("number", _is_percent),
    "currency": ("currency", _is_currency),
    "money": ("object", _is_money),
    "clock": ("time", _is_clock),
    "participants": ("array", _is_participants),
    "attendees": ("array", _is_attendees),
    "prices": ("array", _is_prices),
    "lead_label_ids": ("array", _is_uuids),
    "color": ("color", lambda value: _is_text(value) and _COLOR.fullmatch(value) is not None),
    "lead_color": ("color", _is_one_of(*LABEL_COLORS)),
    "deal_status": ("status", _is_one_of(*DEAL_STATUSES[:-1])),
    "discount_type": ("discount type", _is_one_of("percentage", "amount")),
    "tax_method": ("tax method", _is_one_of("exclusive", "inclusive", "none")),
    "billing_frequency": ("billing frequency", _is_one_of(*BILLING_FREQUENCIES)),
    "cycles": ("number", lambda value: _is_id(value) and value <= MAX_CYCLES),
    "activity_type": ("string", _is_text),
    "visibility_text": ("string", _is_text),
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


def _deal_refusal(before: Record, values: Record) -> str | None:
    """Why a deal cannot be written like this: archived, or times that its status does not have."""
    is_archived = values.get("is_archived", before.get("is_archived", False))
    if before.get("is_archived") and is_archived and values.keys() - {"archive_time"}:
        return "Archived deals cannot be edited"
    status = values.get("status", before.get("status", "open"))
    if "won_time" in values and "lost_time" in values:
        return "won_time: cannot be set together with lost_time"
    for key, statuses in CLOSED_TIMES.items():
        if key in values and status not in statuses:
            return f"{key}: can only be set when the deal is {' or '.join(statuses)}"
    if "lost_reason" in values and status != "lost":
        return "lost_reason: can only be set when the deal is lost"
    return None


def _lead_refusal(before: Record, values: Record) -> str | None:
    if before.get("is_archived") and values.get("is_archived", True):
        return "Archived leads cannot be edited"
    merged = before | values
    if merged.get("person_id") is None and merged.get("organization_id") is None:
        return "A person or organization must be linked to the lead"
    return None


def _note_refusal(before: Record, values: Record) -> str | None:
    merged = before | values
    if all(merged.get(key) is None for key in NOTE_TARGETS):
        return f"At least one of {', '.join(NOTE_TARGETS)} must be given"
    return None


CLOSED_TIMES = {"won_time": ("won",), "lost_time": ("lost",), "close_time": ("won", "lost")}
REFUSALS: dict[str, Callable[[Record, Record], str | None]] = {
    "deals": _deal_refusal,
    "leads": _lead_refusal,
    "notes": _note_refusal,
}


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
    is_right = _is_text(value) if target.id_form == "uuid" else _is_id(value)
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
