"""The HTML pages: consent, and an overview of the account."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web.faults import AFTERWARDS, INSTEAD
from pipedrive_pipeline.sandbox.world.account import Account
from pipedrive_pipeline.sandbox.world.entities import ENTITIES
from pipedrive_pipeline.sandbox.world.reading import listed
from pipedrive_pipeline.sandbox.world.records import Walk

if TYPE_CHECKING:
    from pipedrive_pipeline.sandbox.running import Sandbox

ROWS, REQUESTS, EDITS = 8, 12, 6  # of each table on the page
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def consent_page(account: Account, options: Options, query: dict[str, str]) -> str:
    """The page on which a user allows or denies the app."""
    return _TEMPLATES.get_template("consent.html").render(
        account=account, options=options, query=query
    )


def account_page(sandbox: Sandbox, query: dict[str, str]) -> str:
    """The page at ``/``: counts, budget, the last requests; with control, buttons."""
    entity = query.get("entity", "organizations")
    if entity not in ENTITIES:
        entity = "organizations"
    start = query.get("from", "1")
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 12 else 1
    with sandbox.account.lock:
        return _TEMPLATES.get_template("account.html").render(
            sandbox=sandbox,
            entity=entity,
            first=max(1, first),
            rows=_rows(sandbox.account, entity, max(1, first)),
            counts={name: _count(sandbox.account, name) for name in ENTITIES},
            requests=sandbox.requests.last(REQUESTS),
            edits=list(reversed(sandbox.account.history.last(EDITS))),
            faults=[kind for kind in (*INSTEAD, *AFTERWARDS) if kind != "slow"],
            rows_a_page=ROWS,
        )


def _rows(account: Account, entity: str, first: int) -> list[dict[str, Any]]:
    walk = Walk(start=(first, first))
    return list(islice(listed(account, entity, account.admin_id, walk), ROWS))


def _count(account: Account, entity: str) -> int:
    """The number of live records that the admin sees, without a walk."""
    hidden = account.rights[account.admin_id].hidden
    return account.records[entity].live_count - sum(name == entity for name, _ in hidden)
