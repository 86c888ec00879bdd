"""A lead becomes a deal, or a deal a lead: the source is deleted, what belonged to it moves."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount, RecordId
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.rules import live

Record = dict[str, Any]
MOVING = ("notes", "activities")
CONVERSION_IDS = 0x0C0DE0000000_0000_8000_000000000000  # the first of them


def convert_lead(
    account: CrmAccount,
    lead_id: RecordId,
    *,
    stage_id: int | None = None,
    pipeline_id: int | None = None,
    by: str = "test",
) -> Record:
    """Make a deal of a lead; returns the deal.

    Args:
        account: the company.
        lead_id: the lead, which is deleted.
        stage_id: of the new deal.
        pipeline_id: of the new deal; with neither it begins in the first pipeline.
        by: who did it, for the history.
    """
    with account.lock:
        lead = account.get("leads", lead_id)
        place = {"stage_id": stage_id} if stage_id else {"pipeline_id": pipeline_id}
        amount = lead["value"] or {"amount": 0, "currency": "EUR"}
        deal = account.create(
            "deals",
            by=by,
            title=lead["title"],
            owner_id=lead["owner_id"],
            person_id=lead["person_id"],
            org_id=lead["organization_id"],
            value=amount["amount"],
            currency=amount["currency"],
            expected_close_date=lead["expected_close_date"],
            source_lead_id=printed_id(ENTITIES["leads"], lead["id"]),
            custom_fields=lead["custom_fields"],
            **place,
        )
        _move(account, "lead_id", printed_id(ENTITIES["leads"], lead["id"]), "deal_id", deal["id"])
        account.delete("leads", lead["id"], by=by)
        return deal


def convert_deal(account: CrmAccount, deal_id: RecordId, *, by: str = "test") -> Record:
    """Make a lead of a deal, which is deleted; returns the lead."""
    with account.lock:
        deal = account.get("deals", deal_id)
        lead = account.create(
            "leads",
            by=by,
            title=deal["title"],
            owner_id=deal["owner_id"],
            person_id=deal["person_id"],
            organization_id=deal["org_id"],
            value={"amount": deal["value"], "currency": deal["currency"]},
            expected_close_date=deal["expected_close_date"],
            source_name="Deal",
            source_deal_id=deal["id"],
            custom_fields=deal["custom_fields"],
        )
        lead_id = printed_id(ENTITIES["leads"], lead["id"])
        _move(account, "deal_id", deal["id"], "lead_id", lead_id)
        account.delete("deals", deal["id"], by=by)
        return lead


def _move(account: CrmAccount, old_key: str, old: RecordId, new_key: str, new: RecordId) -> None:
    now = account.clock.edit_stamp()
    for entity in MOVING:
        for row in live(account, entity, old_key, old):
            account.restamp(entity, row["id"], now, "conversion", **{old_key: None, new_key: new})


def conversion_id(number: int) -> str:
    """The id of the n-th conversion of an account."""
    return str(UUID(int=CONVERSION_IDS + number))
