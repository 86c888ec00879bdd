"""JSON schemas of answers, written from the API contract and from nothing else.

What belongs here: what a documented answer must look like. What does not: what the sandbox does.
"""

from __future__ import annotations

from typing import Any

import jsonschema

Schema = dict[str, Any]


def check(body: Any, schema: Schema) -> None:
    """Fails with the first place where a body is not as documented."""
    jsonschema.Draft202012Validator(schema).validate(body)


def thing(required: Schema, optional: Schema | None = None, *, is_open: bool = False) -> Schema:
    """An object with keys that must and keys that may be there."""
    return {
        "type": "object",
        "required": sorted(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": is_open,
    }


def listed(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """A value or null."""
    return {"anyOf": [schema, {"type": "null"}]}


WHOLE: Schema = {"type": "integer"}
ID: Schema = {"type": "integer", "minimum": 1}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NOTHING: Schema = {"type": "null"}
V2_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
V1_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"}
DATE: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
CLOCK: Schema = {"type": "string", "pattern": r"^\d\d:\d\d:\d\d$"}
PARTS = (
    "country", "admin_area_level_1", "admin_area_level_2", "locality", "sublocality", "route",
    "street_number", "subpremise", "postal_code",
)  # fmt: skip
ADDRESS = thing(
    {"value": TEXT, **dict.fromkeys(PARTS, maybe(TEXT))}, {"formatted_address": maybe(TEXT)}
)
CONTACT = thing({"value": TEXT, "primary": FLAG, "label": TEXT})
ZONE: Schema = {"timezone_id": maybe(WHOLE), "timezone_name": maybe(TEXT)}
CUSTOM_VALUES: dict[str, Schema] = {
    "varchar": TEXT,
    "varchar_auto": TEXT,
    "text": TEXT,
    "phone": TEXT,
    "double": NUMBER,
    "monetary": thing({"value": NUMBER, "currency": TEXT}),
    "enum": ID,
    "set": listed(ID),
    "user": ID,
    "org": ID,
    "people": ID,
    "date": DATE,
    "daterange": thing({"value": DATE, "until": DATE}),
    "time": thing({"value": CLOCK, **ZONE}),
    "timerange": thing({"value": CLOCK, "until": CLOCK, **ZONE}),
    "address": ADDRESS,
}
_RECORD: Schema = {
    "id": ID,
    "name": TEXT,
    "owner_id": ID,
    "add_time": V2_TIME,
    "update_time": maybe(V2_TIME),  # null in the answer to a create
    "is_deleted": FLAG,
    "visible_to": {"enum": [1, 3, 5, 7]},
    "label_ids": listed(ID),
}
ORGANIZATION_KEYS: Schema = {**_RECORD, "address": maybe(ADDRESS)}
ORGANIZATION_MORE: Schema = {
    "website": maybe(TEXT),
    "linkedin": maybe(TEXT),
    "industry": maybe(ID),
    "annual_revenue": maybe(WHOLE),
    "employee_count": maybe(WHOLE),
    "picture_id": maybe(ID),
}
PERSON_KEYS: Schema = {
    **_RECORD,
    "first_name": maybe(TEXT),
    "last_name": maybe(TEXT),
    "org_id": maybe(ID),
    "emails": listed(CONTACT),
    "phones": listed(CONTACT),
    "picture_id": maybe(ID),
}
PERSON_MORE: Schema = {  # what is unset of these is left out, and only an address may be null
    "postal_address": maybe(ADDRESS),
    "notes": TEXT,
    "im": listed(CONTACT),
    "birthday": DATE,
    "job_title": TEXT,
}
NEVER_NULL: Schema = {"first_name": TEXT, "last_name": TEXT, "org_id": ID}


def record(entity: str, types: dict[str, str], *, shows_unset: bool = True) -> Schema:
    """A record with the custom fields of an account, each null or a value of its type.

    With ``shows_unset=False`` a person that has no organization or no parts of a name lacks those
    keys, as the vendor's own document has it; otherwise they are null.
    """
    custom = thing({code: maybe(CUSTOM_VALUES[kind]) for code, kind in types.items()})
    if entity == "organizations":
        return thing({**ORGANIZATION_KEYS, "custom_fields": custom}, ORGANIZATION_MORE)
    if shows_unset:
        return thing({**PERSON_KEYS, "custom_fields": custom}, PERSON_MORE)
    always = {key: kind for key, kind in PERSON_KEYS.items() if key not in NEVER_NULL}
    return thing({**always, "custom_fields": custom}, PERSON_MORE | NEVER_NULL)


def single(schema: Schema, additional: Schema | None = None) -> Schema:
    """A success with one result."""
    return thing({"success": {"const": True}, "data": schema}, additional)


def v2_page(items: Schema) -> Schema:
    """A success with a v2 list."""
    cursor = thing({"next_cursor": maybe(TEXT)})
    return thing({"success": {"const": True}, "data": listed(items), "additional_data": cursor})


def v1_page(items: Schema) -> Schema:
    """A success with a v1 list."""
    pagination = thing(
        {"start": WHOLE, "limit": WHOLE, "more_items_in_collection": FLAG}, {"next_start": WHOLE}
    )
    additional = thing({"pagination": pagination})
    return thing({"success": {"const": True}, "data": listed(items), "additional_data": additional})


V1_FIELD_TYPES = (
    "address", "date", "daterange", "double", "enum", "monetary", "org", "people", "phone", "set",
    "text", "time", "timerange", "user", "varchar", "varchar_auto", "visible_to",
    "billing_frequency", "boolean", "deal", "lead", "price_list", "stage", "status",
    "varchar_options",
)  # fmt: skip
V2_FIELD_TYPES = (
    *V1_FIELD_TYPES, "activity", "deals", "int", "json", "picture", "project", "projects_board",
    "projects_phase",
)  # fmt: skip
DIALOG = thing({"show": FLAG, "order": maybe(WHOLE)})
V2_FIELD = thing(
    {
        "field_name": TEXT,
        "field_code": TEXT,
        "field_type": {"enum": list(V2_FIELD_TYPES)},
        "options": maybe(
            listed(
                thing(
                    {"id": {"type": ["integer", "string"]}, "label": TEXT},
                    {
                        "color": maybe(TEXT),
                        "add_time": maybe(V2_TIME),
                        "update_time": maybe(V2_TIME),
                    },
                )
            )
        ),
        "subfields": maybe(
            listed(thing({"field_code": TEXT, "field_name": TEXT, "field_type": TEXT}))
        ),
        "is_custom_field": FLAG,
        "is_optional_response_field": FLAG,
    },
    {
        "description": maybe(TEXT),
        "is_writable": FLAG,
        "ui_visibility": thing(
            {
                "add_visible_flag": FLAG,
                "details_visible_flag": FLAG,
                "show_in_add_deal_dialog": DIALOG,
            },
            {"show_in_add_person_dialog": DIALOG},
        ),
        "important_fields": thing({"enabled": FLAG, "stage_ids": listed(WHOLE)}),
        "required_fields": thing({"enabled": FLAG}),
    },
)
OPTIONS = listed(thing({"id": ID, "label": TEXT}))
V1_OPTIONS = listed(thing({"id": {"type": ["integer", "string"]}, "label": TEXT}))
TOUCHED_OPTIONS = thing({"success": {"const": True}, "data": OPTIONS, "additional_data": NOTHING})
V1_FIELD = thing(
    {
        "id": maybe(ID),
        "key": TEXT,
        "name": TEXT,
        "order_nr": WHOLE,
        "field_type": {"enum": list(V1_FIELD_TYPES)},
        "add_time": V1_TIME,
        "update_time": maybe(V1_TIME),
        "created_by_user_id": maybe(ID),
        "last_updated_by_user_id": maybe(ID),
        "active_flag": FLAG,
        "edit_flag": FLAG,
        "index_visible_flag": FLAG,
        "details_visible_flag": FLAG,
        "add_visible_flag": FLAG,
        "important_flag": FLAG,
        "bulk_edit_allowed": FLAG,
        "searchable_flag": FLAG,
        "filtering_allowed": FLAG,
        "sortable_flag": FLAG,
        "mandatory_flag": FLAG,
        "options": maybe(V1_OPTIONS),
    },
    {
        "json_column_flag": FLAG,
        "options_deleted": OPTIONS,
        "is_subfield": {"const": True},
        "subfields": listed({"type": "object"}),
    },
)
APPS = ("global", "sales", "campaigns", "projects", "account_settings", "partnership")
USER_KEYS: Schema = {
    "id": ID,
    "name": TEXT,
    "email": TEXT,
    "phone": maybe(TEXT),
    "default_currency": TEXT,
    "locale": TEXT,
    "lang": WHOLE,
    "activated": FLAG,
    "active_flag": FLAG,
    "is_deleted": FLAG,
    "last_login": V1_TIME,
    "created": V1_TIME,
    "modified": maybe(V1_TIME),
    "has_created_company": FLAG,
    "access": listed(
        thing({"app": {"enum": list(APPS)}, "admin": FLAG, "permission_set_id": TEXT})
    ),
    "timezone_name": TEXT,
    "timezone_offset": TEXT,
    "role_id": ID,
    "icon_url": maybe(TEXT),
    "is_you": FLAG,
}
ME = thing(
    {
        **USER_KEYS,
        "company_id": ID,
        "company_name": TEXT,
        "company_domain": TEXT,
        "company_country": TEXT,
        "company_industry": TEXT,
        "language": thing({"language_code": TEXT, "country_code": TEXT}),
    }
)
_ITEM: Schema = {
    "id": ID,
    "type": TEXT,
    "name": TEXT,
    "visible_to": WHOLE,
    "owner": thing({"id": ID}),
    "custom_fields": listed(TEXT),
    "notes": listed(TEXT),
}
_COMPANY = thing({"id": ID, "name": TEXT, "address": maybe(TEXT)})
SEARCH_ITEMS: dict[str, Schema] = {
    "organizations": thing({**_ITEM, "address": maybe(TEXT)}),
    "persons": thing(
        {
            **_ITEM,
            "phones": listed(TEXT),
            "emails": listed(TEXT),
            "organization": maybe(_COMPANY),
        },
        {"primary_email": maybe(TEXT)},
    ),
}
TOKENS = thing(
    {
        "access_token": TEXT,
        "token_type": {"enum": ["Bearer", "bearer"]},
        "expires_in": WHOLE,
        "refresh_token": TEXT,
        "scope": {"type": "string", "pattern": r"^[a-z:-]+(,[a-z:-]+)*$"},
        "api_domain": {"type": "string", "pattern": r"^https?://[^/]+$"},
    }
)
TOKEN_ERROR = thing({"success": {"const": False}, "message": TEXT, "error": TEXT})
GATEWAY_ERROR = thing(
    {"success": {"const": False}, "error": TEXT, "errorCode": WHOLE, "error_info": TEXT}
)
SERVICE_ERROR = thing(
    {
        "success": {"const": False},
        "error": TEXT,
        "error_info": TEXT,
        "data": NOTHING,
        "additional_data": NOTHING,
    },
    {"code": TEXT, "field_code": TEXT},
)

MILLISECOND_TIME: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
}
WEBHOOK = thing(
    {
        "id": ID,
        "company_id": ID,
        "owner_id": ID,
        "user_id": ID,
        "event_action": TEXT,
        "event_object": TEXT,
        "subscription_url": TEXT,
        "version": {"const": "2.0"},
        "is_active": {"enum": [0, 1]},
        "add_time": MILLISECOND_TIME,
        "remove_time": maybe(MILLISECOND_TIME),
        "type": {"enum": ["general", "application", "automation"]},
        "http_auth_user": maybe(TEXT),
        "http_auth_password": maybe(TEXT),
        "remove_reason": maybe(TEXT),
        "last_delivery_time": maybe(MILLISECOND_TIME),
        "last_http_status": maybe(WHOLE),
        "admin_id": ID,
        "name": TEXT,
    }
)
_OK: Schema = {"status": {"const": "ok"}, "success": {"const": True}}
WEBHOOK_LIST = thing({**_OK, "data": listed(WEBHOOK)})
WEBHOOK_MADE = thing({**_OK, "data": WEBHOOK})
WEBHOOK_DELETED = thing(_OK)
_FAILED: Schema = {"status": {"const": "error"}, "success": {"const": False}}
_REASONS: Schema = {"type": "object", "additionalProperties": listed(TEXT), "minProperties": 1}
WEBHOOK_ERROR: Schema = {
    "anyOf": [
        thing({**_FAILED, "errors": _REASONS}),
        thing({"success": {"const": False}, "message": {"const": "Forbidden"}}),
        SERVICE_ERROR,
    ]
}


def search_page(entity: str) -> Schema:
    """A success of a search."""
    item = thing({"result_score": NUMBER, "item": SEARCH_ITEMS[entity]})
    cursor = thing({"next_cursor": maybe(TEXT)})
    data = thing({"items": listed(item)})
    return thing({"success": {"const": True}, "data": data, "additional_data": cursor})
