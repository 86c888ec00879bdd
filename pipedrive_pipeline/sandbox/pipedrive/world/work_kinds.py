"""Activities, their types and notes, as data."""

from __future__ import annotations

from pipedrive_pipeline.sandbox.pipedrive.world.kind import (
    ADMIN_ONLY,
    V1_PRICES,
    BuiltIn,
    Prices,
    RecordKind,
)

READ = ("activities:read", "activities:full")
WRITE = ("activities:full",)
NOTE_READ = ("deals:read", "deals:full", "contacts:read", "contacts:full")
NOTE_WRITE = ("deals:full", "contacts:full")
NOTE_TARGETS = ("lead_id", "deal_id", "person_id", "org_id", "project_id", "task_id")
PINNED_FLAGS = tuple(
    f"pinned_to_{target}_flag"
    for target in ("deal", "person", "organization", "lead", "project", "task")
)
OUTCOMES = ("Erreicht", "Nicht erreicht", "Verschoben")

ACTIVITIES = RecordKind(
    name="activities",
    singular="activity",
    path="/api/v2/activities",
    read=READ,
    write=WRITE,
    defaults={
        "subject": None,
        "type": None,
        "owner_id": None,
        "creator_user_id": None,
        "deal_id": None,
        "lead_id": None,
        "person_id": None,
        "org_id": None,
        "project_id": None,
        "due_date": None,
        "due_time": None,
        "duration": None,
        "busy": False,
        "done": False,
        "marked_as_done_time": None,
        "location": None,
        "participants": [],
        "attendees": [],
        "conference_meeting_client": None,
        "conference_meeting_url": None,
        "conference_meeting_id": None,
        "public_description": "",
        "priority": None,
        "outcome": None,
        "note": None,
    },
    built_ins=(
        BuiltIn("subject", "Subject", "varchar"),
        BuiltIn("type", "Type", "varchar"),
        BuiltIn("owner_id", "Assigned to user", "user"),
        BuiltIn("creator_user_id", "Creator", "user"),
        BuiltIn("deal_id", "Deal", "deal"),
        BuiltIn("lead_id", "Lead", "lead"),
        BuiltIn("person_id", "Contact person", "people"),
        BuiltIn("org_id", "Organization", "org"),
        BuiltIn("due_date", "Due date", "date"),
        BuiltIn("due_time", "Due time", "time"),
        BuiltIn("duration", "Duration", "time"),
        BuiltIn("done", "Done", "boolean"),
        BuiltIn("marked_as_done_time", "Marked as done time", "date"),
        BuiltIn("location", "Location", "address"),
        BuiltIn("priority", "Priority", "int"),
        BuiltIn("outcome", "Outcome", "enum", OUTCOMES),
        BuiltIn("note", "Note", "text"),
        BuiltIn("add_time", "Add time", "date"),
        BuiltIn("update_time", "Update time", "date"),
    ),
    first_field_id=14_000,
    field_read=ADMIN_ONLY,
    writable={
        "subject": "text",
        "type": "activity_type",
        "owner_id": "user",
        "deal_id": "deals?",
        "lead_id": "leads?",
        "person_id": "persons?",
        "org_id": "organizations?",
        "project_id": "id?",
        "due_date": "date?",
        "due_time": "clock?",
        "duration": "clock?",
        "busy": "flag",
        "done": "flag",
        "location": "address?",
        "participants": "participants",
        "attendees": "attendees",
        "public_description": "text",
        "priority": "id?",
        "outcome": "id?",
        "note": "text?",
    },
    only_on_create=(),
    optional=("attendees",),
    on_request=("attendees",),
    filters={
        "owner_id": "owner_id",
        "deal_id": "deal_id",
        "lead_id": "lead_id",
        "person_id": "person_id",
        "org_id": "org_id",
        "done": "done",
    },
    indexed_filters=("deal_id",),
    sort_fields=("id", "update_time", "add_time", "due_date"),
    was_in_v1=True,
)

ACTIVITY_TYPES = RecordKind(
    name="activity_types",
    singular="activity type",
    path="/v1/activityTypes",
    read=(*READ, "admin"),
    write=ADMIN_ONLY,
    prices=Prices(list=20, get=None, create=10, update=10, delete=6),
    defaults={
        "name": "",
        "key_string": "",
        "icon_key": "task",
        "color": None,
        "order_nr": 0,
        "active_flag": True,
        "is_custom_flag": True,
    },
    writable={"name": "text", "icon_key": "text", "color": "color?", "order_nr": "int"},
    required=("name", "icon_key"),
    updates_by="PUT",
    windows=(),
    is_paged=False,
)

NOTES = RecordKind(
    name="notes",
    singular="note",
    path="/v1/notes",
    read=NOTE_READ,
    write=NOTE_WRITE,
    prices=V1_PRICES,
    defaults={
        "user_id": None,
        **dict.fromkeys(NOTE_TARGETS),
        "content": "",
        **dict.fromkeys(PINNED_FLAGS, False),
        "last_update_user_id": None,
    },
    writable={
        "content": "text",
        "user_id": "user",
        "add_time": "any_time",
        "deal_id": "deals?",
        "person_id": "persons?",
        "org_id": "organizations?",
        "lead_id": "leads?",
        "project_id": "id?",
        "task_id": "id?",
        **dict.fromkeys(PINNED_FLAGS, "bit"),
    },
    required=("content",),
    created_status=201,
    updates_by="PUT",
    filters={
        "user_id": "user_id",
        **{target: target for target in NOTE_TARGETS},
        **{flag: flag for flag in PINNED_FLAGS},
    },
    windows=("updated_since",),
    sort_fields=(
        "id", "user_id", "deal_id", "person_id", "org_id", "content", "add_time", "update_time",
    ),
)  # fmt: skip
