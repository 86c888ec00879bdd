"""v2 field definitions: list, get, create, change, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid, page, success
from pipedrive_pipeline.sandbox.pipedrive.routes import cursors
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import DEFAULT_LIMIT
from pipedrive_pipeline.sandbox.pipedrive.world.fields import (
    CREATABLE_TYPES,
    OPTION_LIMIT,
    SUBFIELDS,
    TYPES_WITH_OPTIONS,
    FieldBook,
    FieldDefinition,
)
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import WITH_FIELDS

Record = dict[str, Any]
NAME_LIMIT = 255  # characters
SETTINGS: dict[str, Record] = {  # where a field appears on Pipedrive's own pages, by default
    "ui_visibility": {
        "add_visible_flag": False,
        "details_visible_flag": True,
        "show_in_add_deal_dialog": {"show": False, "order": None},
    },
    "important_fields": {"enabled": False, "stage_ids": []},
    "required_fields": {"enabled": False},
}
_SHARED_KEYS = {"field_name", "description", *SETTINGS}


def endpoints() -> list[ApiEndpoint]:
    """Field routes of each entity."""
    routes = []
    for kind in WITH_FIELDS.values():
        fields = f"/api/v2/{kind.singular}Fields"
        field = f"{fields}/{{field_code}}"
        read, make = readers(kind), kind.field_write
        routes += [
            ApiEndpoint("GET", fields, 10, read, partial(_list, kind)),
            ApiEndpoint("GET", field, 1, read, partial(_get, kind)),
        ]
        if make:
            routes += [
                ApiEndpoint("POST", fields, 5, make, partial(_create, kind)),
                ApiEndpoint("PATCH", field, 5, changers(kind), partial(_change, kind)),
                ApiEndpoint("DELETE", field, 3, make, partial(_delete, kind)),
            ]
    return routes


def readers(kind: RecordKind) -> tuple[str, ...]:
    """The scopes that may read a kind's field definitions."""
    return (*kind.read, *kind.field_write, *kind.field_read)


def changers(kind: RecordKind) -> tuple[str, ...]:
    """The scopes that may change a field and its options."""
    return (*kind.field_write, *kind.write)


def printed(call: AdmittedCall, field: FieldDefinition, settings: tuple[str, ...] = ()) -> Record:
    """A field as v2 shows it."""
    subfields = SUBFIELDS.get(field.type)
    row: Record = {
        "field_name": field.name,
        "field_code": field.code,
        "description": field.description,
        "field_type": field.type,
        "options": _options(call, field),
        "subfields": subfields and [_subfield(part) for part in subfields],
        "is_custom_field": field.is_custom,
        "is_optional_response_field": field.is_optional,
    }
    if field.is_writable is not None:
        row["is_writable"] = field.is_writable
    return row | _shown_settings(field, settings)


def _options(call: AdmittedCall, field: FieldDefinition) -> list[Record] | None:
    """Options with ids; ids of built-in options are texts as documented, or numbers by a switch."""
    if field.options is None:
        return None
    is_text = not field.is_custom and call.options.built_in_option_ids == "text"
    rows = [asdict(option) for option in field.options]
    return [row | {"id": str(row["id"]) if is_text else row["id"], "color": None} for row in rows]


def _subfield(part: str) -> Record:
    return {
        "field_code": part,
        "field_name": part.replace("_", " ").capitalize(),
        "field_type": "double" if part == "timezone_id" else "varchar",
    }


def _book(entity: RecordKind, call: AdmittedCall) -> FieldBook:
    return call.account.fields[entity.name]


def _known(entity: RecordKind, call: AdmittedCall) -> FieldDefinition:
    field = _book(entity, call).get(call.path["field_code"])
    if field is None:
        raise by_service(404, "Field not found")
    return field


def custom_field(entity: RecordKind, call: AdmittedCall) -> FieldDefinition:
    """The custom field of the path.

    Raises:
        Refusal: 404, there is none with that code; 403, it is a built-in one.
    """
    field = _known(entity, call)
    if not field.is_custom:
        raise by_service(403, "Built-in fields cannot be changed")
    return field


def _list(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(
        {
            "include_fields": p.some_of(*SETTINGS),
            "limit": p.limit(p.LIST_LIMIT, clamps=call.options.clamps_limit),
            "cursor": p.text,
        },
    )
    first = cursors.read(values["cursor"], "id")[1] if "cursor" in values else 0
    limit = values.get("limit", DEFAULT_LIMIT)
    behind = (field for field in _book(entity, call) if field.id >= first)
    fields = list(islice(behind, limit + 1))
    next_cursor = None
    if len(fields) > limit:
        last = fields.pop()
        next_cursor = cursors.written("id", (last.id, last.id))
    settings = values.get("include_fields", ())
    return page((printed(call, field, settings) for field in fields), next_cursor)


def _get(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters({"include_fields": p.some_of(*SETTINGS)})
    return success(printed(call, _known(entity, call), values.get("include_fields", ())))


def _create(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    body = call.json_object()
    _refuse_others(body, _SHARED_KEYS | {"field_type", "options"})
    _check_texts(body, ("field_name",))
    kind = body.get("field_type")
    if kind not in CREATABLE_TYPES:
        raise invalid(f"field_type must be one of: {', '.join(CREATABLE_TYPES)}")
    if kind not in TYPES_WITH_OPTIONS and body.get("options", []) != []:
        raise invalid("Only enum and set fields have options")
    field = _book(entity, call).add(
        body["field_name"],
        kind,
        labels(body.get("options")) if kind in TYPES_WITH_OPTIONS else None,
        description=body.get("description"),
        settings=_named_settings(body),
        by="api",
    )
    return success(printed(call, field))


def _change(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    field, body = custom_field(entity, call), call.json_object()
    _refuse_others(body, _SHARED_KEYS)
    if not body:
        raise invalid("Request body must name at least one change")
    _check_texts(body, ("field_name",) if "field_name" in body else ())
    changes = {
        "name": body.get("field_name", field.name),
        "description": body.get("description", field.description),
        "settings": _merged_settings(field, _named_settings(body)),
    }
    return success(printed(call, _book(entity, call).change(field.code, by="api", **changes)))


def _delete(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    field = custom_field(entity, call)
    _book(entity, call).drop(field.code, by="api")
    return success(printed(call, field))


def labels(rows: Any) -> list[str]:
    """The labels in an array of options.

    Raises:
        Refusal: 400, it is no array, it is empty or too long, or an item has no label.
    """
    if not isinstance(rows, list) or not 0 < len(rows) <= OPTION_LIMIT:
        raise invalid(f"options must be an array of 1 to {OPTION_LIMIT} items")
    texts = [row.get("label") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(text, str) and 0 < len(text) <= NAME_LIMIT for text in texts):
        raise invalid(f"Each option needs a label of 1 to {NAME_LIMIT} characters")
    return [str(text) for text in texts]


def _refuse_others(body: Record, allowed: set[str]) -> None:
    for key in body:
        if key not in allowed:
            raise invalid(f"Parameter '{key}' is not allowed")
    if not isinstance(body.get("description", ""), str | None):
        raise invalid("description must be a string")


def _check_texts(body: Record, names: Iterable[str]) -> None:
    for name in names:
        text = body.get(name)
        if not isinstance(text, str) or not text.strip() or len(text) > NAME_LIMIT:
            raise invalid(f"{name} must be a string of 1 to {NAME_LIMIT} characters")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_dialog(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_flag(value.get("show", False))
        and type(value.get("order")) in (int, type(None))
    )


def _is_stages(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


_SETTING_CHECKS: dict[str, Callable[[Any], bool]] = {  # other keys may be there and hold anything
    "add_visible_flag": _is_flag,
    "details_visible_flag": _is_flag,
    "show_in_add_deal_dialog": _is_dialog,
    "show_in_add_person_dialog": _is_dialog,
    "enabled": _is_flag,
    "stage_ids": _is_stages,
}


def _named_settings(body: Record) -> Record:
    """The settings in a create or an update of a field, validated.

    Raises:
        Refusal: 400 for an ill-typed one.
    """
    for name in SETTINGS.keys() & body.keys():
        if not isinstance(body[name], dict):
            raise invalid(f"{name} must be an object")
        for key, value in body[name].items():
            if key in _SETTING_CHECKS and not _SETTING_CHECKS[key](value):
                raise invalid(f"{name}: '{key}' is not valid")
    return {name: body[name] for name in SETTINGS if name in body}


def _merged_settings(field: FieldDefinition, changes: Record) -> Record:
    """A field's settings after a change; keys that the change does not name stay."""
    return {
        name: field.settings.get(name, {}) | changes.get(name, {})
        for name in SETTINGS
        if name in field.settings or name in changes
    }


def _shown_settings(field: FieldDefinition, names: tuple[str, ...]) -> Record:
    """The settings that a request asks for, unset ones with their defaults."""
    return {name: SETTINGS[name] | field.settings.get(name, {}) for name in names}
