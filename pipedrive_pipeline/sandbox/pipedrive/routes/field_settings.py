"""Settings of where a field appears in Pipedrive's own pages; v2 shows them only on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.answers import invalid
from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldDefinition

Record = dict[str, Any]
DEFAULTS: dict[str, Record] = {
    "ui_visibility": {
        "add_visible_flag": False,
        "details_visible_flag": True,
        "show_in_add_deal_dialog": {"show": False, "order": None},
    },
    "important_fields": {"enabled": False, "stage_ids": []},
    "required_fields": {"enabled": False},
}


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


CHECKS: dict[str, Callable[[Any], bool]] = {  # other keys may be there and hold anything
    "add_visible_flag": _is_flag,
    "details_visible_flag": _is_flag,
    "show_in_add_deal_dialog": _is_dialog,
    "show_in_add_person_dialog": _is_dialog,
    "enabled": _is_flag,
    "stage_ids": _is_stages,
}


def named(body: Record) -> Record:
    """The settings in a create or an update of a field, validated.

    Raises:
        Refusal: 400 for an ill-typed one.
    """
    for name in DEFAULTS.keys() & body.keys():
        if not isinstance(body[name], dict):
            raise invalid(f"{name} must be an object")
        for key, value in body[name].items():
            if key in CHECKS and not CHECKS[key](value):
                raise invalid(f"{name}: '{key}' is not valid")
    return {name: body[name] for name in DEFAULTS if name in body}


def merged(field: FieldDefinition, changes: Record) -> Record:
    """A field's settings after a change; keys that the change does not name stay."""
    return {
        name: field.settings.get(name, {}) | changes.get(name, {})
        for name in DEFAULTS
        if name in field.settings or name in changes
    }


def shown(field: FieldDefinition, names: tuple[str, ...]) -> Record:
    """The settings that a request asks for, unset ones with their defaults."""
    return {name: DEFAULTS[name] | field.settings.get(name, {}) for name in names}
