"""JSON schemas of deals and of all that belongs to sales, written from the API contract alone."""

from __future__ import annotations

from pipedrive_pipeline_tests.sandbox.schemas import (
    ADDRESS,
    CLOCK,
    CONTACT,
    CUSTOM_VALUES,
    DATE,
    FLAG,
    ID,
    NUMBER,
    TEXT,
    V1_TIME,
    V2_TIME,
    WHOLE,
    Schema,
    listed,
    maybe,
    thing,
)

UUID: Schema = {"type": "string", "pattern": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
MILLISECONDS: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100}
VISIBLE: Schema = {"enum": [1, 3, 5, 7]}
BILLING: Schema = {
    "enum": ["one-time", "annually", "semi-annually", "quarterly", "monthly", "weekly"]
}
_STAMPS: Schema = {"add_time": V2_TIME, "update_time": maybe(V2_TIME)}
PIPELINE = thing(
    {
        "id": ID,
        "name": TEXT,
        "order_nr": WHOLE,
        "is_deleted": FLAG,
        "is_deal_probability_enabled": FLAG,
        **_STAMPS,
    }
)
STAGE = thing(
    {
        "id": ID,
        "order_nr": WHOLE,
        "name": TEXT,
        "is_deleted": FLAG,
        "deal_probability": PERCENT,
        "pipeline_id": ID,
        "is_deal_rot_enabled": FLAG,
        "days_to_rotten": maybe(ID),
        **_STAMPS,
    }
)
DEAL_KEYS: Schema = {
    "id": ID,
    "title": TEXT,
    "creator_user_id": ID,
    "owner_id": ID,
    "person_id": maybe(ID),
    "org_id": maybe(ID),
    "pipeline_id": ID,
    "stage_id": ID,
    "value": NUMBER,
    "currency": CURRENCY,
    **_STAMPS,
    "stage_change_time": maybe(V2_TIME),
    "status": {"enum": ["open", "won", "lost", "deleted"]},
    "is_deleted": FLAG,
    "is_archived": FLAG,
    "archive_time": maybe(V2_TIME),
    "probability": maybe(PERCENT),
    "lost_reason": maybe(TEXT),
    "visible_to": VISIBLE,
    "close_time": maybe(V2_TIME),
    "won_time": maybe(V2_TIME),
    "lost_time": maybe(V2_TIME),
    "local_won_date": maybe(DATE),
    "local_lost_date": maybe(DATE),
    "local_close_date": maybe(DATE),
    "expected_close_date": maybe(DATE),
    "label_ids": listed(ID),
    "origin": TEXT,
    "origin_id": maybe(TEXT),
    "channel": maybe(ID),
    "channel_id": maybe(TEXT),
}
DEAL_MORE: Schema = {
    "first_won_time": maybe(V2_TIME),
    "source_lead_id": maybe(UUID),
    "products_count": WHOLE,
    "participants_count": WHOLE,
    "activities_count": WHOLE,
    "arr": maybe(NUMBER),
    "mrr": maybe(NUMBER),
    "acv": maybe(NUMBER),
    "labels": listed(thing({"id": ID, "label": maybe(TEXT)})),
}
DEAL_PRODUCT = thing(
    {
        "id": ID,
        "deal_id": ID,
        "product_id": maybe(ID),
        "product_variation_id": maybe(ID),
        "name": maybe(TEXT),
        "order_nr": maybe(WHOLE),
        "item_price": NUMBER,
        "quantity": NUMBER,
        "discount": NUMBER,
        "discount_type": {"enum": ["percentage", "amount"]},
        "sum": NUMBER,
        "currency": CURRENCY,
        "tax": NUMBER,
        "tax_method": {"enum": ["exclusive", "inclusive", "none"]},
        "is_enabled": FLAG,
        "comments": TEXT,
        "billing_frequency": BILLING,
        "billing_frequency_cycles": maybe(ID),
        "billing_start_date": maybe(DATE),
        "add_time": V2_TIME,
        "update_time": V2_TIME,
    }
)
_PRICE: Schema = {
    "price": NUMBER,
    "currency": maybe(CURRENCY),
    "cost": NUMBER,
    "direct_cost": maybe(NUMBER),
    "notes": TEXT,
}
PRODUCT_KEYS: Schema = {
    "id": ID,
    "name": TEXT,
    "code": maybe(TEXT),
    "description": maybe(TEXT),
    "unit": maybe(TEXT),
    "tax": NUMBER,
    "category": maybe({"type": "string", "pattern": r"^\d+$"}),
    "is_linkable": FLAG,
    "is_deleted": FLAG,
    "visible_to": VISIBLE,
    "owner_id": ID,
    "add_time": V2_TIME,
    "update_time": V2_TIME,
    "billing_frequency": BILLING,
    "billing_frequency_cycles": maybe(ID),
    "prices": listed(thing({"product_id": maybe(ID), **_PRICE})),
}
PRODUCT_VARIATION = thing(
    {
        "id": ID,
        "name": TEXT,
        "product_id": ID,
        "prices": listed(thing({"product_variation_id": ID, **_PRICE})),
    }
)
ATTENDEE = thing(
    {"email": TEXT},
    {
        "name": maybe(TEXT),
        "status": maybe(TEXT),
        "is_organizer": maybe(FLAG),
        "person_id": maybe(ID),
        "user_id": maybe(ID),
    },
)
ACTIVITY = thing(
    {
        "id": ID,
        "subject": TEXT,
        "type": TEXT,
        "owner_id": ID,
        "creator_user_id": ID,
        "is_deleted": FLAG,
        **_STAMPS,
        "deal_id": maybe(ID),
        "lead_id": maybe(UUID),
        "person_id": maybe(ID),
        "org_id": maybe(ID),
        "project_id": maybe(ID),
        "due_date": maybe(DATE),
        "due_time": maybe(CLOCK),
        "duration": maybe(CLOCK),
        "busy": FLAG,
        "done": FLAG,
        "marked_as_done_time": maybe(V2_TIME),
        "location": maybe(ADDRESS),
        "participants": listed(thing({"person_id": ID, "primary": FLAG})),
        "conference_meeting_client": maybe(TEXT),
        "conference_meeting_url": maybe(TEXT),
        "conference_meeting_id": maybe(TEXT),
        "public_description": TEXT,
        "priority": maybe(ID),
        "outcome": maybe(ID),
        "note": maybe(TEXT),
    },
    {"attendees": listed(ATTENDEE)},
)
ACTIVITY_TYPE = thing(
    {
        "id": ID,
        "name": TEXT,
        "key_string": TEXT,
        "icon_key": TEXT,
        "color": maybe({"type": "string", "pattern": "^[0-9A-F]{6}$"}),
        "order_nr": WHOLE,
        "active_flag": FLAG,
        "is_custom_flag": FLAG,
        "add_time": V1_TIME,
        "update_time": maybe(V1_TIME),
    }
)
_TITLE, _NAME = maybe(thing({"title": TEXT})), maybe(thing({"name": TEXT}))
NOTE = thing(
    {
        "id": ID,
        "user_id": ID,
        "deal_id": maybe(ID),
        "person_id": maybe(ID),
        "org_id": maybe(ID),
        "lead_id": maybe(UUID),
        "project_id": maybe(ID),
        "task_id": maybe(ID),
        "content": TEXT,
        "add_time": V1_TIME,
        "update_time": V1_TIME,
        "active_flag": FLAG,
        **{
            f"pinned_to_{target}_flag": FLAG
            for target in ("deal", "person", "organization", "lead", "project", "task")
        },
        "last_update_user_id": maybe(ID),
        "organization": _NAME,
        "person": _NAME,
        "deal": _TITLE,
        "lead": _TITLE,
        "user": thing({"email": TEXT, "name": TEXT, "icon_url": maybe(TEXT), "is_you": FLAG}),
    }
)
LEAD_KEYS: Schema = {
    "id": UUID,
    "title": TEXT,
    "owner_id": ID,
    "creator_id": ID,
    "label_ids": listed(UUID),
    "person_id": maybe(ID),
    "organization_id": maybe(ID),
    "value": maybe(thing({"amount": NUMBER, "currency": CURRENCY})),
    "expected_close_date": maybe(DATE),
    "is_archived": FLAG,
    "archive_time": maybe(MILLISECONDS),
    "source_name": TEXT,
    "source_deal_id": maybe(ID),
    "origin": TEXT,
    "origin_id": maybe(TEXT),
    "channel": maybe(ID),
    "channel_id": maybe(TEXT),
    "was_seen": FLAG,
    "next_activity_id": maybe(ID),
    "add_time": MILLISECONDS,
    "update_time": MILLISECONDS,
    "visible_to": {"enum": ["1", "3", "5", "7"]},
    "cc_email": TEXT,
}
LEAD_LABEL = thing(
    {
        "id": UUID,
        "name": TEXT,
        "color": {
            "enum": [
                "blue", "brown", "dark-gray", "gray", "green", "orange", "pink", "purple", "red",
                "yellow",
            ]
        },
        "add_time": MILLISECONDS,
        "update_time": MILLISECONDS,
    }
)  # fmt: skip
LEAD_SOURCE = thing({"name": TEXT})
PARTICIPANT = thing(
    {
        "id": ID,
        "person_id": thing(
            {
                "active_flag": FLAG,
                "name": TEXT,
                "email": listed(CONTACT),
                "phone": listed(CONTACT),
                "owner_id": ID,
                "value": ID,
            }
        ),
        "add_time": V1_TIME,
        "active_flag": FLAG,
        "related_item_data": {"type": "object"},
        "added_by_user_id": {"type": "object"},
        "related_item_type": {"const": "deal"},
        "related_item_id": ID,
    }
)
CHANGE = thing(
    {
        "field_key": TEXT,
        "old_value": maybe(TEXT),
        "new_value": maybe(TEXT),
        "actor_user_id": ID,
        "time": V1_TIME,
        "change_source": maybe(TEXT),
        "change_source_user_agent": maybe(TEXT),
        "is_bulk_update_flag": FLAG,
    }
)
CONVERSION = thing(
    {"conversion_id": UUID},
    {
        "status": {"enum": ["not_started", "running", "completed", "failed", "rejected"]},
        "deal_id": ID,
        "lead_id": UUID,
    },
)
_PLAIN: dict[str, Schema] = {
    "pipelines": PIPELINE,
    "stages": STAGE,
    "deal_products": DEAL_PRODUCT,
    "deal_participants": PARTICIPANT,
    "product_variations": PRODUCT_VARIATION,
    "activities": ACTIVITY,
    "activity_types": ACTIVITY_TYPE,
    "notes": NOTE,
    "lead_labels": LEAD_LABEL,
    "lead_sources": LEAD_SOURCE,
}
V1_CUSTOM: dict[str, Schema] = {  # values at the root of a lead; the parts of objects have own keys
    **dict.fromkeys(CUSTOM_VALUES, TEXT),
    "double": NUMBER,
    "monetary": NUMBER,
    "enum": {"type": "string", "pattern": r"^\d+$"},
    "set": {"type": "string", "pattern": r"^\d+(,\d+)*$"},
    "user": ID,
    "org": ID,
    "people": ID,
}


def record(entity: str, types: dict[str, str]) -> Schema:
    """A record of sales with the custom fields of an account."""
    custom = thing({code: maybe(CUSTOM_VALUES[kind]) for code, kind in types.items()})
    if entity == "deals":
        return thing({**DEAL_KEYS, "custom_fields": custom}, DEAL_MORE)
    if entity == "products":
        return thing({**PRODUCT_KEYS, "custom_fields": custom})
    if entity == "leads":
        keys = {code: V1_CUSTOM[kind] for code, kind in types.items()}
        schema = thing(LEAD_KEYS, keys)
        parts: Schema = {rf"^({'|'.join(types)})_[a-z0-9_]+$": {}} if types else {}
        return schema | {"patternProperties": parts}
    return _PLAIN[entity]
