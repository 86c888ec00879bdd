"""The HTML page of a sandbox: an overview of the account."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from pipedrive_pipeline.sandbox.kit.pages import templates
from pipedrive_pipeline.sandbox.pipedrive.faults import AFTERWARDS, INSTEAD
from pipedrive_pipeline.sandbox.pipedrive.running import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

ROWS, REQUESTS, EDITS = 8, 12, 6  # of each table on the page
_TEMPLATES = Path(__file__).parent / "templates"


def account_page(sandbox: Sandbox, query: dict[str, str]) -> str:
    """The page at ``/``: counts, budget, the last requests; with control, buttons."""
    entity = query.get("entity", "organizations")
    if entity not in ENTITIES:
        entity = "organizations"
    start = query.get("from", "1")
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 12 else 1
    with sandbox.account.lock:
        return (
            templates(_TEMPLATES)
            .get_template("account.html")
            .render(
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
        )


def _rows(account: CrmAccount, entity: str, first: int) -> list[dict[str, Any]]:
    walk = Walk(start=(first, first))
    return list(islice(listed(account, entity, account.admin_id, walk), ROWS))


def _count(account: CrmAccount, entity: str) -> int:
    """The number of live records that the admin sees, without a walk."""
    hidden = account.rights[account.admin_id].hidden
    return account.records[entity].live_count - sum(name == entity for name, _ in hidden)
