"""Seeded products, variations, activities, notes and leads, computed from the seed and the id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world import tables
from pipedrive_pipeline.sandbox.pipedrive.world.custom import CustomValues
from pipedrive_pipeline.sandbox.pipedrive.world.deal_seeds import CURRENCIES, SeededDeals
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LEAD_LABELS, LEADS, SOURCES
from pipedrive_pipeline.sandbox.pipedrive.world.order import EDITED_UNTIL, SeededOrder
from pipedrive_pipeline.sandbox.pipedrive.world.product_kinds import BILLING_FREQUENCIES
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import SeededRows, draw_of
from pipedrive_pipeline.sandbox.pipedrive.world.words import (
    LAST_NAMES,
    NOTES,
    PRODUCT_NAMES,
    PROJECTS,
    SUBJECTS,
)
from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import NOTE_TARGETS, PINNED_FLAGS

Record = dict[str, Any]
ACTIVITIES_A_DEAL = 3
VARIATIONS_A_PRODUCT = 2  # of every fourth product
_TYPES = tuple(key for _, key, _, _, _ in tables.ACTIVITY_TYPES)
_CLOCKS = ("08:00:00", "09:30:00", "13:15:00", "22:30:00", "23:45:00")  # UTC: late is tomorrow here
_DURATIONS = ("00:15:00", "00:30:00", "01:00:00", "02:00:00")


class SeededProducts(SeededRows):
    """Products ``1 .. size``; every third has a price in a second currency."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        owners: Sequence[int],
        categories: Sequence[int],
        custom: CustomValues,
    ) -> None:
        self.order = order
        self._seed, self._owners, self._categories = seed, owners, categories
        self._custom = custom

    def row(self, row_id: int) -> Record:
        """One product as it was seeded."""
        draw = draw_of(self._seed, b"product", row_id)
        is_recurring = (draw >> 8) % 5 == 0
        currencies = ("EUR", "CHF") if row_id % 3 == 0 else ("EUR",)
        return {
            "id": row_id,
            "name": f"{PRODUCT_NAMES[draw % len(PRODUCT_NAMES)]} {row_id:03d}",
            "code": f"A-{row_id:05d}" if row_id % 4 else None,
            "description": NOTES[(draw >> 12) % len(NOTES)] if row_id % 5 == 0 else None,
            "unit": "Stück" if row_id % 2 else None,
            "tax": (0, 7, 19)[(draw >> 16) % 3],
            "category": str(self._categories[(draw >> 20) % len(self._categories)])
            if row_id % 3
            else None,
            "is_linkable": row_id % 10 != 7,
            "is_deleted": False,
            "visible_to": 3,
            "owner_id": self._owners[(draw >> 24) % len(self._owners)],
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "billing_frequency": BILLING_FREQUENCIES[1 + (draw >> 28) % 4]
            if is_recurring
            else "one-time",
            "billing_frequency_cycles": 12 if is_recurring and row_id % 2 else None,
            "prices": [
                price_of(currency, round((draw >> 32) % 500_000 / 100 + place, 2), row_id)
                for place, currency in enumerate(currencies)
            ],
            "custom_fields": self._custom.of(row_id, draw >> 64),
        }


def price_of(
    currency: str, price: float, owner_id: int, key: str = "product_id", **more: Any
) -> Record:
    """One price of a product or a variation."""
    return {
        key: owner_id,
        "price": price,
        "currency": currency,
        "cost": 0,
        "direct_cost": None,
        "notes": "",
        **more,
    }


class SeededVariations(SeededRows):
    """Two variations of every fourth product."""

    def __init__(self, order: SeededOrder, seed: int) -> None:
        self.order, self._seed = order, seed

    def row(self, row_id: int) -> Record:
        """One variation as it was seeded."""
        price = draw_of(self._seed, b"variation", row_id) % 300_000 / 100
        return {
            "id": row_id,
            "name": ("klein", "groß")[row_id % VARIATIONS_A_PRODUCT],
            "product_id": (row_id + 1) // VARIATIONS_A_PRODUCT * 4,
            "prices": [price_of("EUR", price, row_id, "product_variation_id")],
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
        }


class SeededActivities(SeededRows):
    """Three activities a deal; every tenth belongs to a lead instead."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        deals: SeededDeals,
        leads: int,
        owners: Sequence[int],
        outcomes: Sequence[int],
    ) -> None:
        self.order = order
        self._seed, self._deals, self._leads = seed, deals, leads
        self._owners, self._outcomes = owners, outcomes

    def row(self, row_id: int) -> Record:
        """One activity as it was seeded."""
        draw = draw_of(self._seed, b"activity", row_id)
        deal_id = None if self._is_of_lead(row_id) else self._deal_id(row_id)
        org_id, person_id = (None, None) if deal_id is None else self._deals.links(deal_id)
        added = datetime.fromisoformat(self.order.add_time(row_id))
        due = added + timedelta(days=draw % 900)
        is_done = due < EDITED_UNTIL and (draw >> 12) % 8 > 0
        has_clock = (draw >> 16) % 3 == 0
        owner = self._owners[(draw >> 20) % len(self._owners)]
        return {
            "id": row_id,
            "subject": SUBJECTS[(draw >> 24) % len(SUBJECTS)],
            "type": _TYPES[(draw >> 28) % len(_TYPES)],
            "owner_id": owner,
            "creator_user_id": owner,
            "is_deleted": False,
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "deal_id": deal_id,
            "lead_id": None if deal_id else printed_id(LEADS, 1 + row_id % self._leads),
            "person_id": person_id,
            "org_id": org_id,
            "project_id": None,
            "due_date": due.date().isoformat(),
            "due_time": _CLOCKS[(draw >> 32) % 5] if has_clock else None,
            "duration": _DURATIONS[(draw >> 36) % 4] if has_clock else None,
            "busy": has_clock,
            "done": is_done,
            "marked_as_done_time": f"{due.date().isoformat()}T12:00:00Z" if is_done else None,
            "location": None,
            "participants": [{"person_id": person_id, "primary": True}] if person_id else [],
            "attendees": [],
            "conference_meeting_client": None,
            "conference_meeting_url": None,
            "conference_meeting_id": None,
            "public_description": "",
            "priority": None,
            "outcome": self._outcomes[(draw >> 44) % len(self._outcomes)]
            if is_done and (draw >> 40) & 1
            else None,
            "note": f"<b>{NOTES[(draw >> 48) % len(NOTES)]}</b>" if row_id % 4 == 0 else None,
        }

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The activities of a deal without a search."""
        if key != "deal_id" or not isinstance(parent_id, int):
            yield from super().children_of(key, parent_id)
        elif 0 < parent_id * ACTIVITIES_A_DEAL <= self.order.size:
            last = parent_id * ACTIVITIES_A_DEAL
            ids = range(last - ACTIVITIES_A_DEAL + 1, last + 1)
            yield from (row_id for row_id in ids if not self._is_of_lead(row_id))

    def _is_of_lead(self, row_id: int) -> bool:
        return bool(self._leads) and row_id % 10 == 9

    @staticmethod
    def _deal_id(row_id: int) -> int:
        return (row_id + ACTIVITIES_A_DEAL - 1) // ACTIVITIES_A_DEAL


class SeededNotes(SeededRows):
    """Notes: of a deal with its person and organization, of a person, of a lead."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        deals: SeededDeals,
        persons: int,
        leads: int,
        owners: Sequence[int],
    ) -> None:
        self.order = order
        self._seed, self._deals = seed, deals
        self._persons, self._leads, self._owners = persons, leads, owners

    def row(self, row_id: int) -> Record:
        """One note as it was seeded."""
        draw = draw_of(self._seed, b"note", row_id)
        targets: Record = dict.fromkeys(NOTE_TARGETS)
        if row_id % 4 == 1 and self._persons:
            targets["person_id"] = 1 + draw % self._persons
        elif row_id % 4 == 3 and self._leads:
            targets["lead_id"] = printed_id(LEADS, 1 + draw % self._leads)
        else:
            org_id, person_id = self._deals.links(row_id)
            targets |= {"deal_id": row_id, "person_id": person_id, "org_id": org_id}
        return {
            "id": row_id,
            "user_id": self._owners[(draw >> 40) % len(self._owners)],
            **targets,
            "content": f"<p>{NOTES[(draw >> 48) % len(NOTES)]}</p>",
            **dict.fromkeys(PINNED_FLAGS, False),
            "pinned_to_deal_flag": bool(targets["deal_id"]) and row_id % 10 == 0,
            "last_update_user_id": None,
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
        }


class SeededLeads(SeededRows):
    """Leads ``1 .. size``; every sixth is archived."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        organizations: int,
        persons: int,
        owners: Sequence[int],
        custom: CustomValues,
    ) -> None:
        self.order = order
        self._seed, self._owners, self._custom = seed, owners, custom
        self._organizations, self._persons = organizations, persons

    def row(self, row_id: int) -> Record:
        """One lead as it was seeded."""
        draw = draw_of(self._seed, b"lead", row_id)
        is_archived = row_id % 6 == 4
        has_person = bool(self._persons) and (row_id % 3 > 0 or not self._organizations)
        owner = self._owners[draw % len(self._owners)]
        labels = [printed_id(LEAD_LABELS, 1 + (draw >> 8) % 4)] if row_id % 2 else []
        return {
            "id": row_id,
            "title": f"{PROJECTS[(draw >> 12) % len(PROJECTS)]} {LAST_NAMES[(draw >> 16) % 45]}",
            "owner_id": owner,
            "creator_id": owner,
            "label_ids": labels,
            "person_id": 1 + (draw >> 20) % self._persons if has_person else None,
            "organization_id": 1 + (draw >> 30) % self._organizations
            if self._organizations and row_id % 3 != 1
            else None,
            "value": {"amount": draw % 90_000, "currency": CURRENCIES[(draw >> 36) % 8]}
            if row_id % 3
            else None,
            "expected_close_date": f"2026-{1 + draw % 12:02d}-15" if row_id % 5 == 0 else None,
            "is_archived": is_archived,
            "archive_time": self.order.update_time(row_id) if is_archived else None,
            "source_name": SOURCES[(draw >> 40) % len(SOURCES)],
            "source_deal_id": None,
            "origin": "ManuallyCreated",
            "origin_id": None,
            "channel": None,
            "channel_id": None,
            "was_seen": row_id % 2 == 0,
            "next_activity_id": None,
            "visible_to": 3,
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
            "custom_fields": self._custom.of(row_id, draw >> 64),
        }
