"""The lists of deals: archived ones have their own, deleted ones come on request."""

from __future__ import annotations

from functools import partial

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid
from pipedrive_pipeline.sandbox.pipedrive.routes import parameters as p
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import (
    Record,
    Test,
    all_children,
    chosen,
    listing,
    paged,
    paging_kinds,
    sort_kinds,
    walk_of,
)
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import (
    DEAL_PRODUCTS,
    DEAL_STATUSES,
    DEALS,
)

ARCHIVED_PRICE = 20  # tokens


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
