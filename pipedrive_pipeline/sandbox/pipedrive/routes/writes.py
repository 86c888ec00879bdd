"""v2 create, update and delete of every entity; v1 merge."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid, success
from pipedrive_pipeline.sandbox.pipedrive.routes.bodies import checked
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import known, missing, parent_of
from pipedrive_pipeline.sandbox.pipedrive.world.account import OWNERS
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import NOTES

Record = dict[str, Any]
Answer = Callable[[RecordKind, AdmittedCall], SandboxAnswer]


def endpoints() -> list[ApiEndpoint]:
    """Create, update, delete, merge of each kind."""
    routes = []
    for kind in ENTITIES.values():
        prices, row_path = kind.prices, f"{kind.path}/{{id}}"
        if kind.belongs_to is not None:
            row_path = f"{kind.path}/{{row_id}}"
        calls: tuple[tuple[str, str, int | None, Answer], ...] = (
            ("POST", kind.path, prices.create, _create),
            (kind.updates_by, row_path, prices.update, _update),
            ("DELETE", row_path, prices.delete, _delete),
            ("PUT", f"/v1/{kind.name}/{{id}}/merge", prices.merge, _merge),
        )
        routes += [
            ApiEndpoint(method, path, price, kind.write, partial(answer, kind))
            for method, path, price, answer in calls
            if price is not None
        ]
    return routes


def _create(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    record = call.account.create(
        kind.name, by="api", **_parent(kind, call), **new_values(kind, call)
    )
    row = call.account.views[kind.name].row(record)
    if kind.fresh_is_unstamped:
        row["update_time"] = None
    return success(row, kind.created_status)


def new_values(kind: RecordKind, call: AdmittedCall) -> Record:
    """The values of a new record, with the caller as its owner.

    Raises:
        RequestRefused: 400, one is wrong, or one that it needs is missing.
    """
    values = checked(call, kind, is_new=True)
    _settle_name(kind, values, before=None)
    for key in kind.required:
        value = values.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise invalid(f"{key}: The value is required")
    for key in OWNERS:
        if key in kind.defaults:
            values.setdefault(key, call.caller.user_id)
    return values


def _update(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    before = _addressed(kind, call)
    values = checked(call, kind, is_new=False, before=before)
    _settle_name(kind, values, before=before)
    record = call.account.edit(kind.name, before["id"], by="api", **values)
    return success(call.account.views[kind.name].row(record))


def _delete(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    record = _addressed(kind, call)
    call.account.delete(kind.name, record["id"], by="api")
    if kind is NOTES:
        return success(data=True)
    return success({"id": printed_id(kind, record["id"])})


def _parent(kind: RecordKind, call: AdmittedCall) -> Record:
    """The key that ties a new record to the one in the path."""
    if kind.belongs_to is None:
        return {}
    parent_kind, key = parent_of(kind)
    return {key: known(call, parent_kind)["id"]}


def _addressed(kind: RecordKind, call: AdmittedCall) -> Record:
    """The record of the path, which must belong to the other one in it."""
    if kind.belongs_to is None:
        return known(call, kind)
    record = known(call, kind, name="row_id")
    if _parent(kind, call).items() <= record.items():
        return record
    raise missing(kind)


def _settle_name(entity: RecordKind, values: Record, *, before: Record | None) -> None:
    """Derives a person's name from its parts, or the parts from the name."""
    if "first_name" not in entity.writable:
        return
    parts = [key for key in ("first_name", "last_name") if key in values]
    if "name" in values and parts:
        raise invalid("Cannot set 'name' and 'first_name'/'last_name' at the same time")
    if parts:
        both = (before or {"first_name": None, "last_name": None}) | values
        values["name"] = " ".join(filter(None, (both["first_name"], both["last_name"])))
    elif "name" in values:
        first, _, last = values["name"].strip().rpartition(" ")
        values["first_name"], values["last_name"] = (first, last) if first else (last, None)


def _merge(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    loser = known(call, entity)
    survivor_id = call.json_object().get("merge_with_id")
    if type(survivor_id) is not int or survivor_id == loser["id"]:
        raise by_service(400, "merge_with_id must be the id of another record")
    call.path = {"id": str(survivor_id)}
    known(call, entity)
    call.account.merge(
        entity.name,
        loser["id"],
        survivor_id,
        touches_children=call.options.merge_touches_children,
        by="api",
    )
    return success({"id": survivor_id})
