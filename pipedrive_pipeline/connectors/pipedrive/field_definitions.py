"""Definitions of fields, as data: one kind for each kind of record that has custom fields.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, Entity, Snapshot
from pipedrive_pipeline.connectors.pipedrive.columns import BOOLEAN, JSON, TEXT
from pipedrive_pipeline.connectors.pipedrive.contacts import CONTACTS_SCOPES
from pipedrive_pipeline.connectors.pipedrive.endpoints import V2_LIST, endpoint

FIELD_KEY = Column("field_code", TEXT, "Identity of the field: readable if built in, else a hash.")
FIELD_COLUMNS = (
    Column("field_name", TEXT, "Name that people see; neither unique nor lasting."),
    Column("field_type", TEXT, "Pipedrive's type, such as varchar, enum, set, monetary."),
    Column("options", JSON, "Options of enum and set fields: id, label; deleted ones are absent."),
    Column("subfields", JSON, "Parts of address, monetary and range fields."),
    Column("is_custom_field", BOOLEAN, "Whether the company made this field itself."),
    Column("is_optional_response_field", BOOLEAN, "Whether its value is sent only when asked for."),
    Column("description", TEXT, "What the company wrote about the field, where it did."),
    Column("is_writable", BOOLEAN, "Whether its value can be set over the API, where told."),
)


def _fields(name: str, of: str, scopes: tuple[str, ...], *, is_required: bool = False) -> Entity:
    return Entity(
        name=name,
        label=f"Fields of {of}",
        description=f"Definitions of the fields of {of}; a deleted field just disappears.",
        key=FIELD_KEY,
        columns=FIELD_COLUMNS,
        read=Snapshot(),
        cost=V2_LIST,
        is_required=is_required,
        scopes=scopes,
    )


CONTACT_FIELD_ENDPOINTS = (
    endpoint(
        _fields("organization_fields", "organizations", CONTACTS_SCOPES, is_required=True),
        "/api/v2/organizationFields",
        "cursor",
    ),
    endpoint(
        _fields("person_fields", "persons", CONTACTS_SCOPES, is_required=True),
        "/api/v2/personFields",
        "cursor",
    ),
)
FIELD_ENDPOINTS = (
    endpoint(
        # Leads have the custom fields of deals.
        _fields("deal_fields", "deals and leads", ("deals:read", "deals:full")),
        "/api/v2/dealFields",
        "cursor",
    ),
    endpoint(
        _fields("product_fields", "products", ("products:read", "products:full")),
        "/api/v2/productFields",
        "cursor",
    ),
    endpoint(
        _fields("activity_fields", "activities", ("activities:read", "activities:full", "admin")),
        "/api/v2/activityFields",
        "cursor",
    ),
)
