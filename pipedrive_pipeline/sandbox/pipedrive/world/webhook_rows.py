"""Records as webhooks of version 2 print them: names and forms of their own.

Custom fields have a third form there, and the keys of a record differ from those of v2 and v1.

Source: https://pipedrive.readme.io/docs/guide-for-webhooks-v2 (read 2026-11), its example of each
object; of lines of deals it has none, so they have the keys of v2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipedrive_pipeline.sandbox.pipedrive.world.fields import SUBFIELDS, FieldBook
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.v1_rows import millisecond_time

if TYPE_CHECKING:
    from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount

Record = dict[str, Any]
STAMPS = ("add_time", "update_time")
ZONE_ID = 280  # Europe/Berlin
OBJECTS = {  # kind of record -> its name in events
    "activities": "activity",
    "deals": "deal",
    "deal_products": "deal_product",
    "leads": "lead",
    "notes": "note",
    "organizations": "organization",
    "persons": "person",
    "pipelines": "pipeline",
    "products": "product",
    "stages": "stage",
    "users": "user",
}
DEAL_KEYS = (
    "id", "title", "channel", "channel_id", "close_time", "creator_user_id", "currency",
    "expected_close_date", "first_won_time", "label_ids", "lost_reason", "lost_time", "org_id",
    "origin", "origin_id", "owner_id", "person_id", "pipeline_id", "probability",
    "stage_change_time", "stage_id", "status", "value", "won_time", *STAMPS,
)  # fmt: skip
LEAD_KEYS = (
    "title", "owner_id", "creator_id", "label_ids", "value", "expected_close_date", "person_id",
    "organization_id", "is_archived", "source_name", "origin", "origin_id", "channel",
    "channel_id", "was_seen", "next_activity_id",
)  # fmt: skip
NOTE_KEYS = (
    "id", "user_id", "deal_id", "person_id", "org_id", "lead_id", "project_id", "content",
    "pinned_to_deal_flag", "pinned_to_person_flag", "pinned_to_organization_flag", *STAMPS,
)  # fmt: skip
ACTIVITY_KEYS = (
    "id", "subject", "type", "owner_id", "done", "due_date", "deal_id", "lead_id", "person_id",
    "org_id", "location", "public_description", *STAMPS,
)  # fmt: skip
PRODUCT_KEYS = (
    "id", "name", "code", "description", "unit", "tax", "category", "owner_id", "prices", *STAMPS,
)  # fmt: skip
USER_KEYS = (
    "name", "email", "phone", "default_currency", "locale", "active_flag", "last_login",
    "timezone_name", "icon_url", "created", "modified",
)  # fmt: skip
REFERENCES = ("people", "org", "user", "enum")
ZONED = ("time", "timerange")
RANGES = ("timerange", "daterange")


def custom_value(kind: str, value: Any) -> Any:
    """One custom value in the form of webhooks; null for one that is not set."""
    if value is None:
        return None
    if kind in REFERENCES:
        return {"type": kind, "id": value}
    if kind == "set":
        return {"type": kind, "values": [{"id": each} for each in value]}
    if kind not in SUBFIELDS or not isinstance(value, dict):
        return {"type": kind, "value": value}
    row = {"type": kind, **{part: value.get(part) for part in SUBFIELDS[kind]}}
    row.pop("timezone_name", None)
    if kind in RANGES:
        row = {"type": kind, "from": row.pop("value"), **row}
    return {key: item or "" for key, item in row.items()} if kind == "address" else row


def _custom(account: CrmAccount, entity: str, record: Record) -> Record:
    book: FieldBook = account.fields[ENTITIES[entity].fields_of or entity]
    values = book.live_values(record.get("custom_fields", {}))
    types = {field.code: field.type for field in book}
    return {code: custom_value(types[code], value) for code, value in values.items()}


def _picked(record: Record, keys: tuple[str, ...]) -> Record:
    return {key: record[key] for key in keys}


def _label(record: Record) -> int | None:
    """The first label: webhooks know one alone."""
    return next(iter(record["label_ids"]), None)


def _deal(account: CrmAccount, record: Record) -> Record:
    return _picked(record, DEAL_KEYS) | {
        "status": "deleted" if record["is_deleted"] else record["status"],
        "visible_to": str(record["visible_to"]),
        "custom_fields": _custom(account, "deals", record),
    }


def _person(account: CrmAccount, record: Record) -> Record:
    keys = ("id", "name", "first_name", "last_name", "emails", "phones", "org_id", "owner_id")
    return _picked(record, (*keys, *STAMPS)) | {
        "label": _label(record),
        "visible_to": str(record["visible_to"]),
        "custom_fields": _custom(account, "persons", record),
    }


def _organization(account: CrmAccount, record: Record) -> Record:
    return _picked(record, ("id", "name", "address", "owner_id", "picture_id", *STAMPS)) | {
        "country_code": None,
        "label": _label(record),
        "visible_to": str(record["visible_to"]),
        "custom_fields": _custom(account, "organizations", record),
    }


def _activity(account: CrmAccount, record: Record) -> Record:
    return _picked(record, ACTIVITY_KEYS) | {
        "update_user_id": None,
        "due_time": _clock(record["due_time"]),
        "duration": _clock(record["duration"]),
        "busy_flag": record["busy"],
        "active_flag": True,
        "custom_fields": _custom(account, "activities", record),
    }


def _clock(value: Any) -> Record | None:
    return None if value is None else {"timezone_id": ZONE_ID, "value": value}


def _lead(account: CrmAccount, record: Record) -> Record:
    return _picked(record, LEAD_KEYS) | {
        "id": printed_id(ENTITIES["leads"], record["id"]),
        "custom_fields": _custom(account, "leads", record),
        **{key: millisecond_time(record[key]) for key in STAMPS},
    }


def _note(_: CrmAccount, record: Record) -> Record:
    return _picked(record, NOTE_KEYS) | {"active_flag": not record["is_deleted"]}


def _product(account: CrmAccount, record: Record) -> Record:
    return _picked(record, PRODUCT_KEYS) | {
        "selectable": record["is_linkable"],
        "visible_to": str(record["visible_to"]),
        "custom_fields": _custom(account, "products", record),
    }


def _pipeline(_: CrmAccount, record: Record) -> Record:
    return _picked(record, ("id", "name", "order_nr", *STAMPS)) | {
        "url_title": "default",
        "active_flag": True,
        "deal_probability": record["is_deal_probability_enabled"],
    }


def _stage(_: CrmAccount, record: Record) -> Record:
    return _picked(
        record, ("id", "name", "pipeline_id", "order_nr", "deal_probability", *STAMPS)
    ) | {
        "rotten_flag": record["is_deal_rot_enabled"],
        "rotten_days": record["days_to_rotten"],
        "active_flag": True,
    }


def _user(_: CrmAccount, record: Record) -> Record:
    return _picked(record, USER_KEYS) | {
        "id": str(record["id"]),
        "lang": str(record["locale"]).replace("_", "-"),
        "access": None,
    }


def _line(account: CrmAccount, record: Record) -> Record:
    return account.views["deal_products"].row(record)


WEBHOOK_ROWS: dict[str, Callable[[CrmAccount, Record], Record]] = {
    "activities": _activity,
    "deals": _deal,
    "deal_products": _line,
    "leads": _lead,
    "notes": _note,
    "organizations": _organization,
    "persons": _person,
    "pipelines": _pipeline,
    "products": _product,
    "stages": _stage,
    "users": _user,
}
