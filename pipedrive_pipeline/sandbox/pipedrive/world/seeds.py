"""Built-in values of seeded rows: computed from the seed and the id on each read, not stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import gcd
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.awkward import (
    AWKWARD_ORGANIZATIONS,
    AWKWARD_PERSONS,
)
from pipedrive_pipeline.sandbox.pipedrive.world.custom import CustomValues, address
from pipedrive_pipeline.sandbox.pipedrive.world.order import RowOrder, SeededOrder, TableOrder
from pipedrive_pipeline.sandbox.pipedrive.world.words import (
    FIRST_NAMES,
    JOB_TITLES,
    LAST_NAMES,
    LEGAL_FORMS,
    NOTES,
    STEMS,
    STREETS,
    TRADES,
)

Record = dict[str, Any]


class SeededRows(ABC):
    """The rows that an account starts with."""

    order: RowOrder
    deleted_ids: frozenset[int] = frozenset()  # rows that were deleted from the start

    @abstractmethod
    def row(self, row_id: int) -> Record:
        """One row as it was seeded; ids run from 1 to ``order.size``."""

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The ids of the rows that name a parent; reads every row, unless a kind knows better."""
        for row_id in range(1, self.order.size + 1):
            if self.row(row_id).get(key) == parent_id:
                yield row_id


class SeededTable(SeededRows):
    """A few rows that are written down; the first has the id 1."""

    def __init__(self, rows: Sequence[Record]) -> None:
        self._rows = tuple({"id": place, **row} for place, row in enumerate(rows, 1))
        self.order = TableOrder(self._rows)
        self.deleted_ids = frozenset(row["id"] for row in self._rows if row["is_deleted"])

    def row(self, row_id: int) -> Record:
        """One row as it was seeded."""
        return self._rows[row_id - 1]


def draw_of(seed: int, kind: bytes, row_id: int) -> int:
    """128 bits that belong to one row."""
    digest = blake2b(b"%d/%s/%d" % (seed, kind, row_id), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def labels_of(draw: int, option_ids: Sequence[int]) -> list[int]:
    """No label for two of three rows, otherwise one or two."""
    if not option_ids or draw % 3:
        return []
    return sorted({option_ids[draw % len(option_ids)], option_ids[draw // 7 % len(option_ids)]})


class SeededOrganizations(SeededRows):
    """Organizations ``1 .. size``."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        owners: Sequence[int],
        labels: Sequence[int],
        industries: Sequence[int],
        custom: CustomValues,
    ) -> None:
        self.order = order
        self._seed = seed
        self._owners, self._labels, self._industries = owners, labels, industries
        self._custom = custom
        self._awkward = tuple(AWKWARD_ORGANIZATIONS.values())

    def row(self, row_id: int) -> Record:
        """One organization as it was seeded."""
        draw = draw_of(self._seed, b"organization", row_id)
        stem, trade = STEMS[draw % 32], TRADES[(draw >> 8) % 22]
        slug = f"nr{row_id}.{trade.lower().translate(_ASCII)}"
        has_site = draw >> 20 & 3
        row: Record = {
            "id": row_id,
            "name": f"{stem} {trade} {LEGAL_FORMS[(draw >> 16) % 8]}",
            "owner_id": self._owners[(draw >> 24) % len(self._owners)],
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
            "visible_to": 1 if draw >> 32 & 31 == 0 else 3,
            "label_ids": labels_of(draw >> 36, self._labels),
            "address": _place(draw >> 44),
            "website": f"https://www.{slug}.example" if has_site else None,
            "linkedin": None,
            "industry": self._industries[(draw >> 52) % len(self._industries)],
            "annual_revenue": (draw >> 56) % 9_000 * 1_000 if has_site else None,
            "employee_count": (draw >> 60) % 800 or None,
            "picture_id": None,
            "custom_fields": self._custom.of(row_id, draw >> 64),
        }
        if row_id <= len(self._awkward):
            row.update(self._awkward[row_id - 1])
        return row


class SeededPersons(SeededRows):
    """Persons ``1 .. size``, spread evenly over the organizations, every eighth without one."""

    def __init__(
        self,
        order: SeededOrder,
        seed: int,
        *,
        organizations: int,
        odd_parents: dict[str, int],
        owners: Sequence[int],
        labels: Sequence[int],
        custom: CustomValues,
    ) -> None:
        self.order = order
        self._seed = seed
        self._owners, self._labels = owners, labels
        self._custom = custom
        self._organizations = organizations
        self._awkward = [
            changes | ({"org_id": odd_parents[name]} if name in odd_parents else {})
            for name, changes in AWKWARD_PERSONS.items()
        ]
        self._stride = stride_of(organizations)
        self._inverse = pow(self._stride, -1, organizations) if organizations else 0

    def row(self, row_id: int) -> Record:
        """One person as it was seeded."""
        draw = draw_of(self._seed, b"person", row_id)
        first, last = FIRST_NAMES[draw % 48], LAST_NAMES[(draw >> 8) % 45]
        mailbox = f"{first}.{last}".lower().translate(_ASCII)
        row: Record = {
            "id": row_id,
            "name": f"{first} {last}",
            "first_name": first,
            "last_name": last,
            "owner_id": self._owners[(draw >> 16) % len(self._owners)],
            "org_id": self._parent(row_id),
            "emails": _emails(mailbox, row_id, draw >> 20),
            "phones": _phones(draw >> 28),
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
            "visible_to": 1 if draw >> 36 & 31 == 0 else 3,
            "label_ids": labels_of(draw >> 40, self._labels),
            "picture_id": None,
            **_contact_sync(mailbox, draw >> 48),
            "custom_fields": self._custom.of(row_id, draw >> 64),
        }
        if row_id <= len(self._awkward):
            row.update(self._awkward[row_id - 1])
        return row

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The ids of the persons seeded under one organization, without a search."""
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
            if row_id > len(self._awkward) and self._parent(row_id) == parent_id:
                yield row_id

    def someone_of(self, organization_id: int) -> int | None:
        """The id of one person seeded under an organization, if an easily computed one exists."""
        first = (organization_id - 1) * self._inverse % max(self._organizations, 1)
        is_known = len(self._awkward) < first <= self.order.size
        return first if is_known and self._parent(first) == organization_id else None

    def _parent(self, row_id: int) -> int | None:
        if not self._organizations or row_id % 8 == 5:
            return None
        return row_id * self._stride % self._organizations + 1


_ASCII = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ł": "l", "ş": "s", "ı": "i", "ø": "o", "ç": "c",
     "é": "e", "ë": "e", "ễ": "e", "ó": "o", " ": "-", "'": "", "&": "und"}
)  # fmt: skip


def stride_of(organizations: int) -> int:
    """A step that reaches every organization before it repeats one."""
    stride = 7
    while organizations and gcd(stride, organizations) != 1:
        stride += 1
    return stride


def _place(draw: int) -> Record | None:
    """Every eighth organization has no address, every other eighth one that was only typed."""
    if draw & 7 == 0:
        return None
    full = address(STREETS[(draw >> 3) % 12], str(1 + (draw >> 7) % 120), draw >> 13)
    if draw & 7 == 1:
        return dict.fromkeys(full) | {"value": full["value"]}
    return full


def _emails(mailbox: str, row_id: int, draw: int) -> list[Record]:
    work = {"value": f"{mailbox}.{row_id}@firma.example", "primary": True, "label": "work"}
    kind = draw & 15
    if kind < 2:
        return []
    if kind < 4:
        home = {"value": f"{mailbox}.{row_id}@privat.example", "primary": True, "label": "home"}
        return [work | {"primary": False}, home]
    return [work | {"primary": False}] if kind == 4 else [work]


def _contact_sync(mailbox: str, draw: int) -> Record:
    """Values that only a company with contact sync has, most of them for few persons."""
    kind, draw = draw & 7, draw >> 3
    chat = {"value": mailbox, "primary": True, "label": "skype"}
    birthday = f"{1948 + draw % 57}-{1 + draw % 12:02d}-{1 + draw % 28:02d}"
    return {
        "postal_address": _place(draw) if kind == 0 else None,
        "notes": NOTES[draw % len(NOTES)] if kind == 1 else None,
        "im": [chat] if kind == 2 else [],
        "birthday": birthday if kind > 2 else None,
        "job_title": JOB_TITLES[draw % 6] if draw & 7 else None,
    }


def _phones(draw: int) -> list[Record]:
    if draw & 3 == 0:
        return []
    number = f"+49 40 {draw >> 2 & 0xFFFF:05d}"
    return [{"value": number, "primary": True, "label": "mobile" if draw & 1 else "work"}]
