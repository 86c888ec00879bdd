"""v2 create, update and delete of every entity; v1 merge."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid, success
from pipedrive_pipeline.sandbox.pipedrive.routes.bodies import checked
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import known
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES, RecordKind

Record = dict[str, Any]
WRITE = ("contacts:full",)


def endpoints() -> list[ApiEndpoint]:
    """Create, update, delete, merge of each entity."""
    routes = []
    for entity in ENTITIES.values():
        path = f"/api/v2/{entity.name}"
        routes += [
            ApiEndpoint("POST", path, 5, WRITE, partial(_create, entity)),
            ApiEndpoint("PATCH", f"{path}/{{id}}", 5, WRITE, partial(_update, entity)),
            ApiEndpoint("DELETE", f"{path}/{{id}}", 3, WRITE, partial(_delete, entity)),
            ApiEndpoint(
                "PUT", f"/v1/{entity.name}/{{id}}/merge", 40, WRITE, partial(_merge, entity)
            ),
        ]
    return routes


def _create(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    values = checked(call, entity, is_new=True)
    _settle_name(entity, values, before=None)
    if not values.get("name", "").strip():
        raise invalid("name: The value is required")
    values.setdefault("owner_id", call.caller.user_id)
    record = call.account.create(entity.name, by="api", **values)
    return success(call.account.views[entity.name].row(record))


def _update(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    before = known(call, entity)
    values = checked(call, entity, is_new=False)
    _settle_name(entity, values, before=before)
    record = call.account.edit(entity.name, before["id"], by="api", **values)
    return success(call.account.views[entity.name].row(record))


def _delete(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    record = known(call, entity)
    call.account.delete(entity.name, record["id"], by="api")
    return success({"id": record["id"]})


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
