"""What people do to a CRM, each as one function of an account and a number.

Belongs here: edits, by name, that may be made in any order and at any time. Does not belong here:
when they are made, and what must hold afterwards (`test_convergence.py`).

The number picks rows and values, so that a failing sequence shrinks to small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pipedrive_pipeline.sandbox import CrmAccount
from pipedrive_pipeline.sandbox.kit.clock import stamp
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import convert_lead

BULK_ROWS = 30
LATE_SECONDS = 200  # less than the overlap
BACK_SECONDS = (1, 30, 3_600, 86_400)  # the overlap sees the first two
AHEAD_SECONDS = (1, 600, 86_400, 2_400_000_000)
AWKWARD: dict[str, tuple[dict[str, Any], ...]] = {
    "organizations": (
        {"name": "", "website": ""},
        {"name": 'Möwe 🥐 \u202e, "quoted" \\N', "linkedin": None},
        {"employee_count": "viele", "annual_revenue": 0},
        {"label_ids": [], "address": None, "never_seen": {"a": [1, None, ""]}},
        {"owner_id": "1", "label_ids": "1,2", "address": "Am Markt 1"},
        {"owner_id": "niemand", "label_ids": [None, ""], "address": ["Am", "Markt"]},
        {"update_time": None},
    ),
    "persons": (
        {"first_name": "", "last_name": None, "job_title": "\\N", "notes": "null"},
        {"emails": [], "phones": [], "org_id": None},
        {"emails": [{"value": "", "primary": True, "label": "work"}]},
        {"emails": [[{"value": "nested@acme.example"}]], "phones": "+49 30 1"},
        {"emails": ["a@acme.example", {"value": " "}, None], "phones": [{"value": 4930}]},
        {"org_id": "3", "owner_id": "2", "label_ids": "7"},
        {"first_name": 17, "never_seen": "x"},
        {"update_time": None},
    ),
}  # fmt: skip


def entity_of(number: int) -> str:
    """Organizations or persons."""
    return ("organizations", "persons")[number % 2]


def ids(account: CrmAccount, entity: str, *, is_deleted: bool = False) -> list[int]:
    """Rows that are there, or rows that were deleted and may come back."""
    records = account.records[entity]
    found = (records.get(row_id) for row_id in range(1, records.last_id + 1))
    return [
        record["id"]
        for record in found
        if record is not None
        and record["is_deleted"] == is_deleted
        and not account.is_purged(entity, record["id"])
    ]


def pick(account: CrmAccount, entity: str, number: int, *, is_deleted: bool = False) -> int:
    """One of these rows; 0 where there is none."""
    found = ids(account, entity, is_deleted=is_deleted)
    return found[number % len(found)] if found else 0


def latest(account: CrmAccount, number: int) -> tuple[str, int]:
    """The record that was edited last, where it lives: a second edit of the same one."""
    for entry in reversed(account.history.last(20)):
        if entry.action in {"create", "change"} and entry.entity in AWKWARD:
            record = account.get(entry.entity, int(entry.key))
            if not record["is_deleted"]:
                return entry.entity, record["id"]
    return entity_of(number), pick(account, entity_of(number), number)


def stamped(account: CrmAccount, seconds: int) -> str:
    """The server's time, shifted."""
    return stamp(account.clock.now() + timedelta(seconds=seconds))


def create(account: CrmAccount, number: int) -> None:
    organization = account.create("organizations", name=f"Neu {number}", employee_count=number)
    account.create("persons", name=f"Neu {number}", org_id=organization["id"])


def create_late(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    account.create(entity, name=f"Spät {number}", visible_after_seconds=LATE_SECONDS)


def edit(account: CrmAccount, number: int) -> None:
    account.edit("organizations", pick(account, "organizations", number), name=f"Firma {number}")
    organization = pick(account, "organizations", number // 3)
    person = pick(account, "persons", number)
    account.edit("persons", person, name=f"Person {number}", org_id=organization)


def edit_with_a_stamp_behind(account: CrmAccount, number: int) -> None:
    entity, row_id = latest(account, number)
    at = stamped(account, -BACK_SECONDS[number % len(BACK_SECONDS)])
    account.edit(entity, row_id, name=f"Zurück {number}", update_time=at)


def edit_with_a_stamp_ahead(account: CrmAccount, number: int) -> None:
    entity, row_id = latest(account, number)
    at = stamped(account, AHEAD_SECONDS[number % len(AHEAD_SECONDS)])
    account.edit(entity, row_id, name=f"Voraus {number}", update_time=at)


def edit_within_its_second(account: CrmAccount, number: int) -> None:
    """Of two such edits the later one may have the smaller fraction."""
    entity, row_id = latest(account, number)
    second = account.get(entity, row_id)["update_time"][:19]
    at = f"{second}.{number % 1000:03}Z"
    account.edit(entity, row_id, name=f"Bruchteil {number}", update_time=at)


def stamp_newer_than_its_place(account: CrmAccount, number: int) -> None:
    """Lists go on to show the record early in their order, with a stamp of a late one."""
    entity = entity_of(number)
    at = stamped(account, -BACK_SECONDS[number % len(BACK_SECONDS)])
    account.plant(entity, pick(account, entity, number // 2), update_time=at)


def edit_many(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    found = ids(account, entity)
    begin = number % len(found)
    owner = account.users[number % len(account.users)]["id"]
    account.edit_many(entity, found[begin : begin + BULK_ROWS], owner_id=owner)


def delete(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    account.delete(entity, pick(account, entity, number // 2))


def delete_many(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    for row_id in ids(account, entity)[:: 2 + number % 5]:
        account.delete(entity, row_id)


def restore(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    row_id = pick(account, entity, number // 2, is_deleted=True)
    if row_id:
        account.restore(entity, row_id, is_touched=number % 3 == 0)


def merge(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    loser, survivor = (pick(account, entity, number // 2 + offset) for offset in (0, 1))
    if loser != survivor:
        account.merge(entity, loser, survivor, touches_children=number % 3 == 0)


def plant(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    values = AWKWARD[entity][number % len(AWKWARD[entity])]
    account.plant(entity, pick(account, entity, number // 2), **values)


def leave_out(account: CrmAccount, number: int) -> None:
    account.plant("persons", pick(account, "persons", number), without=("job_title", "notes"))


def add_field(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    field = account.fields[entity].add(f"Feld {number}", "enum", [f"a{number}", f"b{number}"])
    assert field.options is not None
    row_id = pick(account, entity, number)
    account.edit(entity, row_id, custom_fields={field.code: field.options[0].id})


def drop_field(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    custom = [field.code for field in account.fields[entity] if field.is_custom]
    if custom:
        account.fields[entity].drop(custom[number % len(custom)])


def rename_field(account: CrmAccount, number: int) -> None:
    entity = entity_of(number)
    custom = [field for field in account.fields[entity] if field.is_custom]
    if custom:
        account.fields[entity].change(custom[number % len(custom)].code, name=f"Anders {number}")


def rename_user(account: CrmAccount, number: int) -> None:
    account.users[number % len(account.users)]["name"] = f"Besitzer {number}"


EDITS: dict[str, Callable[[CrmAccount, int], None]] = {
    one.__name__: one
    for one in (
        create,
        create_late,
        edit,
        edit_with_a_stamp_behind,
        edit_with_a_stamp_ahead,
        edit_within_its_second,
        stamp_newer_than_its_place,
        edit_many,
        delete,
        delete_many,
        restore,
        merge,
        plant,
        leave_out,
        add_field,
        drop_field,
        rename_field,
        rename_user,
    )
}


@dataclass(frozen=True)
class EditedKind:
    """How people make and edit records of one kind."""

    text: str  # a key with a text
    values: Callable[[CrmAccount, int], dict[str, Any]] = lambda _account, _number: {}
    is_archived: bool = False  # whether it can be archived


def _of_a_deal(account: CrmAccount, number: int) -> dict[str, Any]:
    return {"deal_id": pick(account, "deals", number), "org_id": None}


def _of_a_pipeline(account: CrmAccount, number: int) -> dict[str, Any]:
    return {"pipeline_id": pick(account, "pipelines", number)}


def _of_a_person(account: CrmAccount, number: int) -> dict[str, Any]:
    return {"person_id": pick(account, "persons", number), "value": None}


SALES = {
    "deals": EditedKind("title", is_archived=True),
    "products": EditedKind("name"),
    "stages": EditedKind(
        "name", lambda account, number: {"pipeline_id": pick(account, "pipelines", number)}
    ),
    "pipelines": EditedKind("name"),
}
WORK = {
    "activities": EditedKind("subject", _of_a_deal),
    "notes": EditedKind("content", _of_a_deal),
    "leads": EditedKind("title", _of_a_person, is_archived=True),
}


Kinds = Mapping[str, EditedKind]


def chosen(kinds: Kinds, number: int) -> tuple[str, EditedKind]:
    """One of the kinds."""
    return sorted(kinds.items())[number % len(kinds)]


def create_one(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, kind = chosen(kinds, number)
    account.create(name, **{kind.text: f"Neu {number}", **kind.values(account, number)})


def create_one_late(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, kind = chosen(kinds, number)
    values = {kind.text: f"Spät {number}", **kind.values(account, number)}
    account.create(name, visible_after_seconds=LATE_SECONDS, **values)


def edit_one(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, kind = chosen(kinds, number)
    if row_id := pick(account, name, number // 2):
        account.edit(name, row_id, **{kind.text: f"Anders {number}"})


def edit_several(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, kind = chosen(kinds, number)
    several = ids(account, name)[number % 7 :][:BULK_ROWS]
    account.edit_many(name, several, **{kind.text: f"Viele {number}"})


def delete_one(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, _ = chosen(kinds, number)
    if len(ids(account, name)) > 1:  # without any of them no other record can be made
        account.delete(name, pick(account, name, number // 2))


def restore_one(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, _ = chosen(kinds, number)
    if row_id := pick(account, name, number // 2, is_deleted=True):
        account.restore(name, row_id)


def archive_one(kinds: Kinds, account: CrmAccount, number: int) -> None:
    name, kind = chosen(kinds, number)
    if kind.is_archived and (row_id := pick(account, name, number // 2)):
        account.edit(name, row_id, is_archived=not account.get(name, row_id)["is_archived"])


def move_deal(account: CrmAccount, number: int) -> None:
    stage = pick(account, "stages", number)
    if (deal := pick(account, "deals", number // 2)) and stage:
        account.edit("deals", deal, stage_id=stage)


def close_deal(account: CrmAccount, number: int) -> None:
    if deal := pick(account, "deals", number // 2):
        account.edit("deals", deal, status=("won", "lost", "open")[number % 3])


def merge_deals(account: CrmAccount, number: int) -> None:
    loser, survivor = (pick(account, "deals", number // 2 + offset) for offset in (0, 1))
    if loser != survivor:
        account.merge("deals", loser, survivor)


def add_line(account: CrmAccount, number: int) -> None:
    deal, product = pick(account, "deals", number), pick(account, "products", number // 2)
    if deal and product:
        values: dict[str, Any] = {
            "item_price": 10 + number,
            "quantity": 1 + number % 4,
            "name": f"Zeile {number}",
        }
        account.create("deal_products", deal_id=deal, product_id=product, **values)


def take_line(account: CrmAccount, number: int) -> None:
    if line := pick(account, "deal_products", number):
        account.delete("deal_products", line)


def lead_becomes_deal(account: CrmAccount, number: int) -> None:
    if len(ids(account, "leads")) > 1:
        convert_lead(account, pick(account, "leads", number))


def edits_of(kinds: Kinds) -> dict[str, Callable[[CrmAccount, int], None]]:
    """Edits of records of these kinds, by name."""
    edits = (
        create_one,
        create_one_late,
        edit_one,
        edit_several,
        delete_one,
        restore_one,
        archive_one,
    )
    return {each.__name__: partial(each, kinds) for each in edits}


SALES_EDITS = edits_of(SALES) | {
    each.__name__: each for each in (move_deal, close_deal, merge_deals, add_line, take_line)
}
WORK_EDITS = edits_of(WORK) | {lead_becomes_deal.__name__: lead_becomes_deal}
