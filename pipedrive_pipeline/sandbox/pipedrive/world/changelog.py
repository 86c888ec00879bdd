"""The changelog of a deal: what was seeded, and every edit since, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.deal_seeds import ODD_DEALS, SeededDeals
from pipedrive_pipeline.sandbox.pipedrive.world.v1_rows import v1_time

Record = dict[str, Any]
UNLOGGED = frozenset(
    ("id", "update_time", "add_time", "is_deleted", "planted", "custom_fields", "stage_change_time",
     "local_won_date", "local_lost_date", "local_close_date", "first_won_time")
)  # fmt: skip


def changelog(account: CrmAccount, deal_id: int) -> list[Record]:
    """The changes of a deal, newest first.

    The edits of a former run are forgotten where a state file brought back only the records.
    """
    rows = [*_seeded(account, deal_id), *_since(account, deal_id)]
    return list(reversed(rows))


def _seeded(account: CrmAccount, deal_id: int) -> Iterator[Record]:
    seeded = account.records["deals"].seeded
    if isinstance(seeded, SeededDeals) and 0 < deal_id <= seeded.order.size + ODD_DEALS:
        owner_id = seeded.row(deal_id)["creator_user_id"]
        for move in sorted(seeded.moves(deal_id), key=lambda move: move.at):
            yield _row(move.key, move.old, move.new, owner_id, move.at)


def _since(account: CrmAccount, deal_id: int) -> Iterator[Record]:
    for edit in account.history.of("deals", deal_id):
        if edit.before is None or edit.after is None or edit.action == "plant":
            continue
        before, after = _shown(edit.before), _shown(edit.after)
        for key in before.keys() - UNLOGGED:
            if before[key] != after.get(key):
                yield _row(key, before[key], after.get(key), account.admin_id, edit.at)


def _shown(deal: Record) -> Record:
    return deal | {"status": "deleted"} if deal["is_deleted"] else deal


def _row(key: str, old: Any, new: Any, user_id: int, at: str) -> Record:
    return {
        "field_key": key,
        "old_value": None if old is None else str(old),
        "new_value": None if new is None else str(new),
        "actor_user_id": user_id,
        "time": v1_time(at),
        "change_source": "app",
        "change_source_user_agent": None,
        "is_bulk_update_flag": False,
    }
