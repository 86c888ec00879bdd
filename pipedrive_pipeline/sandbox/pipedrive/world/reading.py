"""The records that a user can see: lists without a snapshot, and the expected rows for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

Record = dict[str, Any]
Test = Callable[[Record], bool]


def is_listed(account: CrmAccount, entity: str, record: Record, user_id: int) -> bool:
    """Whether lists show a record to a user now."""
    if record["is_deleted"] or not account.rights[user_id].admit(user_id, entity, record):
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
    account: CrmAccount, entity: str, *, user_id: int | None = None, as_of: int | None = None
) -> Iterator[Record]:
    """Yield the rows that a complete list holds, by id, as v2 prints them.

    Args:
        account: the company.
        entity: organizations or persons.
        user_id: for which user; the admin by default.
        as_of: a number in the history; then rows are what they were right after that edit.
            Rights and field definitions are today's. Without it, edits that arrive while the
            rows are read may or may not be among them.
    """
    user_id = account.admin_id if user_id is None else user_id
    view, records = account.views[entity], account.records[entity]
    for row_id in range(1, records.last_id + 1):
        record = records.get(row_id)
        if as_of is not None:
            record = account.history.state_at(entity, row_id, as_of, record)
        if record is not None and is_listed(account, entity, record, user_id):
            yield view.row(record)
