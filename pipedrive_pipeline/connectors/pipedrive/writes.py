"""What can be written in Pipedrive: the operations of each mart, as data.

A deal is won, lost and reopened by its status. A line belongs to the list of its deal. Notes and
leads are served by v1 only: notes are changed by PUT, amounts of leads are objects, and a lead
keeps an id of ours (``origin_id``), the only marker that Pipedrive has.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08), and reports of users on what a PATCH resets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal

from pipedrive_pipeline.connectors.writing import Body, Operation, Row, Verb, WriteField, WriteSpec

V2_TOKENS: Final = {"create": 5, "update": 5, "delete": 3}
V1_TOKENS: Final = {"create": 10, "update": 10, "delete": 6}
CONTACTS: Final = ("contacts:full",)
DEALS: Final = ("deals:full",)
LEADS: Final = ("leads:full",)
ADMIN: Final = ("admin",)
VISIBILITIES: Final = MappingProxyType({str(number): number for number in (1, 3, 5, 7)})
FREQUENCIES: Final = MappingProxyType(
    {
        name: name
        for name in ("one-time", "annually", "semi-annually", "quarterly", "monthly", "weekly")
    }
)
PERCENT: Final = (0, 100)
NAME_LENGTH: Final = 255  # characters

OWNER = WriteField("owner_id", "owner_id", "reference", refers_to="users", is_nullable=False)
VISIBLE_TO = WriteField("visible_to", "visible_to", choices=VISIBILITIES, is_nullable=False)
CUSTOMER = WriteField("customer_id", "org_id", "reference", refers_to="customers")
CONTACT = WriteField("contact_id", "person_id", "reference", refers_to="contacts")
DEAL = WriteField("deal_id", "deal_id", "reference", refers_to="deals")
LEAD = WriteField("lead_id", "lead_id", "reference", refers_to="leads")
LABELS = WriteField("labels", "label_ids", "options", options_of="label_ids")
CLOSE_DATE = WriteField("expected_close_date", "expected_close_date", "day")
IS_ARCHIVED = WriteField("is_archived", "is_archived", "boolean", is_nullable=False)
BILLING = (
    WriteField("billing_frequency", "billing_frequency", choices=FREQUENCIES, is_nullable=False),
    WriteField("billing_cycles", "billing_frequency_cycles", "whole", range=(1, 208)),
)


def _name(key: str, column: str = "name") -> WriteField:
    return WriteField(column, key, length_max=NAME_LENGTH, is_nullable=False)


CUSTOMER_FIELDS = (
    _name("name"),
    OWNER,
    WriteField("address", "address", "address"),
    WriteField("website", "website"),
    WriteField("industry", "industry", "option", options_of="industry"),
    WriteField("annual_revenue", "annual_revenue", "whole"),
    WriteField("employee_count", "employee_count", "whole", range=(0, 2**31 - 1)),
    LABELS,
    VISIBLE_TO,
)
CONTACT_FIELDS = (
    _name("name"),
    WriteField("first_name", "first_name"),
    WriteField("last_name", "last_name"),
    WriteField("emails", "emails", "points", is_nullable=False),
    WriteField("phones", "phones", "points", is_nullable=False),
    CUSTOMER,
    OWNER,
    WriteField("job_title", "job_title", is_nullable=False),
    LABELS,
    VISIBLE_TO,
)
PIPELINE_FIELDS = (
    _name("name"),
    WriteField("probability_used", "is_deal_probability_enabled", "boolean", is_nullable=False),
)
STAGE_FIELDS = (
    _name("name"),
    WriteField("pipeline_id", "pipeline_id", "reference", refers_to="pipelines", is_nullable=False),
    WriteField("probability", "deal_probability", "number", range=PERCENT, is_nullable=False),
    WriteField("rotten_after_days", "days_to_rotten", "whole", range=(1, 10_000)),
)
STATUS = WriteField(
    "status",
    "status",
    choices=MappingProxyType({"open": "open", "won": "won", "lost": "lost"}),
    is_nullable=False,
)
DEAL_FIELDS = (
    _name("title"),
    WriteField("amount", "value", "number", is_nullable=False),
    WriteField("currency", "currency", "currency", is_nullable=False),
    STATUS,
    WriteField("probability", "probability", "number", range=PERCENT, is_nullable=False),
    WriteField("lost_reason", "lost_reason", is_nullable=False),
    CUSTOMER,
    CONTACT,
    OWNER,
    WriteField("pipeline_id", "pipeline_id", "reference", refers_to="pipelines", is_nullable=False),
    WriteField("stage_id", "stage_id", "reference", refers_to="stages", is_nullable=False),
    replace(CLOSE_DATE, is_nullable=False),  # null is answered 400 by v2
    LABELS,
    VISIBLE_TO,
    IS_ARCHIVED,
)
LINE_FIELDS = (
    WriteField("product_id", "product_id", "reference", refers_to="products", is_nullable=False),
    WriteField("quantity", "quantity", "number", is_nullable=False),
    WriteField("unit_price", "item_price", "number", is_nullable=False),
    WriteField("discount", "discount", "number", is_nullable=False),
    WriteField(
        "discount_type",
        "discount_type",
        choices=MappingProxyType({"percent": "percentage", "amount": "amount"}),
        is_nullable=False,
    ),
    WriteField("tax", "tax", "number", range=PERCENT, is_nullable=False),
    WriteField(
        "tax_method",
        "tax_method",
        choices=MappingProxyType({name: name for name in ("exclusive", "inclusive", "none")}),
        is_nullable=False,
    ),
    WriteField("is_enabled", "is_enabled", "boolean", is_nullable=False),
    WriteField("comments", "comments", is_nullable=False),
    WriteField("starts_on", "billing_start_date", "day"),
    *BILLING,
)
PRODUCT_FIELDS = (
    _name("name"),
    WriteField("code", "code"),
    WriteField("description", "description"),
    WriteField("unit", "unit"),
    WriteField("tax", "tax", "number", range=PERCENT, is_nullable=False),
    WriteField("category", "category", "option", options_of="category"),
    WriteField("is_active", "is_linkable", "boolean", is_nullable=False),
    WriteField("prices", "prices", "prices", is_nullable=False),
    OWNER,
    VISIBLE_TO,
    *BILLING,
)
ACTIVITY_FIELDS = (
    WriteField("subject", "subject", length_max=NAME_LENGTH, is_nullable=False),
    WriteField(
        "kind",
        "type",
        "option",
        named_by=("activity_types", "key_string", "name"),
        is_nullable=False,
        made_from="remote_kind",
    ),
    WriteField(
        "remote_kind",
        "type",
        "option",
        named_by=("activity_types", "key_string", "name"),
        is_nullable=False,
    ),
    WriteField("due_date", "due_date", "day"),
    WriteField("due_time", "due_time", "clock"),
    WriteField("duration", "duration", "clock"),
    WriteField("done", "done", "boolean", is_nullable=False),
    WriteField("busy", "busy", "boolean", is_nullable=False),
    WriteField("body", "note"),
    WriteField("location", "location", "address"),
    CUSTOMER,
    CONTACT,
    DEAL,
    LEAD,
    OWNER,
)
NOTE_FIELDS = (
    WriteField("body", "content", length_max=100_000, is_nullable=False),
    CUSTOMER,
    CONTACT,
    DEAL,
    LEAD,
)
LEAD_FIELDS = (
    _name("title"),
    replace(CUSTOMER, key="organization_id"),
    CONTACT,
    OWNER,
    WriteField("amount", "value.amount", "number"),
    WriteField("currency", "value.currency", "currency"),
    CLOSE_DATE,
    WriteField("labels", "label_ids", "options", named_by=("lead_labels", "id", "name")),
    replace(VISIBLE_TO, choices=MappingProxyType({name: name for name in VISIBILITIES})),
    IS_ARCHIVED,
)


def named_person(body: Body, _before: Row) -> Body:
    """Gives a person's name from its parts: v2 wants a name, and not both at once."""
    parts = [body.get(key) for key in ("first_name", "last_name")]
    if "name" in body and any(parts):
        return {key: value for key, value in body.items() if key not in {"first_name", "last_name"}}
    return body


def with_participant(body: Body, before: Row) -> Body:
    """Names an activity's person as its participant: ``person_id`` itself was refused to some.

    The person takes the place of the former one; the other participants stay.
    """
    if "person_id" not in body:
        return body
    person_id = body.pop("person_id")
    others = [
        {"person_id": each["person_id"], "primary": False}
        for each in before.get("participants") or []
        if not each.get("primary") and each["person_id"] != person_id
    ]
    people = [] if person_id is None else [{"person_id": person_id, "primary": True}]
    return {**body, "participants": people + others}


def with_whole_value(body: Body, before: Row) -> Body:
    """Completes a lead's amount and currency, which v1 takes only together."""
    value = body.get("value")
    if value is None:
        return body
    whole = {
        "amount": value.get("amount", _plain(before.get("amount"))),
        "currency": value.get("currency", before.get("currency")),
    }
    return {**body, "value": whole if whole["amount"] is not None else None}


def with_rot(body: Body, _before: Row) -> Body:
    """Switches rotting on with a number of days, and off without one."""
    if "days_to_rotten" not in body:
        return body
    return {**body, "is_deal_rot_enabled": body["days_to_rotten"] is not None}


def archived(row: Row, body: Body) -> str | None:
    """Why an archived deal or lead cannot be changed."""
    if row.get("is_archived") and body.get("is_archived", True):
        return "it is archived; set is_archived to false first"
    return None


def custom_value(key: str, kind: str, value: Any) -> Body:
    """A custom field of v2: times, ranges and addresses are objects."""
    if kind in {"time", "address"} and isinstance(value, str):
        return {key: {"value": value}}
    return {key: value}


def custom_value_of_v1(key: str, kind: str, value: Any) -> Body:
    """A custom field of v1: its parts have keys of their own, several options are one text."""
    if kind == "set" and value is not None:
        return {key: ",".join(map(str, value))}
    if isinstance(value, dict):
        return {key if part == "value" else f"{key}_{part}": each for part, each in value.items()}
    return {key: value}


def _plain(number: Any) -> float | int | None:
    if number is None:
        return None
    return int(number) if number == int(number) else float(number)


def _specs(
    mart: str,
    entity: str,
    path: str,
    fields: tuple[WriteField, ...],
    *,
    scopes: tuple[str, ...],
    required: tuple[str, ...] = ("name",),
    tokens: Mapping[str, int] = MappingProxyType(V2_TOKENS),
    updates_by: Literal["PATCH", "PUT"] = "PATCH",
    **more: Any,
) -> Iterator[tuple[Operation, WriteSpec]]:
    """Yields a create, an update and a delete of one mart."""
    created = WriteSpec(
        entity, "POST", path, tokens["create"], fields, required, scopes=scopes, **more
    )
    one = f"{path}/{{id}}"
    changed = replace(
        created,
        method=updates_by,
        path=one,
        tokens=tokens["update"],
        required=(),
        one_of=(),
        marker=None,
    )
    deleted = WriteSpec(
        entity, "DELETE", one, tokens["delete"], scopes=scopes, parent=created.parent
    )
    yield Operation(mart, "create"), replace(created, refusal=lambda _row, _body: None)
    yield Operation(mart, "update"), changed
    yield Operation(mart, "delete"), deleted


def _of_status(verb: Verb, status: str, *columns: WriteField) -> tuple[Operation, WriteSpec]:
    """A change of a deal's status; its stage stays."""
    spec = WriteSpec(
        "deals",
        "PATCH",
        "/api/v2/deals/{id}",
        V2_TOKENS["update"],
        (STATUS, *columns),
        fixed={"status": status},
        refusal=archived,
        scopes=DEALS,
    )
    return Operation("deals", verb), spec


WRITES: Final[Mapping[Operation, WriteSpec]] = MappingProxyType(
    dict(
        (
            *_specs(
                "customers",
                "organizations",
                "/api/v2/organizations",
                CUSTOMER_FIELDS,
                scopes=CONTACTS,
                custom_values="custom_fields",
                custom=custom_value,
            ),
            *_specs(
                "contacts",
                "persons",
                "/api/v2/persons",
                CONTACT_FIELDS,
                scopes=CONTACTS,
                required=(),
                one_of=("name", "first_name", "last_name"),
                custom_values="custom_fields",
                custom=custom_value,
                shape=named_person,
            ),
            *_specs("pipelines", "pipelines", "/api/v2/pipelines", PIPELINE_FIELDS, scopes=ADMIN),
            *_specs(
                "stages",
                "stages",
                "/api/v2/stages",
                STAGE_FIELDS,
                scopes=ADMIN,
                required=("name", "pipeline_id"),
                shape=with_rot,
            ),
            *_specs(
                "products",
                "products",
                "/api/v2/products",
                PRODUCT_FIELDS,
                scopes=("products:full",),
                custom_values="custom_fields",
                custom=custom_value,
            ),
            *_specs(
                "deals",
                "deals",
                "/api/v2/deals",
                DEAL_FIELDS,
                scopes=DEALS,
                custom_values="custom_fields",
                custom=custom_value,
                refusal=archived,
            ),
            _of_status("win", "won", WriteField("won_at", "won_time", "instant")),
            _of_status(
                "lose",
                "lost",
                WriteField("lost_reason", "lost_reason", is_nullable=False),
                WriteField("lost_at", "lost_time", "instant"),
            ),
            _of_status("reopen", "open"),
            *_specs(
                "deal_products",
                "deal_products",
                "/api/v2/deals/{parent}/products",
                LINE_FIELDS,
                scopes=(*DEALS, "products:full"),
                required=("product_id", "unit_price", "quantity"),
                parent=("deal_id", "deals"),
            ),
            *_specs(
                "activities",
                "activities",
                "/api/v2/activities",
                ACTIVITY_FIELDS,
                scopes=("activities:full",),
                required=("subject",),
                shape=with_participant,
                shape_reads=("participants",),
            ),
            *_specs(
                "notes",
                "notes",
                "/v1/notes",
                NOTE_FIELDS,
                scopes=(*DEALS, *CONTACTS),
                required=("body",),
                one_of=("customer_id", "contact_id", "deal_id", "lead_id"),
                tokens=V1_TOKENS,
                updates_by="PUT",
            ),
            *_specs(
                "leads",
                "leads",
                "/v1/leads",
                LEAD_FIELDS,
                scopes=LEADS,
                one_of=("customer_id", "contact_id"),
                together=("amount", "currency"),
                tokens=V1_TOKENS,
                custom_values="",
                custom=custom_value_of_v1,
                shape=with_whole_value,
                refusal=archived,
                marker="origin_id",
            ),
        )
    )
)
