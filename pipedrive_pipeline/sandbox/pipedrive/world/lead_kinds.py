"""Leads, their labels and their sources, as data."""

from __future__ import annotations

from pipedrive_pipeline.sandbox.pipedrive.world.kind import V1_PRICES, Prices, RecordKind

READ = ("leads:read", "leads:full")
WRITE = ("leads:full",)
LABEL_COLORS = (
    "blue", "brown", "dark-gray", "gray", "green", "orange", "pink", "purple", "red", "yellow",
)  # fmt: skip
# The list is the same in every account. https://developers.pipedrive.com/docs/api/v1/LeadSources
SOURCES = (
    "Manually created", "Deal", "Web forms", "Prospector", "Leadbooster", "Live chat", "Import",
    "Website visitors", "Workflow automation", "API",
)  # fmt: skip

LEADS = RecordKind(
    name="leads",
    singular="lead",
    path="/v1/leads",
    read=READ,
    write=WRITE,
    prices=V1_PRICES,
    defaults={
        "title": "",
        "owner_id": None,
        "creator_id": None,
        "label_ids": [],
        "person_id": None,
        "organization_id": None,
        "value": None,
        "expected_close_date": None,
        "is_archived": False,
        "archive_time": None,
        "source_name": "API",
        "source_deal_id": None,
        "origin": "API",
        "origin_id": None,
        "channel": None,
        "channel_id": None,
        "was_seen": False,
        "next_activity_id": None,
        "visible_to": 3,
    },
    fields_of="deals",
    writable={
        "title": "text",
        "owner_id": "user",
        "label_ids": "lead_label_ids",
        "person_id": "persons?",
        "organization_id": "organizations?",
        "value": "money?",
        "expected_close_date": "date?",
        "is_archived": "flag",
        "visible_to": "visibility_text",
        "was_seen": "flag",
        "origin_id": "text?",
        "channel": "id?",
        "channel_id": "text?",
    },
    required=("title",),
    created_status=201,
    only_on_create=("origin_id",),
    filters={
        "owner_id": "owner_id",
        "person_id": "person_id",
        "organization_id": "organization_id",
    },
    windows=("updated_since",),
    sort_fields=(
        "id", "title", "owner_id", "creator_id", "was_seen", "expected_close_date",
        "next_activity_id", "add_time", "update_time",
    ),
    id_form="uuid",
)  # fmt: skip

LEAD_LABELS = RecordKind(
    name="lead_labels",
    singular="lead label",
    path="/v1/leadLabels",
    read=READ,
    write=WRITE,
    prices=Prices(list=10, get=None, create=10, update=10, delete=6),
    defaults={"name": "", "color": "blue"},
    writable={"name": "text", "color": "lead_color"},
    required=("name", "color"),
    windows=(),
    is_paged=False,
    id_form="uuid",
)

LEAD_SOURCES = RecordKind(
    name="lead_sources",
    singular="lead source",
    path="/v1/leadSources",
    read=READ,
    write=WRITE,
    prices=Prices(list=2, get=None, create=None, update=None, delete=None),
    defaults={"name": ""},
    windows=(),
    is_paged=False,
)
