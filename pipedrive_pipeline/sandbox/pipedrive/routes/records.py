"""v2 lists and single records of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, page, success
from pipedrive_pipeline.sandbox.pipedrive.routes import cursors
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.world.contact_kinds import PERSONS
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import DEALS
from pipedrive_pipeline.sandbox.pipedrive.world.ids import number_of
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.order import Key
from pipedrive_pipeline.sandbox.pipedrive.world.reading import (
    is_listed,
    listed,
    participants_of,
)
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk, sort_value
from pipedrive_pipeline.sandbox.pipedrive.world.v2_rows import Shape

Record = dict[str, Any]
Test = Callable[[Record], bool]
DEFAULT_LIMIT = 100  # rows a page
FILTER_FORMS: dict[str, p.Kind] = {"done": p.flag, "lead_id": p.text}  # the others are ids
_LABELS = ("include_option_labels", "include_labels")


def endpoints() -> list[ApiEndpoint]:
    """List and get of each kind; a kind that belongs to another one is listed under that one."""
    routes = []
    for kind in ENTITIES.values():
        prices = kind.prices
        if kind.is_v1:
            continue
        answer = _list if kind.belongs_to is None else _list_of_parent
        if prices.list is not None and kind is not DEALS:  # these have two lists of their own
            routes.append(
                ApiEndpoint("GET", kind.path, prices.list, kind.read, partial(answer, kind))
            )
        if prices.get is not None:
            path = f"{kind.path}/{{id}}"
            routes.append(ApiEndpoint("GET", path, prices.get, kind.read, partial(_get, kind)))
    return routes


def known(
    call: AdmittedCall, kind: RecordKind, *, name: str = "id", sees_deleted: bool = False
) -> Record:
    """The record of the path.

    Raises:
        Refusal: 404, it never existed, is purged or deleted; 403, it is invisible to the caller.
    """
    account = call.account
    try:
        row_id = call.id(name) if kind.id_form == "number" else number_of(kind, call.path[name])
    except LookupError:
        raise missing(kind) from None
    record = account.records[kind.name].get(row_id)
    is_missing = record is None or account.is_purged(kind.name, row_id)
    if is_missing or record is None or (record["is_deleted"] and not sees_deleted):
        raise missing(kind)
    user_id = call.caller.user_id
    if not account.rights[user_id].admit(user_id, kind.name, record):
        if call.options.forbids_invisible_by_id:
            raise by_service(403, "You do not have permissions to do this.")
        raise missing(kind)
    return record


def missing(kind: RecordKind) -> Exception:
    """404: there is no such record."""
    if kind.name == "leads":
        more = {"error_info": "Object was not found."}
        return by_service(404, "requested lead not found", **more)
    return by_service(404, f"{kind.singular.capitalize()} not found")


def _kinds(call: AdmittedCall, kind: RecordKind) -> dict[str, p.Kind]:
    return {
        **({"filter_id": p.whole, "ids": p.ids} if kind.has_ids else {}),
        **{name: FILTER_FORMS.get(name, p.whole) for name in kind.filters},
        **dict.fromkeys(kind.windows, p.time),
        **sort_kinds(kind),
        **_shape_kinds(kind),
        **paging_kinds(call),
    }


def sort_kinds(kind: RecordKind) -> dict[str, p.Kind]:
    """The parameters that order a list."""
    return {
        "sort_by": p.one_of(*kind.sort_fields),
        "sort_direction": p.one_of("asc", "desc"),
    }


def paging_kinds(call: AdmittedCall) -> dict[str, p.Kind]:
    """The parameters that cut a list into pages."""
    clamps, rows = call.options.clamps_limit, call.options.page_rows
    return {"limit": p.limit(p.LIST_LIMIT, clamps=clamps, rows=rows), "cursor": p.text}


def _shape_kinds(kind: RecordKind) -> dict[str, p.Kind]:
    return {
        **({"include_fields": p.some_of(*kind.optional)} if kind.optional else {}),
        **({"custom_fields": p.keys} if kind.fields_of else {}),
        **(dict.fromkeys(_LABELS, p.flag) if kind.has_labels else {}),
    }


def _shape(values: Record) -> Shape:
    return Shape(
        include_fields=values.get("include_fields", ()),
        custom_fields=values.get("custom_fields"),
        has_option_labels=values.get("include_option_labels", False),
        has_labels=values.get("include_labels", False),
    )


def _get(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(_shape_kinds(kind))
    record = known(call, kind, sees_deleted=call.options.shows_deleted_by_id)
    return success(call.account.views[kind.name].row(record, _shape(values)))


def _list(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    if kind is not PERSONS:
        return listing(kind, call)

    def only(values: Record) -> set[int] | None:
        return participants_of(call.account, values["deal_id"]) if "deal_id" in values else None

    return listing(kind, call, more={"deal_id": p.whole}, only=only)


def listing(
    kind: RecordKind,
    call: AdmittedCall,
    *,
    more: dict[str, p.Kind] | None = None,
    without: Iterable[str] = (),
    test: Callable[[Record], Test] | None = None,
    only: Callable[[Record], Iterable[int] | None] | None = None,
) -> SandboxAnswer:
    """One page of a list.

    Args:
        kind: what is listed.
        call: the request.
        more: further parameters.
        without: parameters of the kind that this list does not know.
        test: makes of the parameters a test that a record must pass.
        only: makes of the parameters the ids that are looked at; None: all.
    """
    kinds = _kinds(call, kind) | (more or {})
    values = call.parameters({key: form for key, form in kinds.items() if key not in without})
    keep = None if test is None else test(values)
    ids = None if only is None else only(values)
    walk = walk_of(call, values)
    return paged(
        kind, call, values, walk, _rows(kind, call, values, walk=walk, keep=keep, only=ids)
    )


def paged(
    kind: RecordKind, call: AdmittedCall, values: Record, walk: Walk, rows: Iterable[Record]
) -> SandboxAnswer:
    """A page of the rows from the walk's start on."""
    limit = values.get("limit", DEFAULT_LIMIT)
    records = list(islice(rows, limit + 1))
    next_cursor = None
    if len(records) > limit:
        first_of_next: Record = records.pop()
        key = (sort_value(first_of_next, walk.field), first_of_next["id"])
        next_cursor = _cursor(call, walk, key)
    view, shape = call.account.views[kind.name], _shape(values)
    if shape == Shape():
        return page(map(view.row, records), next_cursor)
    return page((view.row(record, shape) for record in records), next_cursor)


def walk_of(call: AdmittedCall, values: Record) -> Walk:
    """The order, start and window that a request asks for."""
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


def _rows(
    kind: RecordKind,
    call: AdmittedCall,
    values: Record,
    *,
    walk: Walk,
    keep: Test | None,
    only: Iterable[int] | None,
) -> Iterable[Record]:
    """The stored records that match the request. A saved filter overrides the id filters."""
    account, user_id = call.account, call.caller.user_id
    if "filter_id" in values:
        return listed(account, kind.name, user_id, walk, keep)
    ids = values.get("ids", only)
    if "ids" in values and only is not None:
        ids = set(values["ids"]) & set(only)
    for key in kind.indexed_filters:
        if ids is None and key in values:
            ids = account.records[kind.name].children_of(key, values[key])
    tests = {key: values[name] for name, key in kind.filters.items() if name in values}
    matches = _matching(tests, keep)
    if ids is None:
        return listed(account, kind.name, user_id, walk, matches)
    return chosen(kind, call, walk, ids, matches)


def _matching(tests: Record, keep: Test | None) -> Test | None:
    if not tests:
        return keep

    def matches(record: Record) -> bool:
        return all(record[key] == value for key, value in tests.items()) and (
            keep is None or keep(record)
        )

    return matches


def chosen(
    kind: RecordKind,
    call: AdmittedCall,
    walk: Walk,
    ids: Iterable[int],
    matches: Test | None = None,
) -> list[Record]:
    """The listed records among some ids, in the order of the walk, from its start on."""
    account, user_id = call.account, call.caller.user_id
    records = (account.records[kind.name].get(row_id) for row_id in set(ids))
    rows = [
        row
        for row in records
        if row is not None
        and is_listed(account, kind.name, row, user_id)
        and (matches is None or matches(row))
        and walk.holds(str(sort_value(row, "update_time")))
        and walk.reached((sort_value(row, walk.field), row["id"]))
    ]
    key = lambda row: (sort_value(row, walk.field), row["id"])  # noqa: E731
    return sorted(rows, key=key, reverse=walk.descending)


def parent_of(kind: RecordKind) -> tuple[RecordKind, str]:
    """The kind that another one belongs to, and the key that says to which record."""
    if kind.belongs_to is None:
        raise ValueError(f"{kind.name} belong to nothing")
    name, key = kind.belongs_to
    return ENTITIES[name], key


def _list_of_parent(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters({**sort_kinds(kind), **paging_kinds(call)})
    parent_kind, key = parent_of(kind)
    parent = known(call, parent_kind)
    walk = walk_of(call, values)
    ids = call.account.records[kind.name].children_of(key, parent["id"])
    return paged(kind, call, values, walk, chosen(kind, call, walk, ids))


def all_children(call: AdmittedCall, kind: RecordKind, parents: Iterable[int]) -> Iterator[int]:
    """The ids of what belongs to some records."""
    _, key = parent_of(kind)
    for parent_id in parents:
        yield from call.account.records[kind.name].children_of(key, parent_id)
