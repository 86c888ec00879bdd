"""The HTML page of a sandbox: an overview of the account."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from pipedrive_pipeline.sandbox.kit.faults import DELIVERIES
from pipedrive_pipeline.sandbox.kit.pages import templates
from pipedrive_pipeline.sandbox.pipedrive.board import DEALS_READ, board_of
from pipedrive_pipeline.sandbox.pipedrive.faults import AFTERWARDS, INSTEAD
from pipedrive_pipeline.sandbox.pipedrive.running import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

ROWS, REQUESTS, EDITS, DELIVERED = 8, 12, 6, 8  # of each table on the page
COUNTED = ("organizations", "persons", "deals", "activities", "notes", "leads")
COLUMNS: dict[str, tuple[str, ...]] = {  # besides the title; kinds without an entry have none
    "organizations": ("address",),
    "persons": ("emails", "org_id"),
    "stages": ("pipeline_id", "order_nr", "deal_probability"),
    "deals": ("status", "stage_id", "value", "currency", "org_id"),
    "products": ("code", "prices"),
    "product_variations": ("product_id", "prices"),
    "deal_products": ("deal_id", "quantity", "sum", "currency"),
    "deal_participants": ("deal_id",),
    "activities": ("type", "due_date", "done", "deal_id"),
    "activity_types": ("key_string", "active_flag"),
    "notes": ("deal_id", "person_id", "org_id"),
    "leads": ("value", "person_id", "organization_id", "is_archived"),
    "lead_labels": ("color",),
}
_TEMPLATES = Path(__file__).parent / "templates"


def account_page(sandbox: Sandbox, query: dict[str, str]) -> str:
    """The page at ``/``: counts, budget, the last requests; with control, buttons."""
    entity = query.get("entity", "organizations")
    if entity not in ENTITIES:
        entity = "organizations"
    first = _number(query.get("from", "1"))
    kind, environment = ENTITIES[entity], templates(_TEMPLATES)
    environment.filters["cell"] = _cell
    with sandbox.account.lock:
        return environment.get_template("account.html").render(
            sandbox=sandbox,
            entity=entity,
            board=board_of(sandbox.account, _number(query.get("pipeline", ""))),
            deals_read=DEALS_READ,
            title=kind.title_key,
            columns=COLUMNS.get(entity, ()),
            is_writable=kind.title_key in kind.writable,
            needs_more=kind.required != (kind.title_key,),
            can_merge=kind.prices.merge is not None,
            first=max(1, first),
            rows=_rows(sandbox.account, entity, max(1, first)),
            counts={name: _count(sandbox.account, name) for name in COUNTED},
            entities=tuple(ENTITIES),
            requests=sandbox.requests.last(REQUESTS),
            edits=list(reversed(sandbox.account.history.last(EDITS))),
            faults=[kind for kind in (*INSTEAD, *AFTERWARDS, *DELIVERIES) if kind != "slow"],
            webhooks=sandbox.webhooks.active(),
            deliveries=list(reversed(sandbox.webhooks.deliveries()[-DELIVERED:])),
            rows_a_page=ROWS,
        )


def _number(text: str) -> int:
    """The number in a query parameter; 1 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 1


def _cell(value: Any) -> str:
    """A value in one line: what a person would read of an address, addresses or prices."""
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    if isinstance(value, dict):
        for keys in (("value",), ("price", "currency"), ("amount", "currency")):
            if keys[0] in value:
                return " ".join(str(value[key]) for key in keys)
    return "none" if value is None else str(value)


def _rows(account: CrmAccount, entity: str, first: int) -> list[dict[str, Any]]:
    walk = Walk(start=(first, first))
    return list(islice(listed(account, entity, account.admin_id, walk), ROWS))


def _count(account: CrmAccount, entity: str) -> int:
    """The number of live records that the admin sees, without a walk."""
    hidden = account.rights[account.admin_id].hidden
    return account.records[entity].live_count - sum(name == entity for name, _ in hidden)
