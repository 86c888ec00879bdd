"""Every kind of record that is read from Pipedrive, as data, in the order of reading.

Definitions and users come first, so that a record never arrives before its field is known.
A key that is not declared here is kept by the engine in ``extra``; the counters of
``include_fields`` are not requested, since they change without ``update_time`` moving.
Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    Column,
    ColumnType,
    Cost,
    Entity,
    Snapshot,
)

PAGE_LIMIT = 500  # records, Pipedrive's maximum; a call costs the same for 1 and for 500
IDS_LIMIT = 100  # ids in one `ids=`, Pipedrive's maximum
V2_LIST_TOKENS, V1_LIST_TOKENS, ME_TOKENS = 10, 20, 2
GET_TOKENS = 1  # one record of v2
# Stamps have whole seconds and rows can become visible late; reading five minutes twice costs
# at most one page more.
OVERLAP = timedelta(minutes=5)

BIGINT, NUMERIC, TEXT = ColumnType.BIGINT, ColumnType.NUMERIC, ColumnType.TEXT
BOOLEAN, TIMESTAMP, JSON = ColumnType.BOOLEAN, ColumnType.TIMESTAMP, ColumnType.JSON

CONTACTS_SCOPES = ("contacts:read", "contacts:full")
BY_UPDATE_TIME = ChangedSince("update_time", OVERLAP)
V2_LIST = Cost(V2_LIST_TOKENS, PAGE_LIMIT)


@dataclass(frozen=True)
class Endpoint:
    """Where an entity is listed, and how."""

    spec: Entity
    path: str
    paging: Literal["cursor", "whole"]
    takes_ids: bool = False  # whether `ids=` picks single records


RECORD_COLUMNS = (
    Column("owner_id", BIGINT, "User who owns the record; may point to a user who is gone."),
    Column("add_time", TIMESTAMP, "When the record was made in Pipedrive, UTC."),
    Column("update_time", TIMESTAMP, "When the record itself was last edited, UTC, whole seconds."),
    Column("is_deleted", BOOLEAN, "False in every listed record; Pipedrive lists no deleted ones."),
    Column("visible_to", BIGINT, "Who may see it: 1 owner, 3 company or group, 5 and 7 by plan."),
    Column(
        "label_ids",
        JSON,
        "Ids of labels, explained by the options of the label field.",
        shape="options",
    ),
    Column("picture_id", BIGINT, "Picture of the record, if it has one."),
    Column("custom_fields", JSON, "Values of custom fields by field code; options as ids."),
)

ORGANIZATIONS = Entity(
    name="organizations",
    label="Organizations",
    description="Organizations as Pipedrive sent them.",
    key=Column("id", BIGINT, "Pipedrive's number of the organization, unique in its company."),
    columns=(
        Column("name", TEXT, "Name; not unique."),
        *RECORD_COLUMNS,
        Column(
            "address",
            JSON,
            "Address as typed (value) and its parts, any of which may be null.",
            shape="address",
        ),
        Column("website", TEXT, "Web address; only with Pipedrive's company data."),
        Column("linkedin", TEXT, "LinkedIn page; only with Pipedrive's company data."),
        Column("industry", BIGINT, "Option id of the built-in field industry."),
        # Documented as a whole number, but money: a fraction must not be refused.
        Column("annual_revenue", NUMERIC, "Revenue a year; only with Pipedrive's company data."),
        Column("employee_count", BIGINT, "Employees; only with Pipedrive's company data."),
    ),
    read=BY_UPDATE_TIME,
    cost=V2_LIST,
    defined_by="organization_fields",
    is_required=True,
    scopes=CONTACTS_SCOPES,
)

PERSONS = Entity(
    name="persons",
    label="Persons",
    description="Persons as Pipedrive sent them.",
    key=Column("id", BIGINT, "Pipedrive's number of the person, unique in its company."),
    columns=(
        Column("name", TEXT, "Full name; not unique."),
        Column("first_name", TEXT, "First name."),
        Column("last_name", TEXT, "Last name."),
        Column("org_id", BIGINT, "Organization the person belongs to; may be gone or unseen."),
        Column(
            "emails",
            JSON,
            "E-mail addresses: value, label, primary; at most one is primary.",
            shape="points",
        ),
        Column(
            "phones",
            JSON,
            "Phone numbers: value, label, primary; at most one is primary.",
            shape="points",
        ),
        *RECORD_COLUMNS,
        Column("postal_address", JSON, "Postal address; only with Pipedrive's contact sync."),
        Column("notes", TEXT, "Notes of the contact sync, not the notes of the timeline."),
        Column("im", JSON, "Messenger addresses; only with Pipedrive's contact sync."),
        Column("birthday", TEXT, "Birthday as sent, YYYY-MM-DD; only with the contact sync."),
        Column("job_title", TEXT, "Job title; only with Pipedrive's contact sync."),
    ),
    read=BY_UPDATE_TIME,
    cost=V2_LIST,
    defined_by="person_fields",
    is_required=True,
    personal=("name", "first_name", "last_name", "emails", "phones"),
    scopes=CONTACTS_SCOPES,
)

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


def _fields(name: str, of: str) -> Entity:
    return Entity(
        name=name,
        label=f"Fields of {of}",
        description=f"Definitions of the fields of {of}; a deleted field just disappears.",
        key=FIELD_KEY,
        columns=FIELD_COLUMNS,
        read=Snapshot(),
        cost=V2_LIST,
        is_required=True,
        scopes=CONTACTS_SCOPES,
    )


USERS = Entity(
    name="users",
    label="Users",
    description="Users of the company, deactivated ones included, as Pipedrive sent them.",
    key=Column("id", BIGINT, "Pipedrive's number of the user; owner_id points here."),
    columns=(
        Column("name", TEXT, "Name of the user."),
        Column("email", TEXT, "E-mail address of the user."),
        Column("phone", TEXT, "Phone number of the user."),
        Column("default_currency", TEXT, "Currency the user works in, ISO 4217."),
        Column("locale", TEXT, "Locale of the user, such as de_DE."),
        Column("lang", BIGINT, "Pipedrive's number of the user's language."),
        Column("activated", BOOLEAN, "Whether the user has accepted the invitation."),
        Column("active_flag", BOOLEAN, "Whether the user may sign in."),
        Column("is_deleted", BOOLEAN, "Whether the user was deleted."),
        Column("last_login", TIMESTAMP, "Last sign-in, UTC."),
        Column("created", TIMESTAMP, "When the user was made, UTC."),
        Column("modified", TIMESTAMP, "When the user was last edited, UTC."),
        Column("has_created_company", BOOLEAN, "Whether the user founded the account."),
        Column("access", JSON, "Apps the user may use, and whether as administrator."),
        Column("timezone_name", TEXT, "Time zone of the user."),
        Column("timezone_offset", TEXT, "Offset of that time zone when sent."),
        Column("role_id", BIGINT, "Role that decides what the user sees."),
        Column("icon_url", TEXT, "Picture of the user."),
        Column("is_you", BOOLEAN, "Whether this is the user who connected."),
    ),
    read=Snapshot(),
    cost=Cost(V1_LIST_TOKENS, records_per_page=10_000),  # the list is not paged
    personal=("name", "email", "phone"),
    scopes=("users:read",),
)

_ENDPOINTS = (
    Endpoint(
        _fields("organization_fields", "organizations"), "/api/v2/organizationFields", "cursor"
    ),
    Endpoint(_fields("person_fields", "persons"), "/api/v2/personFields", "cursor"),
    Endpoint(USERS, "/v1/users", "whole"),
    Endpoint(ORGANIZATIONS, "/api/v2/organizations", "cursor", takes_ids=True),
    Endpoint(PERSONS, "/api/v2/persons", "cursor", takes_ids=True),
)
ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {endpoint.spec.name: endpoint for endpoint in _ENDPOINTS}
)
ENTITIES: Mapping[str, Entity] = MappingProxyType(
    {name: endpoint.spec for name, endpoint in ENDPOINTS.items()}
)
