"""v2 create, update and delete of every entity."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox.web.answers import Answer, invalid, success
from pipedrive_pipeline.sandbox.web.bodies import checked
from pipedrive_pipeline.sandbox.web.calls import Call, Endpoint
from pipedrive_pipeline.sandbox.web.record_routes import known
from pipedrive_pipeline.sandbox.world.entities import ENTITIES, Entity

Record = dict[str, Any]
WRITE = ("contacts:full",)


def endpoints() -> list[Endpoint]:
    """Create, update, delete of each entity."""
    routes = []
    for entity in ENTITIES.values():
        path = f"/api/v2/{entity.name}"
        routes += [
            Endpoint("POST", path, 5, WRITE, partial(_create, entity)),
            Endpoint("PATCH", f"{path}/{{id}}", 5, WRITE, partial(_update, entity)),
            Endpoint("DELETE", f"{path}/{{id}}", 3, WRITE, partial(_delete, entity)),
        ]
    return routes


def _create(entity: Entity, call: Call) -> Answer:
    call.parameters({})
    values = checked(call, entity, is_new=True)
    _settle_name(entity, values, before=None)
    if not values.get("name", "").strip():
        raise invalid("name: The value is required")
    values.setdefault("owner_id", call.caller.user_id)
    record = call.account.create(entity.name, by="api", **values)
    return success(call.account.views[entity.name].row(record))


def _update(entity: Entity, call: Call) -> Answer:
    call.parameters({})
    before = known(call, entity)
    values = checked(call, entity, is_new=False)
    _settle_name(entity, values, before=before)
    record = call.account.edit(entity.name, before["id"], by="api", **values)
    return success(call.account.views[entity.name].row(record))


def _delete(entity: Entity, call: Call) -> Answer:
    call.parameters({})
    record = known(call, entity)
    call.account.delete(entity.name, record["id"], by="api")
    return success({"id": record["id"]})


def _settle_name(entity: Entity, values: Record, *, before: Record | None) -> None:
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
