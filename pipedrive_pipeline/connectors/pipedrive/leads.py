"""Leads with their labels and sources, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, Cost, Entity, Snapshot
from pipedrive_pipeline.connectors.pipedrive.columns import (
    ARCHIVING,
    BIGINT,
    BOOLEAN,
    CUSTOM_FIELDS,
    EXPECTED_CLOSE_DATE,
    JSON,
    ORIGIN,
    OWNER_ID,
    STAMPS,
    TEXT,
    VISIBLE_TO,
)
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    BY_UPDATE_TIME,
    PAGE_LIMIT,
    UNPAGED_RECORDS,
    V1_GET_TOKENS,
    V1_LIST_TOKENS,
    Endpoint,
    RecordList,
    endpoint,
)

LEADS_SCOPES = ("leads:read", "leads:full")
LABELS_TOKENS, SOURCES_TOKENS, ARCHIVED_TOKENS = 10, 2, 40
WEEKLY_HOURS = 7 * 24

LEAD_LABELS = Entity(
    name="lead_labels",
    label="Labels of leads",
    description="Labels of leads.",
    key=Column("id", TEXT, "Pipedrive's id of the label, a UUID."),
    columns=(
        Column("name", TEXT, "Name that people see."),
        Column("color", TEXT, "Colour of the label, by its English name."),
        *STAMPS,
    ),
    read=Snapshot(),
    cost=Cost(LABELS_TOKENS, UNPAGED_RECORDS),
    scopes=LEADS_SCOPES,
)

LEAD_SOURCES = Entity(
    name="lead_sources",
    label="Sources of leads",
    description="Ways in which leads come about; Pipedrive's own list.",
    key=Column("name", TEXT, "Name of the source; a lead's source_name is one."),
    columns=(),
    read=Snapshot(),
    cost=Cost(SOURCES_TOKENS, UNPAGED_RECORDS),
    scopes=LEADS_SCOPES,
    cycle_hours=WEEKLY_HOURS,
)

LEADS = Entity(
    name="leads",
    label="Leads",
    description="Leads as Pipedrive sent them; archived ones as the last read of everything "
    "listed them. Custom fields lie in extra, by field code.",
    key=Column("id", TEXT, "Pipedrive's id of the lead, a UUID."),
    columns=(
        Column("title", TEXT, "Title; not unique."),
        OWNER_ID,
        Column("creator_id", BIGINT, "User who made the lead."),
        Column("person_id", BIGINT, "Person of the lead."),
        Column("organization_id", BIGINT, "Organization of the lead."),
        Column("label_ids", JSON, "Ids of labels, explained by lead_labels.", shape="options"),
        Column("value", JSON, "Amount: amount, currency.", shape="money"),
        EXPECTED_CLOSE_DATE,
        *ARCHIVING,
        Column("was_seen", BOOLEAN, "Whether somebody has looked at it."),
        Column("source_name", TEXT, "Source of the lead, one of lead_sources."),
        Column("source_deal_id", BIGINT, "Deal that became this lead; the deal is gone."),
        *ORIGIN,
        Column("next_activity_id", BIGINT, "Next planned activity."),
        *STAMPS,
        VISIBLE_TO,
        Column("cc_email", TEXT, "Address that files copies of e-mails with the lead."),
        CUSTOM_FIELDS,
    ),
    read=BY_UPDATE_TIME,
    cost=Cost(
        V1_LIST_TOKENS,
        PAGE_LIMIT,
        further_lists=(ARCHIVED_TOKENS,),
        tokens_unchanged=V1_LIST_TOKENS,  # the archived ones are listed by reads of everything
        ids_per_call=1,
    ),
    defined_by="deal_fields",
    personal=("title",),
    scopes=LEADS_SCOPES,
)

LEAD_KIND_ENDPOINTS = (
    endpoint(LEAD_LABELS, "/v1/leadLabels", "whole"),
    endpoint(LEAD_SOURCES, "/v1/leadSources", "whole"),
)
LEAD_ENDPOINT = Endpoint(
    LEADS,
    (
        RecordList("/v1/leads", V1_LIST_TOKENS, has_until=False),
        RecordList(
            "/v1/leads/archived",
            ARCHIVED_TOKENS,
            part="archived",
            has_since=False,
            has_until=False,
        ),
    ),
    "offset",
    get_tokens=V1_GET_TOKENS,
    event="lead",
)
