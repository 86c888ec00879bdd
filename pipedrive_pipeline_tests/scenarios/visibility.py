"""Computes from the CRM alone which edits of a sequence an incremental run can detect.

The rest are records that no window shows as changed, and wrong answers that only a sweep can
notice. `oracle.py` makes the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pipedrive_pipeline.sandbox import CrmAccount
from pipedrive_pipeline.sandbox.kit.journal import LoggedRequest
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES

LYING_DATES = {"date_ahead", "date_far_ahead", "no_date"}
# Nothing in such a page says that a record of it is missing or wrong.
UNNOTICED = {"half_page", "out_of_place"}
# Lists of children do not prove that they were read to their end; a sweep reads them again.
LISTS_OF_CHILDREN = ("/deals/products",)
LISTED_BY_SWEEPS = {"leads": "is_archived"}  # records with this flag are on a list of their own
STAMP_BACK_MAX = timedelta(seconds=120)  # less than the overlap


def fired(requests: Iterable[LoggedRequest]) -> set[str]:
    """The faults that spoiled an answer."""
    return {kind for request in requests for kind in (request.fault or "").split(",") if kind}


def children_spoiled(requests: Iterable[LoggedRequest]) -> bool:
    """True if an answer with children was spoiled."""
    return any(request.fault and request.path.endswith(LISTS_OF_CHILDREN) for request in requests)


def changed_rights(account: CrmAccount) -> bool:
    """True if records came or went without an edit of them."""
    return any(entry.action == "rights" for entry in account.history)


def unseen(account: CrmAccount) -> frozenset[tuple[str, int | str]]:
    """Records whose last edit no window of an incremental run contains, by their keys in raw."""
    last = {(entry.entity, entry.key): entry for entry in account.history}
    return frozenset(
        (entry.entity, printed_id(ENTITIES[entry.entity], int(entry.key)))
        for entry in last.values()
        if entry.after is not None and "update_time" in entry.after
        if entry.action == "plant"
        or entry.after.get(LISTED_BY_SWEEPS.get(entry.entity, ""))
        or _edited_at(entry.after) + STAMP_BACK_MAX < datetime.fromisoformat(entry.at)
    )


def _edited_at(record: dict[str, Any]) -> datetime:
    """When a record was last edited; without an edit time that is when it was added."""
    return datetime.fromisoformat(record["update_time"] or record["add_time"])
