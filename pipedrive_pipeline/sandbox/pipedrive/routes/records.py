"""v2 lists and single records of every entity."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, page, success
from pipedrive_pipeline.sandbox.pipedrive.routes import cursors
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES, RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.order import Key
from pipedrive_pipeline.sandbox.pipedrive.world.reading import is_listed, listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk, sort_value
from pipedrive_pipeline.sandbox.pipedrive.world.view import Shape

Record = dict[str, Any]
DEFAULT_LIMIT = 100  # rows a page
READ = ("contacts:read", "contacts:full")


def endpoints() -> list[ApiEndpoint]:
    """List and get of each entity."""
    routes = []
    for entity in ENTITIES.values():
        path = f"/api/v2/{entity.name}"
        routes.append(ApiEndpoint("GET", path, 10, READ, partial(_list, entity)))
        routes.append(ApiEndpoint("GET", f"{path}/{{id}}", 1, READ, partial(_get, entity)))
    return routes


def known(call: AdmittedCall, entity: RecordKind, *, sees_deleted: bool = False) -> Record:
    """The record of the path.

    Raises:
        Refusal: 404, it never existed, is purged or deleted; 403, it is invisible to the caller.
    """
    row_id, account = call.id(), call.account
    record = account.records[entity.name].get(row_id)
    is_missing = record is None or account.is_purged(entity.name, row_id)
    if is_missing or record is None or (record["is_deleted"] and not sees_deleted):
        raise by_service(404, f"{entity.singular.capitalize()} not found")
    user_id = call.caller.user_id
    if not account.rights[user_id].admit(user_id, entity.name, record):
        if call.options.forbids_invisible_by_id:
            raise by_service(403, "You do not have permissions to do this.")
        raise by_service(404, f"{entity.singular.capitalize()} not found")
    return record


def _kinds(call: AdmittedCall, entity: RecordKind) -> dict[str, p.Kind]:
    filters = ("org_id", "deal_id") if entity.parent else ()
    return {
        "filter_id": p.whole,
        "ids": p.ids,
        "owner_id": p.whole,
        **dict.fromkeys(filters, p.whole),
        "updated_since": p.time,
        "updated_until": p.time,
        "sort_by": p.one_of(*entity.sort_fields),
        "sort_direction": p.one_of("asc", "desc"),
        **_shape_kinds(entity),
        "limit": p.limit(
            p.LIST_LIMIT, clamps=call.options.clamps_limit, rows=call.options.page_rows
        ),
        "cursor": p.text,
    }


def _shape_kinds(entity: RecordKind) -> dict[str, p.Kind]:
    return {
        "include_fields": p.some_of(*entity.optional),
        "custom_fields": p.keys,
        "include_option_labels": p.flag,
        "include_labels": p.flag,
    }


def _shape(values: Record) -> Shape:
    return Shape(
        include_fields=values.get("include_fields", ()),
        custom_fields=values.get("custom_fields"),
        has_option_labels=values.get("include_option_labels", False),
        has_labels=values.get("include_labels", False),
    )


def _get(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(
        _shape_kinds(entity),
    )
    record = known(call, entity, sees_deleted=call.options.shows_deleted_by_id)
    return success(call.account.views[entity.name].row(record, _shape(values)))


def _list(entity: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(
        _kinds(call, entity),
    )
    walk = _walk(call, values)
    limit = values.get("limit", DEFAULT_LIMIT)
    records = list(islice(_rows(entity, call, values, walk), limit + 1))
    next_cursor = None
    if len(records) > limit:
        first_of_next: Record = records.pop()
        key = (sort_value(first_of_next, walk.field), first_of_next["id"])
        next_cursor = _cursor(call, walk, key)
    view, shape = call.account.views[entity.name], _shape(values)
    if shape == Shape():
        return page(map(view.row, records), next_cursor)
    return page((view.row(record, shape) for record in records), next_cursor)


def _walk(call: AdmittedCall, values: Record) -> Walk:
    field = values.get("sort_by", "id")
    descending = values.get("sort_direction") == "desc"
    start: Key | None = None
    if "cursor" in values:
        life = call.options.cursor_seconds
        oldest = None if life is None else call.account.clock.now().timestamp() - life
        start = cursors.read(values["cursor"], field, descending=descending, not_before=oldest)
    return Walk(field, descending, start, values.get("updated_since"), values.get("updated_until"))


def _cursor(call: AdmittedCall, walk: Walk, key: Key) -> str:
    ages = call.options.cursor_seconds is not None
    issued_at = call.account.clock.now().timestamp() if ages else None
    return cursors.written(walk.field, key, descending=walk.descending, issued_at=issued_at)


def _rows(entity: RecordKind, call: AdmittedCall, values: Record, walk: Walk) -> Any:
    """The stored records that match the request. A saved filter overrides the id filters."""
    account, user_id = call.account, call.caller.user_id
    if "filter_id" in values:
        return listed(account, entity.name, user_id, walk)
    if "deal_id" in values:  # the sandbox has no deals, so nobody takes part in one
        return ()
    ids = values.get("ids")
    if ids is None and entity.parent in values:
        ids = account.records[entity.name].children_of(entity.parent, values[entity.parent])
    tests = {key: values[key] for key in ("owner_id", entity.parent) if key in values}

    def keep(record: Record) -> bool:
        return all(record[key] == value for key, value in tests.items())

    if ids is None:
        return listed(account, entity.name, user_id, walk, keep if tests else None)
    records = (account.records[entity.name].get(row_id) for row_id in set(ids))
    rows = [
        row
        for row in records
        if row is not None
        and is_listed(account, entity.name, row, user_id)
        and keep(row)
        and walk.holds(str(sort_value(row, "update_time")))
        and walk.reached((sort_value(row, walk.field), row["id"]))
    ]
    key = lambda row: (sort_value(row, walk.field), row["id"])  # noqa: E731
    return sorted(rows, key=key, reverse=walk.descending)
