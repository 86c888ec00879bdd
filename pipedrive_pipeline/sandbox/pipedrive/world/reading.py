"""The records that a user can see: lists without a snapshot, and the expected rows for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk
from pipedrive_pipeline.sandbox.pipedrive.world.rules import live
from pipedrive_pipeline.sandbox.pipedrive.world.v2_rows import PLAIN, Shape

Record = dict[str, Any]
Test = Callable[[Record], bool]


def is_listed(account: CrmAccount, entity: str, record: Record, user_id: int) -> bool:
    """Whether lists show a record to a user now.

    Some lists show deleted records, too, marked as such, until they are purged. What belongs to
    another record is shown while that one is.
    """
    kind = ENTITIES[entity]
    if record["is_deleted"] and not (
        kind.lists_deleted and not account.is_purged(entity, record["id"])
    ):
        return False
    if not account.rights[user_id].admit(user_id, entity, record):
        return False
    if kind.belongs_to is not None:
        target, key = kind.belongs_to
        owner = account.records[target].get(record[key])
        if owner is None or owner["is_deleted"] or not is_listed(account, target, owner, user_id):
            return False
    late_until = account.late.get((entity, record["id"])) if account.late else None
    return late_until is None or account.clock.stamp() >= late_until


def listed(
    account: CrmAccount, entity: str, user_id: int, walk: Walk, keep: Test | None = None
) -> Iterator[Record]:
    """Yield the stored records that a list shows to a user, in order."""
    for record in account.records[entity].walk(walk):
        if is_listed(account, entity, record, user_id) and (keep is None or keep(record)):
            yield record


def truth(
    account: CrmAccount,
    entity: str,
    *,
    user_id: int | None = None,
    as_of: int | None = None,
    include_fields: Iterable[str] = (),
) -> Iterator[Record]:
    """Yield the rows that the complete lists of a kind hold, by id, as the API prints them.

    Deals and leads have two lists, with and without archived ones; these are the rows of both,
    deals that were deleted less than 30 days ago included.

    Args:
        account: the company.
        entity: the name of a kind.
        user_id: for which user; the admin by default.
        as_of: a number in the history; then rows are what they were right after that edit.
            Rights and field definitions are today's. Without it, edits that arrive while the
            rows are read may or may not be among them.
        include_fields: as in a request.
    """
    user_id = account.admin_id if user_id is None else user_id
    view, records = account.views[entity], account.records[entity]
    shape = Shape(include_fields=tuple(include_fields)) if include_fields else PLAIN
    for row_id in range(1, records.last_id + 1):
        record = records.get(row_id)
        if as_of is not None:
            record = account.history.state_at(entity, row_id, as_of, record)
        if record is not None and is_listed(account, entity, record, user_id):
            yield view.row(record, shape)


def participants_of(account: CrmAccount, deal_id: int) -> set[int]:
    """The ids of the persons of a deal: its own and the further ones."""
    deal = account.records["deals"].get(deal_id)
    if deal is None or deal["is_deleted"]:
        return set()
    return {row["person_id"] for row in live(account, "deal_participants", "deal_id", deal_id)}
