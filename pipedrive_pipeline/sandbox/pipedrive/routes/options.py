"""The options of custom fields: added, renamed and deleted in arrays, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid, success
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.fields import changers, custom_field, labels
from pipedrive_pipeline.sandbox.pipedrive.world.fields import (
    OPTION_LIMIT,
    TYPES_WITH_OPTIONS,
    FieldDefinition,
    FieldOption,
)
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import WITH_FIELDS


def endpoints() -> list[ApiEndpoint]:
    """Option routes of each entity."""
    routes = []
    for entity in WITH_FIELDS.values():
        if not entity.field_write:
            continue
        path = f"/api/v2/{entity.singular}Fields/{{field_code}}/options"
        routes += [
            ApiEndpoint("POST", path, 5, changers(entity), partial(_add, entity)),
            ApiEndpoint("PATCH", path, 5, changers(entity), partial(_rename, entity)),
            ApiEndpoint("DELETE", path, 3, changers(entity), partial(_delete, entity)),
        ]
    return routes


def _add(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    field, texts = _known(entity, call), labels(call.json())
    before = field.options or ()
    if len(texts) + len(before) > OPTION_LIMIT:
        raise invalid(f"A field holds at most {OPTION_LIMIT} options")
    after = call.account.fields[entity.name].add_options(field.code, texts, by="api")
    return _answer((after.options or ())[len(before) :])


def _rename(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    field, rows = _known(entity, call), call.json()
    ids, texts = _ids(field, rows, {"id", "label"}), labels(rows)
    changes = dict(zip(ids, texts, strict=True))
    after = call.account.fields[entity.name].rename_options(field.code, changes, by="api")
    return _answer(option for option in after.options or () if option.id in changes)


def _delete(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    field, rows = _known(entity, call), call.json()
    ids = _ids(field, rows, {"id"})
    call.account.fields[entity.name].drop_options(field.code, ids, by="api")
    return _answer(option for option in field.options or () if option.id in ids)


def _answer(options: Iterable[FieldOption]) -> SandboxAnswer:
    """Only the changed options; the field's own route returns all."""
    rows = [{"id": option.id, "label": option.label} for option in options]
    return success(rows, additional_data=None)


def _known(entity: RecordKind, call: AdmittedCall) -> FieldDefinition:
    call.parameters({})
    field = custom_field(entity, call)
    if field.type not in TYPES_WITH_OPTIONS:
        raise invalid("Only enum and set fields have options")
    return field


def _ids(field: FieldDefinition, rows: Any, keys: set[str]) -> list[int]:
    """The ids that an array of options names; all must exist."""
    live = {option.id for option in field.options or ()}
    if not isinstance(rows, list) or not rows:
        raise invalid("Request body must be a non-empty array")
    for row in rows:
        if not isinstance(row, dict) or set(row) != keys:
            raise invalid(f"Each item must have exactly: {', '.join(sorted(keys))}")
        if type(row["id"]) is not int or row["id"] not in live:
            raise invalid("Option does not exist")
    return [row["id"] for row in rows]
