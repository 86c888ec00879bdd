"""Seeded deals, their lines and their participants, computed from the seed and the id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pipedrive_pipeline.sandbox.pipedrive.world import tables
from pipedrive_pipeline.sandbox.pipedrive.world.awkward import AWKWARD_DEALS
from pipedrive_pipeline.sandbox.pipedrive.world.custom import CustomValues
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import LOST_REASONS, ORIGINS
from pipedrive_pipeline.sandbox.pipedrive.world.order import SeededOrder
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import (
    SeededPersons,
    SeededRows,
    draw_of,
    labels_of,
    stride_of,
)
from pipedrive_pipeline.sandbox.pipedrive.world.words import LAST_NAMES, PROJECTS

Record = dict[str, Any]
ODD_DEALS = 2  # after the seeded ones: a deleted deal, and one that the admin cannot see
LINES_A_DEAL = 2  # of every other deal
COMPANY_ZONE = ZoneInfo("Europe/Berlin")
CURRENCIES = ("EUR", "EUR", "EUR", "EUR", "EUR", "CHF", "PLN", "USD")
_STAGES = tuple(
    tuple(place for place, stage in enumerate(tables.stages(), 1) if stage["pipeline_id"] == number)
    for number in range(1, len(tables.PIPELINES) + 1)
)


@dataclass(frozen=True)
class DealMove:
    """One change of a deal's stage or status, for its changelog."""

    at: str
    key: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class _Course:
    """Where a seeded deal was; its times are computed only on demand."""

    pipeline: int  # its place, from 0
    visited: list[int]  # ids of stages
    added: datetime
    part: timedelta  # about how long it stays in a stage
    move_count: int
    draw: int

    def entered_at(self, number: int) -> str:
        """When it entered the stage at a place in the list, from 1 on."""
        return self._at(self.part * number, self.draw >> number)

    def closed_at(self) -> str:
        """When it was won or lost, if it was."""
        return self._at(self.part * (self.move_count + 1), self.draw >> 17)

    def _at(self, passed: timedelta, draw: int) -> str:
        at = self.added + passed + timedelta(seconds=draw % 3_600)
        return f"{at.isoformat(timespec='seconds')}Z"


def local_date(at: str | None) -> str | None:
    """The date of an instant where the company is."""
    if at is None:
        return None
    instant = datetime.fromisoformat(at)
    return instant.astimezone(COMPANY_ZONE).date().isoformat()


class SeededDeals(SeededRows):
    """Deals ``1 .. size``: open, won, lost, reopened, archived, moved forth and back."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        organizations: int,
        odd_parents: Mapping[str, int],
        persons: SeededPersons,
        owners: Sequence[int],
        labels: Sequence[int],
        channels: Sequence[int],
        products: int,
        custom: CustomValues,
    ) -> None:
        self.order = order
        self._seed, self._products = seed, products
        self._organizations, self._persons = organizations, persons
        self._owners, self._labels, self._channels = owners, labels, channels
        self._custom = custom
        self._awkward = [
            changes | ({"org_id": odd_parents[name]} if name in odd_parents else {})
            for name, changes in AWKWARD_DEALS.items()
        ]
        self._stride = stride_of(organizations)
        self._inverse = pow(self._stride, -1, organizations) if organizations else 0

    def row(self, row_id: int) -> Record:
        """One deal as it was seeded."""
        draw = draw_of(self._seed, b"deal", row_id)
        course = self._course(row_id, draw)
        moves = len(course.visited) - 1
        kind = (draw >> 20) % 20
        closed_at = course.closed_at() if kind >= 10 else None
        status = "open" if kind < 10 or kind == 19 else "won" if kind < 16 else "lost"
        won_at = closed_at if status == "won" else None
        lost_at = closed_at if status == "lost" else None
        is_archived = (draw >> 26) % 12 == 0
        update_time = self.order.update_time(row_id)
        organization, person = self.links(row_id)
        owner = self._owners[(draw >> 30) % len(self._owners)]
        is_wide = (draw >> 34) % 4 == 0
        name = PROJECTS[(draw >> 40) % len(PROJECTS)]
        row: Record = {
            "id": row_id,
            "title": f"{name} {LAST_NAMES[(draw >> 44) % 45]} {row_id}",
            "creator_user_id": self._owners[(draw >> 48) % len(self._owners)],
            "owner_id": owner,
            "person_id": person,
            "org_id": organization,
            "pipeline_id": course.pipeline + 1,
            "stage_id": course.visited[-1],
            "value": self._value(row_id, draw),
            "currency": _currency(draw),
            "add_time": self.order.add_time(row_id),
            "update_time": update_time,
            "stage_change_time": course.entered_at(moves) if moves else None,
            "status": status,
            "is_deleted": False,
            "is_archived": is_archived,
            "archive_time": update_time if is_archived else None,
            "probability": (draw >> 52) % 21 * 5 if (draw >> 50) % 3 == 0 else None,
            "lost_reason": LOST_REASONS[(draw >> 55) % 4] if lost_at and is_wide else None,
            "visible_to": 1 if (draw >> 57) % 32 == 0 else 3,
            "close_time": won_at or lost_at,
            "won_time": won_at,
            "lost_time": lost_at,
            "first_won_time": closed_at if status == "won" or kind == 19 else None,
            "local_won_date": local_date(won_at),
            "local_lost_date": local_date(lost_at),
            "local_close_date": local_date(won_at or lost_at),
            "expected_close_date": f"2026-{1 + draw % 12:02d}-{1 + draw % 28:02d}"
            if status == "open" and (draw >> 7) & 1
            else None,
            "label_ids": labels_of(draw >> 60, self._labels),
            "origin": ORIGINS[(draw >> 62) % 4],
            "origin_id": None,
            "channel": self._channels[draw % len(self._channels)] if is_wide else None,
            "channel_id": None,
            "source_lead_id": None,
            "arr": None,
            "mrr": None,
            "acv": None,
            "custom_fields": self._custom.of(row_id, draw >> 64),
        }
        if row_id <= len(self._awkward):
            row.update(self._awkward[row_id - 1])
        return row

    def links(self, row_id: int) -> tuple[int | None, int | None]:
        """Organization and person of a deal, without the rest of it."""
        organization = self._organization(row_id)
        changes = self._awkward[row_id - 1] if row_id <= len(self._awkward) else {}
        organization = changes.get("org_id", organization)
        person = organization and self._persons.someone_of(organization)
        return organization, changes.get("person_id", person)

    def moves(self, row_id: int) -> list[DealMove]:
        """What happened to a deal before the account was seeded, oldest first."""
        row = self.row(row_id)
        if row_id <= len(self._awkward):
            return _moves_of(row)
        draw = draw_of(self._seed, b"deal", row_id)
        course = self._course(row_id, draw)
        moves = [
            DealMove(course.entered_at(number), "stage_id", str(old), str(new))
            for number, (old, new) in enumerate(pairwise(course.visited), 1)
        ]
        return moves + _closings_of(row)

    def currency(self, row_id: int) -> str:
        """The currency of a deal, without the rest of it."""
        changes = self._awkward[row_id - 1] if row_id <= len(self._awkward) else {}
        return str(changes.get("currency") or _currency(draw_of(self._seed, b"deal", row_id)))

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The ids of the deals seeded under one organization, without a search."""
        if key != "org_id" or not isinstance(parent_id, int):
            yield from super().children_of(key, parent_id)
            return
        for row_id in range(1, min(len(self._awkward), self.order.size) + 1):
            if self.row(row_id)["org_id"] == parent_id:
                yield row_id
        if not 1 <= parent_id <= self._organizations:
            return
        first = (parent_id - 1) * self._inverse % self._organizations
        for row_id in range(first or self._organizations, self.order.size + 1, self._organizations):
            if row_id > len(self._awkward) and self._organization(row_id) == parent_id:
                yield row_id

    def _organization(self, row_id: int) -> int | None:
        if not self._organizations or row_id % 9 == 4:
            return None
        return row_id * self._stride % self._organizations + 1

    def _value(self, row_id: int, draw: int) -> float:
        lines = lines_of(row_id, self.order.size)
        if not lines or not self._products:
            return round((draw >> 10) % 9_000_000 / 100, 2)
        prices = (line_price(self._seed, line_id) for line_id in lines)
        return round(sum(item * quantity for item, quantity in prices), 2)

    def _course(self, row_id: int, draw: int) -> _Course:
        """The stages that a deal visited. Every fifth never moved; some go back a stage."""
        pipeline = (0, 0, 0, 1, 1, 0, 0, 1)[draw & 7] if draw >> 3 & 63 else 2
        stages = _STAGES[pipeline]
        move_count = (draw >> 9) % 5
        place = 0 if move_count else (draw >> 12) % len(stages)
        visited = [stages[place]]
        for number in range(1, move_count + 1):
            goes_back = place > 0 and draw >> (12 + number) & 7 == 0
            following = place - 1 if goes_back else place + 1
            if following == len(stages):
                break
            place = following
            visited.append(stages[place])
        # Without a zone they are read and printed twice as fast.
        added = datetime.fromisoformat(self.order.add_time(row_id)[:-1])
        edited = datetime.fromisoformat(self.order.update_time(row_id)[:-1])
        return _Course(
            pipeline, visited, added, (edited - added) / (move_count + 3), move_count, draw
        )


def _currency(draw: int) -> str:
    return CURRENCIES[(draw >> 36) % len(CURRENCIES)]


def _moves_of(row: Record) -> list[DealMove]:
    """The moves of an awkward deal, whose values are written down."""
    moves = []
    if row["stage_change_time"] is not None:
        pipeline = _STAGES[row["pipeline_id"] - 1]
        former = pipeline[max(pipeline.index(row["stage_id"]) - 1, 0)]
        stage_id = str(row["stage_id"])
        moves.append(DealMove(row["stage_change_time"], "stage_id", str(former), stage_id))
    return moves + _closings_of(row)


def _closings_of(row: Record) -> list[DealMove]:
    first_won_at = row["first_won_time"]
    closings = []
    if first_won_at is not None:
        closings.append(DealMove(first_won_at, "status", "open", "won"))
    if first_won_at is not None and row["status"] == "open":
        closings.append(DealMove(row["update_time"], "status", "won", "open"))
    if row["status"] == "lost":
        closings.append(DealMove(row["lost_time"], "status", "open", "lost"))
    return closings


def lines_of(deal_id: int, deals: int) -> range:
    """The ids of the lines that a seeded deal has: two for every deal with an even id."""
    has_lines = deal_id % 2 == 0 and 0 < deal_id <= deals
    return range(deal_id - 1, deal_id + 1) if has_lines else range(0)


def line_price(seed: int, line_id: int) -> tuple[float, int]:
    """Price and quantity of a seeded line."""
    draw = draw_of(seed, b"line", line_id)
    return round(draw % 500_000 / 100, 2), 1 + (draw >> 32) % 12
