"""Organizations and persons, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, Entity
from pipedrive_pipeline.connectors.pipedrive.columns import (
    BIGINT,
    BOOLEAN,
    CUSTOM_FIELDS,
    JSON,
    LABEL_IDS,
    NUMERIC,
    OWNER_ID,
    STAMPS,
    TEXT,
    VISIBLE_TO,
)
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    BY_UPDATE_TIME,
    GET_TOKENS,
    V2_LIST,
    endpoint,
)

CONTACTS_SCOPES = ("contacts:read", "contacts:full")

RECORD_COLUMNS = (
    OWNER_ID,
    *STAMPS,
    Column("is_deleted", BOOLEAN, "False in every listed record; Pipedrive lists no deleted ones."),
    VISIBLE_TO,
    LABEL_IDS,
    Column("picture_id", BIGINT, "Picture of the record, if it has one."),
    CUSTOM_FIELDS,
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

CONTACT_ENDPOINTS = (
    endpoint(
        ORGANIZATIONS,
        "/api/v2/organizations",
        "cursor",
        takes_ids=True,
        get_tokens=GET_TOKENS,
        event="organization",
    ),
    endpoint(
        PERSONS, "/api/v2/persons", "cursor", takes_ids=True, get_tokens=GET_TOKENS, event="person"
    ),
)
