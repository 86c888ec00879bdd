"""Activities with their types, and notes, as data.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, Cost, Entity, Snapshot
from pipedrive_pipeline.connectors.pipedrive.columns import (
    BIGINT,
    BOOLEAN,
    CUSTOM_FIELDS,
    JSON,
    OWNER_ID,
    STAMPS,
    TEXT,
    TIMESTAMP,
)
from pipedrive_pipeline.connectors.pipedrive.contacts import CONTACTS_SCOPES
from pipedrive_pipeline.connectors.pipedrive.deals import DEALS_SCOPES
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    BY_UPDATE_TIME,
    GET_TOKENS,
    PAGE_LIMIT,
    UNPAGED_RECORDS,
    V1_GET_TOKENS,
    V1_LIST_TOKENS,
    V2_LIST,
    endpoint,
)

ACTIVITIES_SCOPES = ("activities:read", "activities:full")
DAILY_HOURS = 24

ACTIVITY_TYPES = Entity(
    name="activity_types",
    label="Types of activities",
    description="Types of activities, inactive ones included.",
    key=Column("id", BIGINT, "Pipedrive's number of the type."),
    columns=(
        Column("name", TEXT, "Name that people see."),
        Column("key_string", TEXT, "Key of the type; an activity's type is one."),
        Column("icon_key", TEXT, "Picture of the type."),
        Column("color", TEXT, "Colour of the type, as hexadecimal digits."),
        Column("order_nr", BIGINT, "Place among the types."),
        Column("active_flag", BOOLEAN, "Whether new activities can have it."),
        Column("is_custom_flag", BOOLEAN, "Whether the company made this type itself."),
        *STAMPS,
    ),
    read=Snapshot(),
    cost=Cost(V1_LIST_TOKENS, UNPAGED_RECORDS),
    scopes=(*ACTIVITIES_SCOPES, "admin"),
    cycle_hours=DAILY_HOURS,
)

ACTIVITIES = Entity(
    name="activities",
    label="Activities",
    description="Activities such as calls and meetings, done and planned, as Pipedrive sent them.",
    key=Column("id", BIGINT, "Pipedrive's number of the activity, unique in its company."),
    columns=(
        Column("subject", TEXT, "Subject of the activity."),
        Column("type", TEXT, "Key of its type."),
        OWNER_ID,
        Column("creator_user_id", BIGINT, "User who made the activity."),
        Column("is_deleted", BOOLEAN, "False in every listed activity."),
        *STAMPS,
        Column("deal_id", BIGINT, "Deal of the activity."),
        Column("lead_id", TEXT, "Lead of the activity."),
        Column("person_id", BIGINT, "Primary participant."),
        Column("org_id", BIGINT, "Organization of the activity."),
        Column("project_id", BIGINT, "Project of the activity."),
        Column("due_date", TEXT, "Day on which it is due, UTC, YYYY-MM-DD.", shape="day"),
        Column(
            "due_time", TEXT, "Time at which it begins, UTC; null: all day.", shape="time_of_day"
        ),
        Column("duration", TEXT, "How long it takes, HH:MM:SS.", shape="duration"),
        Column("busy", BOOLEAN, "Whether the owner is busy meanwhile."),
        Column("done", BOOLEAN, "Whether it is done."),
        Column("marked_as_done_time", TIMESTAMP, "When it was marked as done, UTC."),
        Column("outcome", BIGINT, "Option id of the built-in field outcome."),
        Column("priority", BIGINT, "Option id of the built-in field priority."),
        Column("location", JSON, "Place: as typed (value) and its parts.", shape="address"),
        Column("participants", JSON, "Persons that take part: person_id, primary."),
        Column("attendees", JSON, "People invited; sent only where it is asked for."),
        Column("conference_meeting_client", TEXT, "Program of a video call."),
        Column("conference_meeting_url", TEXT, "Address of a video call."),
        Column("conference_meeting_id", TEXT, "Number of a video call."),
        Column("public_description", TEXT, "Description that guests see."),
        Column("note", TEXT, "Note of the activity, HTML."),
        CUSTOM_FIELDS,
    ),
    read=BY_UPDATE_TIME,
    cost=V2_LIST,
    defined_by="activity_fields",
    personal=("subject", "location", "attendees", "public_description", "note"),
    scopes=ACTIVITIES_SCOPES,
)

NOTES = Entity(
    name="notes",
    label="Notes",
    description="Notes of the timelines of deals, leads, persons and organizations.",
    key=Column("id", BIGINT, "Pipedrive's number of the note, unique in its company."),
    columns=(
        Column("content", TEXT, "Text of the note, HTML."),
        Column("user_id", BIGINT, "User who wrote the note."),
        Column("last_update_user_id", BIGINT, "User who edited it last."),
        Column("deal_id", BIGINT, "Deal of the note."),
        Column("lead_id", TEXT, "Lead of the note."),
        Column("person_id", BIGINT, "Person of the note; a note of a deal has the deal's."),
        Column("org_id", BIGINT, "Organization of the note; a note of a deal has the deal's."),
        Column("project_id", BIGINT, "Project of the note."),
        Column("task_id", BIGINT, "Task of the note."),
        *STAMPS,
        Column(
            "active_flag", BOOLEAN, "Whether the note is not deleted; true in every listed one."
        ),
        Column("pinned_to_deal_flag", BOOLEAN, "Whether it is pinned to its deal."),
        Column("pinned_to_lead_flag", BOOLEAN, "Whether it is pinned to its lead."),
        Column("pinned_to_person_flag", BOOLEAN, "Whether it is pinned to its person."),
        Column("pinned_to_organization_flag", BOOLEAN, "Whether it is pinned to its organization."),
        Column("pinned_to_project_flag", BOOLEAN, "Whether it is pinned to its project."),
        Column("pinned_to_task_flag", BOOLEAN, "Whether it is pinned to its task."),
        Column("deal", JSON, "Title of the deal when sent."),
        Column("lead", JSON, "Title of the lead when sent."),
        Column("person", JSON, "Name of the person when sent."),
        Column("organization", JSON, "Name of the organization when sent."),
        Column("project", JSON, "Title of the project when sent."),
        Column("task", JSON, "Title of the task when sent."),
        Column("user", JSON, "Name and e-mail address of the author when sent."),
    ),
    read=BY_UPDATE_TIME,
    cost=Cost(V1_LIST_TOKENS, PAGE_LIMIT, ids_per_call=1),
    personal=("content", "person", "user"),
    scopes=(*CONTACTS_SCOPES, *DEALS_SCOPES),
    cycle_hours=DAILY_HOURS,
)

ACTIVITY_TYPE_ENDPOINT = endpoint(ACTIVITY_TYPES, "/v1/activityTypes", "whole")
ACTIVITY_ENDPOINT = endpoint(
    ACTIVITIES,
    "/api/v2/activities",
    "cursor",
    takes_ids=True,
    get_tokens=GET_TOKENS,
    event="activity",
)
NOTE_ENDPOINT = endpoint(
    NOTES, "/v1/notes", "offset", get_tokens=V1_GET_TOKENS, has_until=False, event="note"
)
