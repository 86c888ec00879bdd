"""Records as v1 prints them: its times, flags, embedded names, custom fields at the root."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipedrive_pipeline.sandbox.pipedrive.world.fields import FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.ids import number_of, printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES

if TYPE_CHECKING:
    from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount

Record = dict[str, Any]


def v1_time(at: Any) -> Any:
    """A stamp as v1 prints it, ``2026-01-31 10:20:30``; what is no stamp is left as it is."""
    return at.replace("T", " ").removesuffix("Z") if isinstance(at, str) else at


def millisecond_time(at: Any) -> Any:
    """A stamp with milliseconds, as leads have it."""
    return f"{at[:-1]}.000Z" if isinstance(at, str) and at.endswith("Z") and "." not in at else at


def v1_custom(book: FieldBook, values: Record) -> Record:
    """Custom values as keys of the record itself; unset ones are missing."""
    row: Record = {}
    for code, value in book.live_values(values).items():
        if value is not None:
            row.update(v1_value(book, code, value))
    return row


def v1_value(book: FieldBook, code: str, value: Any) -> Record:
    """One custom value: the parts of an object in keys of their own, options as texts."""
    if isinstance(value, dict):
        parts = {f"{code}_{part}": item for part, item in value.items() if part != "value"}
        return {code: value.get("value"), **parts}
    if isinstance(value, list):
        return {code: ",".join(map(str, value))}
    field = book.get(code)
    return {code: str(value) if field is not None and field.type == "enum" else value}


def _lead(account: CrmAccount, record: Record) -> Record:
    keys = ("custom_fields", "is_deleted", "planted")
    row = {key: value for key, value in record.items() if key not in keys}
    number = record["id"]
    mailbox = f"{account.company_domain}+{account.company_id}+lead{number}"
    return row | {
        "id": printed_id(ENTITIES["leads"], number),
        "visible_to": str(record["visible_to"]),
        "archive_time": millisecond_time(record["archive_time"]),
        "add_time": millisecond_time(record["add_time"]),
        "update_time": millisecond_time(record["update_time"]),
        "cc_email": f"{mailbox}@pipedrivemail.example",
        **v1_custom(account.fields["deals"], record["custom_fields"]),
    }


def _note(account: CrmAccount, record: Record) -> Record:
    row = {key: value for key, value in record.items() if key not in ("is_deleted", "planted")}
    user = next((user for user in account.users if user["id"] == record["user_id"]), {})
    return row | {
        "add_time": v1_time(record["add_time"]),
        "update_time": v1_time(record["update_time"]),
        "active_flag": not record["is_deleted"],
        "organization": _named(account, "organizations", record["org_id"], "name"),
        "person": _named(account, "persons", record["person_id"], "name"),
        "deal": _named(account, "deals", record["deal_id"], "title"),
        "lead": _named(account, "leads", record["lead_id"], "title"),
        "user": {
            "email": user.get("email"),
            "name": user.get("name"),
            "icon_url": None,
            "is_you": record["user_id"] == account.admin_id,
        },
    }


def _named(account: CrmAccount, entity: str, row_id: Any, key: str) -> Record | None:
    try:
        number = number_of(ENTITIES[entity], row_id)
    except (LookupError, TypeError):
        return None
    record = None if number is None else account.records[entity].get(number)
    return None if record is None else {key: record[key]}


def _activity_type(_: CrmAccount, record: Record) -> Record:
    row = {key: value for key, value in record.items() if key not in ("is_deleted", "planted")}
    times = {key: v1_time(record[key]) for key in ("add_time", "update_time")}
    return row | times | {"active_flag": record["active_flag"] and not record["is_deleted"]}


def _lead_label(_: CrmAccount, record: Record) -> Record:
    return {
        "id": printed_id(ENTITIES["lead_labels"], record["id"]),
        "name": record["name"],
        "color": record["color"],
        "add_time": millisecond_time(record["add_time"]),
        "update_time": millisecond_time(record["update_time"]),
    }


def _lead_source(_: CrmAccount, record: Record) -> Record:
    return {"name": record["name"]}


def _participant(account: CrmAccount, record: Record) -> Record:
    person = account.records["persons"].get(record["person_id"])
    return {
        "id": record["id"],
        "person_id": {
            "active_flag": person is not None and not person["is_deleted"],
            "name": person and person["name"],
            "email": person and person["emails"],
            "phone": person and person["phones"],
            "owner_id": person and person["owner_id"],
            "value": record["person_id"],
        },
        "add_time": v1_time(record["add_time"]),
        "active_flag": not record["is_deleted"],
        "related_item_data": {"deal_id": record["deal_id"]},
        "added_by_user_id": {"id": record["added_by_user_id"], "value": record["added_by_user_id"]},
        "related_item_type": "deal",
        "related_item_id": record["deal_id"],
    }


V1_ROWS: dict[str, Callable[[CrmAccount, Record], Record]] = {
    "leads": _lead,
    "lead_labels": _lead_label,
    "lead_sources": _lead_source,
    "notes": _note,
    "activity_types": _activity_type,
    "deal_participants": _participant,
}
