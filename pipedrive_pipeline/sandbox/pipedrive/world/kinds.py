"""The kinds of records as data: a new entity is a new ``Entity`` here."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipedrive_pipeline.sandbox.pipedrive.world.order import SortField

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


@dataclass(frozen=True)
class BuiltIn:
    """A field that every account has."""

    code: str
    name: str
    type: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordKind:
    """One kind of record that the v2 API serves."""

    name: str  # as in paths: organizations
    singular: str  # as in field paths and search: organization
    built_ins: tuple[BuiltIn, ...]
    writable: dict[str, str]  # key of a create or update body -> kind of value
    optional: tuple[str, ...]  # keys that come only when ``include_fields`` asks
    featured: tuple[str, ...]  # keys that come only when the account has the feature
    never_null: tuple[str, ...] = ()  # keys that answers leave out while they are unset
    nullable: tuple[str, ...] = ()  # keys that an account may leave out, too, instead of null
    parent: str | None = None  # the key that points at an organization
    only_on_create: tuple[str, ...] = ("add_time",)
    sort_fields: tuple[SortField, ...] = ("id", "update_time", "add_time")
    search_fields: tuple[str, ...] = ()
    multi_values: tuple[str, ...] = field(default=())  # keys that hold labelled values


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
    featured=("postal_address", "notes", "im", "birthday", "job_title"),
    never_null=("notes", "birthday", "job_title"),
    nullable=("first_name", "last_name", "org_id"),
    parent="org_id",
    search_fields=("custom_fields", "email", "notes", "phone", "name"),
    multi_values=("emails", "phones"),
)

ENTITIES = {entity.name: entity for entity in (ORGANIZATIONS, PERSONS)}
