"""Organizations and persons, as data."""

from __future__ import annotations

from pipedrive_pipeline.sandbox.pipedrive.world.kind import BuiltIn, Prices, Record, RecordKind

READ = ("contacts:read", "contacts:full")
WRITE = ("contacts:full",)
FIELD_WRITE = ("contact-fields:full", "admin")
PRICES = Prices(merge=40)
SHARED_DEFAULTS: Record = {"owner_id": None, "visible_to": 3, "label_ids": [], "picture_id": None}
_DEAL_COUNTS = (
    "open_deals_count", "related_open_deals_count", "closed_deals_count",
    "related_closed_deals_count", "won_deals_count", "related_won_deals_count",
    "lost_deals_count", "related_lost_deals_count",
)  # fmt: skip
_COUNTS = (
    "email_messages_count", "activities_count", "done_activities_count",
    "undone_activities_count", "files_count", "notes_count", "followers_count",
)  # fmt: skip
_ACTIVITY_IDS = ("next_activity_id", "last_activity_id")

LABELS = ("Kunde", "Interessent", "VIP ⭐", "Lieferant", "Gesperrt")
INDUSTRIES = ("Handwerk", "Handel", "Öffentlicher Dienst", "Gastronomie", "IT & Software")
_SHARED_BUILT_INS = (
    BuiltIn("label_ids", "Labels", "set", LABELS),
    BuiltIn("owner_id", "Owner", "user"),
    BuiltIn("visible_to", "Visible to", "visible_to", ("1", "3")),
    BuiltIn("add_time", "Created", "date"),
    BuiltIn("update_time", "Update time", "date"),
)

ORGANIZATIONS = RecordKind(
    name="organizations",
    singular="organization",
    path="/api/v2/organizations",
    read=READ,
    write=WRITE,
    prices=PRICES,
    defaults={
        **SHARED_DEFAULTS,
        "name": "",
        "address": None,
        "website": None,
        "linkedin": None,
        "industry": None,
        "annual_revenue": None,
        "employee_count": None,
    },
    first_field_id=4_000,
    fields_of="organizations",
    field_write=FIELD_WRITE,
    required=("name",),
    filters={"owner_id": "owner_id"},
    has_labels=True,
    was_in_v1=True,
    built_ins=(
        BuiltIn("name", "Name", "varchar"),
        BuiltIn("address", "Address", "address"),
        BuiltIn("website", "Website", "varchar"),
        BuiltIn("linkedin", "LinkedIn profile", "varchar"),
        BuiltIn("industry", "Industry", "enum", INDUSTRIES),
        BuiltIn("annual_revenue", "Annual revenue", "int"),
        BuiltIn("employee_count", "Employee count", "int"),
        *_SHARED_BUILT_INS,
    ),
    writable={
        "name": "text",
        "owner_id": "user",
        "add_time": "time",
        "visible_to": "visibility",
        "label_ids": "ids",
        "address": "address?",
        "website": "text?",
        "linkedin": "text?",
        "industry": "id?",
        "annual_revenue": "int?",
        "employee_count": "int?",
        "custom_fields": "custom",
    },
    optional=(*_ACTIVITY_IDS, *_DEAL_COUNTS, *_COUNTS, "people_count", "smart_bcc_email"),
    featured=("website", "linkedin", "industry", "annual_revenue", "employee_count"),
    search_fields=("address", "custom_fields", "notes", "name"),
)

PERSONS = RecordKind(
    name="persons",
    singular="person",
    path="/api/v2/persons",
    read=READ,
    write=WRITE,
    prices=PRICES,
    defaults={
        **SHARED_DEFAULTS,
        "name": "",
        "first_name": None,
        "last_name": None,
        "org_id": None,
        "emails": [],
        "phones": [],
        "postal_address": None,
        "notes": None,
        "im": [],
        "birthday": None,
        "job_title": None,
    },
    first_field_id=9_000,
    fields_of="persons",
    field_write=FIELD_WRITE,
    required=("name",),
    fresh_is_unstamped=True,
    filters={"owner_id": "owner_id", "org_id": "org_id"},
    indexed_filters=("org_id",),
    has_labels=True,
    was_in_v1=True,
    built_ins=(
        BuiltIn("name", "Name", "varchar"),
        BuiltIn("first_name", "First name", "varchar"),
        BuiltIn("last_name", "Last name", "varchar"),
        BuiltIn("emails", "Email", "varchar"),
        BuiltIn("phones", "Phone", "phone"),
        BuiltIn("org_id", "Organization", "org"),
        BuiltIn("picture_id", "Picture", "picture"),
        *_SHARED_BUILT_INS,
    ),
    writable={
        "name": "text",
        "first_name": "text?",
        "last_name": "text?",
        "owner_id": "user",
        "org_id": "id?",
        "add_time": "time",
        "emails": "contacts",
        "phones": "contacts",
        "visible_to": "visibility",
        "label_ids": "ids",
        "custom_fields": "custom",
        "postal_address": "address?",
        "notes": "text",
        "im": "contacts",
        "birthday": "date",
        "job_title": "text",
        "marketing_status": "marketing",
    },
    optional=(
        *_ACTIVITY_IDS,
        *_DEAL_COUNTS,
        *_COUNTS,
        "participant_open_deals_count",
        "participant_closed_deals_count",
        "last_incoming_mail_time",
        "last_outgoing_mail_time",
        "marketing_status",
        "doi_status",
        "smart_bcc_email",
    ),
    on_request=("marketing_status",),
    featured=("postal_address", "notes", "im", "birthday", "job_title"),
    never_null=("notes", "birthday", "job_title"),
    nullable=("first_name", "last_name", "org_id"),
    parent="org_id",
    search_fields=("custom_fields", "email", "notes", "phone", "name"),
    multi_values=("emails", "phones"),
)
