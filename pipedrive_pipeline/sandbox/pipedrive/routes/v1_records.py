"""Lists, single records and writes of the kinds that only v1 serves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import offset_page, success
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import (
    DEFAULT_LIMIT,
    Record,
    chosen,
    known,
    parent_of,
)
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LEADS
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk
from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import PINNED_FLAGS

ARCHIVED_LEADS_PRICE = 40  # tokens
REMEMBERED_WALKS = 8  # orders of rows that are kept for the next page
FORMS: dict[str, p.Kind] = dict.fromkeys(PINNED_FLAGS, p.bit) | {"lead_id": p.text}


def endpoints() -> list[ApiEndpoint]:
    """Lists and single records of each kind; leads have a second list, of archived ones."""
    routes = []
    for kind in ENTITIES.values():
        if not kind.is_v1:
            continue
        if kind is LEADS:
            routes.append(
                ApiEndpoint(
                    "GET",
                    f"{kind.path}/archived",
                    ARCHIVED_LEADS_PRICE,
                    kind.read,
                    partial(_list, kind, is_archived=True),
                )
            )
        listing = _list_of_parent if kind.belongs_to else _list
        calls: tuple[tuple[str, int | None, Callable[..., SandboxAnswer]], ...] = (
            (kind.path, kind.prices.list, listing),
            (f"{kind.path}/{{id}}", kind.prices.get, _get),
        )
        routes += [
            ApiEndpoint("GET", path, price, kind.read, partial(answer, kind))
            for path, price, answer in calls
            if price is not None
        ]
    return routes


def _get(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    shows_deletion = kind is not LEADS  # no key of a lead shows a deletion
    sees_deleted = shows_deletion and call.options.shows_deleted_by_id
    record = known(call, kind, sees_deleted=sees_deleted)
    return success(call.account.views[kind.name].row(record))


def paging_kinds(call: AdmittedCall) -> dict[str, p.Kind]:
    """The parameters that cut a v1 list into pages; a limit that is too large is lowered."""
    rows = call.options.page_rows
    return {"start": p.count, "limit": p.limit(p.LIST_LIMIT, clamps=True, rows=rows)}


def _list(kind: RecordKind, call: AdmittedCall, *, is_archived: bool = False) -> SandboxAnswer:
    if not kind.is_paged:
        call.parameters({})
        rows = listed(call.account, kind.name, call.caller.user_id, Walk())
        return success([call.account.views[kind.name].row(record) for record in rows])
    windows = () if is_archived else kind.windows
    values = call.parameters(
        {
            "filter_id": p.whole,
            **{name: FORMS.get(name, p.whole) for name in kind.filters},
            **dict.fromkeys(windows, p.lenient_time),
            "sort": p.order_of(*kind.sort_fields),
            **paging_kinds(call),
        }
    )
    tests = {} if "filter_id" in values else _tests(kind, values)
    if kind is LEADS:
        tests["is_archived"] = is_archived
    field, descending = values.get("sort", (("id", False),))[0]
    walk = Walk(field, descending, None, values.get("updated_since"))
    numbers = _numbers(kind, call, walk, tests)
    return _page(kind, call, values, [call.account.get(kind.name, n) for n in numbers(values)])


def _tests(kind: RecordKind, values: Record) -> Record:
    return {key: values[name] for name, key in kind.filters.items() if name in values}


def _numbers(
    kind: RecordKind, call: AdmittedCall, walk: Walk, tests: Record
) -> Callable[[Record], list[int]]:
    """A function that cuts the rows of a page, and one more, out of the whole list.

    Offset paging reads the list from its begin for each page. The order is therefore kept until
    the next edit, or 100,000 notes would take minutes to walk.
    """
    account, user_id = call.account, call.caller.user_id

    def matches(record: Record) -> bool:
        return all(record[key] == value for key, value in tests.items())

    def cut(values: Record) -> list[int]:
        key = (kind.name, user_id, walk, tuple(sorted(tests.items())), len(account.history))
        numbers = account.walks.get(key)
        if numbers is None or account.late:
            rows = listed(account, kind.name, user_id, walk, matches if tests else None)
            numbers = account.walks[key] = [row["id"] for row in rows]
            while len(account.walks) > REMEMBERED_WALKS:
                account.walks.pop(next(iter(account.walks)))
        start = values.get("start", 0)
        return numbers[start : start + values.get("limit", DEFAULT_LIMIT) + 1]

    return cut


def _page(
    kind: RecordKind, call: AdmittedCall, values: Record, records: list[Record]
) -> SandboxAnswer:
    """A page of the records, of which there is one more if another page follows."""
    start, limit = values.get("start", 0), values.get("limit", DEFAULT_LIMIT)
    rows = [call.account.views[kind.name].row(record) for record in records[:limit]]
    return offset_page(rows, start, limit, start + len(records))


def _list_of_parent(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(paging_kinds(call))
    parent_kind, key = parent_of(kind)
    parent = known(call, parent_kind)
    ids = call.account.records[kind.name].children_of(key, parent["id"])
    start, limit = values.get("start", 0), values.get("limit", DEFAULT_LIMIT)
    records = chosen(kind, call, Walk(), ids)[start : start + limit + 1]
    return _page(kind, call, values, records)
