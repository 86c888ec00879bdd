"""The lists of deals: archived ones have their own, deleted ones come on request."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer, encode
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid, success
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import (
    Record,
    Test,
    all_children,
    chosen,
    known,
    listing,
    paged,
    paging_kinds,
    sort_kinds,
    walk_of,
)
from pipedrive_pipeline.sandbox.pipedrive.routes.writes import new_values
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import (
    DEAL_PRODUCTS,
    DEAL_STATUSES,
    DEALS,
)
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

ARCHIVED_PRICE, BULK_PRICE, BULK_DELETE_PRICE = 20, 25, 15  # tokens
BULK_LINES = 100  # of one deal in one request


def endpoints() -> list[ApiEndpoint]:
    """Both lists of deals, and the lines of many deals at once."""
    price = DEALS.prices.list or 0
    return [
        ApiEndpoint("GET", DEALS.path, price, DEALS.read, partial(_list, is_archived=False)),
        ApiEndpoint(
            "GET",
            f"{DEALS.path}/archived",
            ARCHIVED_PRICE,
            DEALS.read,
            partial(_list, is_archived=True),
        ),
        ApiEndpoint("GET", f"{DEALS.path}/products", price, DEAL_PRODUCTS.read, _lines),
        ApiEndpoint(
            "POST",
            f"{DEAL_PRODUCTS.path}/bulk",
            BULK_PRICE,
            DEAL_PRODUCTS.write,
            _create_lines,
        ),
        ApiEndpoint(
            "DELETE",
            DEAL_PRODUCTS.path,
            BULK_DELETE_PRICE,
            DEAL_PRODUCTS.write,
            _delete_lines,
        ),
    ]


def _list(call: AdmittedCall, *, is_archived: bool) -> SandboxAnswer:
    def test(values: Record) -> Test:
        # With a saved filter the status is ignored.
        statuses = values.get("status", DEAL_STATUSES[:-1])
        if "filter_id" in values:
            statuses = DEAL_STATUSES[:-1]

        def keep(deal: Record) -> bool:
            status = "deleted" if deal["is_deleted"] else deal["status"]
            return deal["is_archived"] == is_archived and status in statuses

        return keep

    labels = ("include_option_labels", "include_labels") if is_archived else ()
    return listing(
        DEALS, call, more={"status": p.some_of(*DEAL_STATUSES)}, without=labels, test=test
    )


def _lines(call: AdmittedCall) -> SandboxAnswer:
    """The lines of up to 100 deals, archived ones included."""
    kinds = {"deal_ids": p.ids, **sort_kinds(DEAL_PRODUCTS), **paging_kinds(call)}
    kinds["sort_by"] = p.one_of(*DEAL_PRODUCTS.sort_fields, "deal_id")
    values = call.parameters(kinds)
    if "deal_ids" not in values:
        raise invalid("Parameter 'deal_ids' is required")
    walk = walk_of(call, values)
    ids = all_children(call, DEAL_PRODUCTS, values["deal_ids"])
    return paged(DEAL_PRODUCTS, call, values, walk, chosen(DEAL_PRODUCTS, call, walk, ids))


def _create_lines(call: AdmittedCall) -> SandboxAnswer:
    """Add up to 100 lines, all or none."""
    call.parameters({})
    deal, rows = known(call, DEALS), call.json_object().get("data")
    if not isinstance(rows, list) or not 0 < len(rows) <= BULK_LINES:
        raise invalid(f"data must be an array of 1 to {BULK_LINES} items")
    values = [new_values(DEAL_PRODUCTS, replace(call, raw_body=encode(row))) for row in rows]
    created = [
        call.account.create(DEAL_PRODUCTS.name, by="api", deal_id=deal["id"], **row)
        for row in values
    ]
    view = call.account.views[DEAL_PRODUCTS.name]
    return success([view.row(record) for record in created], DEAL_PRODUCTS.created_status)


def _delete_lines(call: AdmittedCall) -> SandboxAnswer:
    """Delete the named lines of a deal, or without names the first 100."""
    values = call.parameters({"ids": p.ids})
    deal = known(call, DEALS)
    lines = chosen(DEAL_PRODUCTS, call, Walk(), all_children(call, DEAL_PRODUCTS, [deal["id"]]))
    named = [line["id"] for line in lines if line["id"] in values.get("ids", {line["id"]})]
    for line_id in named[:BULK_LINES]:
        call.account.delete(DEAL_PRODUCTS.name, line_id, by="api")
    return success(
        {"ids": named[:BULK_LINES]},
        additional_data={"more_items_in_collection": len(named) > BULK_LINES},
    )
