"""Combinations of values that the service refuses although each of them is valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import NOTE_TARGETS

Record = dict[str, Any]
CLOSED_TIMES = {"won_time": ("won",), "lost_time": ("lost",), "close_time": ("won", "lost")}


def _deal_refusal(before: Record, values: Record) -> str | None:
    """Why a deal cannot be written like this: archived, or times that its status does not have."""
    is_archived = values.get("is_archived", before.get("is_archived", False))
    if before.get("is_archived") and is_archived and values.keys() - {"archive_time"}:
        return "Archived deals cannot be edited"
    status = values.get("status", before.get("status", "open"))
    if "won_time" in values and "lost_time" in values:
        return "won_time: cannot be set together with lost_time"
    for key, statuses in CLOSED_TIMES.items():
        if key in values and status not in statuses:
            return f"{key}: can only be set when the deal is {' or '.join(statuses)}"
    if "lost_reason" in values and status != "lost":
        return "lost_reason: can only be set when the deal is lost"
    return None


def _lead_refusal(before: Record, values: Record) -> str | None:
    if before.get("is_archived") and values.get("is_archived", True):
        return "Archived leads cannot be edited"
    merged = before | values
    if merged.get("person_id") is None and merged.get("organization_id") is None:
        return "A person or organization must be linked to the lead"
    return None


def _note_refusal(before: Record, values: Record) -> str | None:
    merged = before | values
    if all(merged.get(key) is None for key in NOTE_TARGETS):
        return f"At least one of {', '.join(NOTE_TARGETS)} must be given"
    return None


# Of a kind: the record before and the new values give the reason, or None.
REFUSALS: dict[str, Callable[[Record, Record], str | None]] = {
    "deals": _deal_refusal,
    "leads": _lead_refusal,
    "notes": _note_refusal,
}
