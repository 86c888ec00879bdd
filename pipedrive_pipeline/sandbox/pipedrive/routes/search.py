"""v2 search of persons and organizations. Unlike the real index it is always up to date."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid, success
from pipedrive_pipeline.sandbox.pipedrive.routes import cursors
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import DEFAULT_LIMIT
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

Record = dict[str, Any]
SEARCHABLE_TYPES = ("address", "varchar", "text", "varchar_auto", "double", "monetary", "phone")


def endpoints() -> list[ApiEndpoint]:
    """Search of each entity."""
    return [
        ApiEndpoint(
            "GET",
            f"/api/v2/{entity.name}/search",
            20,
            (*entity.read, "search:read"),
            partial(_search, entity),
            is_search=True,
        )
        for entity in ENTITIES.values()
        if entity.search_fields
    ]


def _search(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    of_person: dict[str, p.Kind] = {
        "organization_id": p.whole,
        "include_fields": p.some_of("person.picture"),
    }
    values = call.parameters(
        {
            "term": p.text,
            "fields": p.some_of(*entity.search_fields),
            "exact_match": p.flag,
            **(of_person if entity.parent else {}),
            "limit": p.limit(p.LIST_LIMIT, clamps=call.options.clamps_limit),
            "cursor": p.text,
        },
    )
    term, is_exact = values.get("term", "").strip(), values.get("exact_match", False)
    if len(term) < (1 if is_exact else 2):
        raise invalid("Parameter 'term' must be at least 2 characters long")
    start = cursors.read(values["cursor"], "id") if "cursor" in values else None
    limit = values.get("limit", DEFAULT_LIMIT)
    matches = _matches(entity, call, values, term.casefold(), Walk(start=start))
    items = list(islice(matches, limit + 1))
    next_cursor = None
    if len(items) > limit:
        next_id = items.pop()["item"]["id"]
        next_cursor = cursors.written("id", (next_id, next_id))
    return success({"items": items}, additional_data={"next_cursor": next_cursor})


def _matches(
    entity: RecordKind, call: AdmittedCall, values: Record, term: str, walk: Walk
) -> Iterator[Record]:
    is_exact = values.get("exact_match", False)
    fields = values.get("fields", entity.search_fields)
    parent_id = values.get("organization_id")
    for record in listed(call.account, entity.name, call.caller.user_id, walk):
        if parent_id is not None and record[entity.parent or ""] != parent_id:
            continue
        texts = list(_texts(entity, call, record, fields))
        if any(text == term if is_exact else term in text for text in texts):
            yield {
                "result_score": 1.0 if term in texts else 0.5,
                "item": _item(entity, call, record),
            }


def _texts(
    entity: RecordKind, call: AdmittedCall, record: Record, fields: tuple[str, ...]
) -> Iterator[str]:
    if "name" in fields:
        yield record["name"].casefold()
    if "address" in fields and record["address"]:
        yield str(record["address"]["value"]).casefold()
    for word, key in (("email", "emails"), ("phone", "phones")):
        if word in fields:
            yield from (row["value"].casefold() for row in record[key])
    if "custom_fields" in fields:
        yield from (text.casefold() for text in _custom_texts(entity, call, record))


def _custom_texts(entity: RecordKind, call: AdmittedCall, record: Record) -> Iterator[str]:
    for field in call.account.fields[entity.name]:
        value = record["custom_fields"].get(field.code)
        if value is not None and field.is_custom and field.type in SEARCHABLE_TYPES:
            yield str(value["value"] if isinstance(value, dict) else value)


def _item(entity: RecordKind, call: AdmittedCall, record: Record) -> Record:
    item: Record = {
        "id": record["id"],
        "type": entity.singular,
        "name": record["name"],
        "visible_to": record["visible_to"],
        "owner": {"id": record["owner_id"]},
        "custom_fields": list(_custom_texts(entity, call, record)),
        "notes": [],
    }
    if entity.parent is None:
        address = record["address"]
        return item | {"address": address and address["value"]}
    item |= {
        "phones": [row["value"] for row in record["phones"]],
        "emails": [row["value"] for row in record["emails"]],
        "primary_email": next((row["value"] for row in record["emails"] if row["primary"]), None),
        "organization": _organization(call, record[entity.parent]),
    }
    if item["organization"] is None and not call.account.shows_unset:
        del item["organization"]
    return item


def _organization(call: AdmittedCall, row_id: int | None) -> Record | None:
    record = None if row_id is None else call.account.records["organizations"].get(row_id)
    if record is None:
        return None
    address = record["address"]
    return {"id": row_id, "name": record["name"], "address": address and address["value"]}
