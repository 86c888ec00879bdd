"""v1 merge: merges one record into another."""

from __future__ import annotations

from functools import partial

from pipedrive_pipeline.sandbox.web.answers import Answer, by_service, success
from pipedrive_pipeline.sandbox.web.calls import Call, Endpoint
from pipedrive_pipeline.sandbox.web.record_routes import known
from pipedrive_pipeline.sandbox.world.entities import ENTITIES, Entity

WRITE = ("contacts:full",)


def endpoints() -> list[Endpoint]:
    """Merge of each entity."""
    return [
        Endpoint("PUT", f"/v1/{entity.name}/{{id}}/merge", 40, WRITE, partial(_merge, entity))
        for entity in ENTITIES.values()
    ]


def _merge(entity: Entity, call: Call) -> Answer:
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
