"""What an edit of a record brings with it: other keys of the same record, other records.

Belongs here: what is true however the edit came in, through the API or by a test. Does not belong
here: what the API refuses (``routes.bodies``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipedrive_pipeline.sandbox.pipedrive.world.deal_seeds import local_date
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.more_seeds import price_of

if TYPE_CHECKING:
    from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount

Record = dict[str, Any]
# account, the record before (None: it is new), after (may be changed), the named keys, the time
Settle = Callable[["CrmAccount", Record | None, Record, Collection[str], str], None]
# account, the record before and after, the time, who did it
Follow = Callable[["CrmAccount", Record | None, Record, str, str], None]
CLOSING = {"won": "won_time", "lost": "lost_time"}  # status -> when it was reached


def _settle_nothing(*_: Any) -> None:
    """The record stays as it was written."""


@dataclass(frozen=True)
class Rule:
    """The consequences of edits of one kind of record."""

    settle: Settle = _settle_nothing  # before it is stored
    follow: Follow = _settle_nothing  # afterwards, on other records


def live(account: CrmAccount, entity: str, key: str, parent_id: int | str) -> Iterable[Record]:
    """The records of a kind that name a parent and are not deleted."""
    records = account.records[entity]
    rows = (account.get(entity, row_id) for row_id in records.children_of(key, parent_id))
    return [row for row in rows if not row["is_deleted"]]


def _everything(account: CrmAccount, entity: str) -> list[Record]:
    records = account.records[entity]
    rows = (account.get(entity, row_id) for row_id in range(1, records.last_id + 1))
    return [row for row in rows if not row["is_deleted"]]


def _settle_deal(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    _settle_place(account, before, after, named)
    former = before or {"stage_id": after["stage_id"], "status": "open", "is_archived": False}
    if after["stage_id"] != former["stage_id"] and "stage_change_time" not in named:
        after["stage_change_time"] = now
    if after["status"] != former["status"]:
        _settle_status(after, named, now)
    if after["won_time"] is not None and after["first_won_time"] is None:
        after["first_won_time"] = after["won_time"]
    for local, key in (("won", "won_time"), ("lost", "lost_time"), ("close", "close_time")):
        if before is None or after[key] != before[key]:
            after[f"local_{local}_date"] = _date(after[key])
    if after["is_archived"] != former["is_archived"] and "archive_time" not in named:
        after["archive_time"] = now if after["is_archived"] else None
    lines = [] if before is None else live(account, "deal_products", "deal_id", after["id"])
    if lines:
        after["value"] = value_of(lines)


def _follow_deal(
    account: CrmAccount, before: Record | None, after: Record, now: str, by: str
) -> None:
    """A deal's person takes part in it; a former one goes on to."""
    del now
    person_id = after["person_id"]
    if person_id is None or (before is not None and before["person_id"] == person_id):
        return
    people = live(account, "deal_participants", "deal_id", after["id"])
    if all(row["person_id"] != person_id for row in people):
        account.create("deal_participants", by=by, deal_id=after["id"], person_id=person_id)


def _settle_place(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str]
) -> None:
    """A stage decides on the pipeline; a pipeline alone, or nothing, leads to a first stage."""
    stages = account.records["stages"]
    if "stage_id" in named:
        stage = stages.get(after["stage_id"]) if isinstance(after["stage_id"], int) else None
        after["pipeline_id"] = stage["pipeline_id"] if stage else after["pipeline_id"]
    elif before is None or after["pipeline_id"] != before["pipeline_id"]:
        stage = _first_stage(account, after["pipeline_id"])
        if stage is None and before is not None:  # a pipeline without stages holds no deals
            after["pipeline_id"] = before["pipeline_id"]
            return
        stage = stage or _first_stage(account, None)
        if stage is not None:
            after["pipeline_id"], after["stage_id"] = stage["pipeline_id"], stage["id"]


def _first_stage(account: CrmAccount, pipeline_id: int | None) -> Record | None:
    """The first stage of a pipeline, or without one of the first pipeline that has stages."""
    stages = _everything(account, "stages")
    if pipeline_id is not None:
        stages = [stage for stage in stages if stage["pipeline_id"] == pipeline_id]
    orders = {row["id"]: row["order_nr"] for row in _everything(account, "pipelines")}
    known = [stage for stage in stages if stage["pipeline_id"] in orders]
    return min(known, key=lambda row: (orders[row["pipeline_id"]], row["order_nr"]), default=None)


def _settle_status(after: Record, named: Collection[str], now: str) -> None:
    """Closing sets its time, reopening clears all but the time of the first win."""
    reached = CLOSING.get(after["status"])
    for key in CLOSING.values():
        if key != reached:
            after[key] = None
        elif key not in named:
            after[key] = now
    if "close_time" not in named:
        after["close_time"] = after[reached] if reached else None
    if after["status"] != "lost":
        after["lost_reason"] = None


def _date(at: Any) -> str | None:
    try:
        return local_date(at)
    except (TypeError, ValueError):  # a test wrote something that is no time
        return None


def value_of(lines: Iterable[Record]) -> float:
    """The value of a deal that has lines: disabled ones do not count."""
    return float(round(sum(line["sum"] for line in lines if line["is_enabled"]), 2))


def _settle_line(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    del now
    product = account.records["products"].get(after["product_id"] or 0)
    if before is None:
        deal = account.get("deals", after["deal_id"])
        siblings = list(live(account, "deal_products", "deal_id", deal["id"]))
        after["currency"] = deal["currency"]
        after["order_nr"] = 1 + max((row["order_nr"] or 0 for row in siblings), default=0)
        if siblings and "tax_method" not in named:
            after["tax_method"] = siblings[0]["tax_method"]
    if product is not None and "name" not in named and "product_id" in named:
        after["name"] = product["name"]
    after["sum"] = sum_of(after)


def sum_of(line: Record) -> float:
    """The total of a line after its discount, and with its tax if the price is without it."""
    total: float = line["item_price"] * line["quantity"]
    if line["discount_type"] == "percentage":
        total -= total * line["discount"] / 100
    else:
        total -= line["discount"]
    if line["tax_method"] == "exclusive":
        total += total * line["tax"] / 100
    return round(total, 2)


def _follow_line(
    account: CrmAccount, before: Record | None, after: Record, now: str, by: str
) -> None:
    """The deal's value is the sum of its lines; one method of tax counts for all of them."""
    lines = list(live(account, "deal_products", "deal_id", after["deal_id"]))
    if before is not None and before["tax_method"] != after["tax_method"]:
        for line in lines:
            if line["tax_method"] != after["tax_method"]:
                total = sum_of(line | {"tax_method": after["tax_method"]})
                changes = {"tax_method": after["tax_method"], "sum": total}
                account.restamp("deal_products", line["id"], now, by, **changes)
        lines = list(live(account, "deal_products", "deal_id", after["deal_id"]))
    deal = account.get("deals", after["deal_id"])
    if lines and deal["value"] != value_of(lines):
        account.restamp("deals", deal["id"], now, by, value=value_of(lines))


def _settle_stage(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    del now
    if before is None and "order_nr" not in named:
        siblings = live(account, "stages", "pipeline_id", after["pipeline_id"])
        after["order_nr"] = 1 + max((row["order_nr"] for row in siblings), default=-1)


def _follow_stage(
    account: CrmAccount, before: Record | None, after: Record, now: str, by: str
) -> None:
    """An inserted or moved stage shifts its siblings, and stamps all of them."""
    if before is not None and before["order_nr"] == after["order_nr"]:
        return
    siblings = [
        row
        for row in live(account, "stages", "pipeline_id", after["pipeline_id"])
        if row["id"] != after["id"]
    ]
    siblings.sort(key=lambda row: row["order_nr"])
    numbers = [row["order_nr"] for row in siblings]
    first = min([after["order_nr"], *numbers])
    free = (number for number in range(first, first + len(siblings) + 1))
    places = [number for number in free if number != after["order_nr"]]
    for row, place in zip(siblings, places, strict=False):
        account.restamp("stages", row["id"], now, by, order_nr=place)


def _settle_pipeline(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    del now
    if before is None and "order_nr" not in named:
        numbers = (row["order_nr"] for row in _everything(account, "pipelines"))
        after["order_nr"] = 1 + max(numbers, default=-1)


def _settle_activity(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    types = {row["key_string"]: row for row in _everything(account, "activity_types")}
    if after["type"] is None:
        after["type"] = next((key for key, row in types.items() if row["active_flag"]), None)
    if before is None and after["subject"] is None:
        after["subject"] = types[after["type"]]["name"] if after["type"] in types else ""
    if "participants" in named:
        people = after["participants"]
        primary = next((row for row in people if row.get("primary")), people[0] if people else None)
        after["person_id"] = primary and primary["person_id"]
    elif "person_id" in named:
        person_id = after["person_id"]
        after["participants"] = [{"person_id": person_id, "primary": True}] if person_id else []
    if after["done"] != (before or {"done": False})["done"]:
        after["marked_as_done_time"] = now if after["done"] else None


def _settle_note(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    """A note on a deal takes over the deal's person and organization."""
    del now
    if before is not None:
        after["last_update_user_id"] = account.admin_id
    if "deal_id" in named and after["deal_id"] is not None:
        deal = account.records["deals"].get(after["deal_id"])
        for key in ("person_id", "org_id"):
            if key not in named and deal is not None:
                after[key] = deal[key]


def _settle_lead(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    del account
    was_archived = before is not None and before["is_archived"]
    if after["is_archived"] != was_archived and "archive_time" not in named:
        after["archive_time"] = now if after["is_archived"] else None


def _settle_prices(key: str) -> Settle:
    def settle(
        account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
    ) -> None:
        del now
        if "prices" in named and isinstance(after["prices"], list):
            after["prices"] = [
                price_of(row["currency"], row.get("price", 0), after["id"], key)
                | {name: row[name] for name in ("cost", "direct_cost", "notes") if name in row}
                for row in after["prices"]
            ]
        elif before is None:
            currency = account.users[0]["default_currency"]
            after["prices"] = [price_of(currency, 0, after["id"], key)]

    return settle


def _settle_activity_type(
    account: CrmAccount, before: Record | None, after: Record, named: Collection[str], now: str
) -> None:
    del now
    if before is None and "key_string" not in named:
        after["key_string"] = re.sub(r"\W+", "_", str(after["name"]).lower()).strip("_")
    if before is None and "order_nr" not in named:
        after["order_nr"] = 1 + account.records["activity_types"].last_id


RULES = {name: Rule() for name in ENTITIES} | {
    "deals": Rule(_settle_deal, _follow_deal),
    "deal_products": Rule(_settle_line, _follow_line),
    "stages": Rule(_settle_stage, _follow_stage),
    "pipelines": Rule(_settle_pipeline),
    "activities": Rule(_settle_activity),
    "activity_types": Rule(_settle_activity_type),
    "notes": Rule(_settle_note),
    "leads": Rule(_settle_lead),
    "products": Rule(_settle_prices("product_id")),
    "product_variations": Rule(_settle_prices("product_variation_id")),
}
