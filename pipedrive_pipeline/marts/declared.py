"""The marts: each table of `crm` with its columns and links, declared once.

`sql/schema/0004_crm.sql` is written from these declarations (`marts/ddl.py`), and the build, the
mapping, the views, the assets and the reference page read them. A mart's rows come from one select
per system, `sql/marts/<system>/<mart>.sql` (`marts/sources.py`); a mart whose file a system lacks
has no rows of that system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

SCHEMA: Final = "crm"


@dataclass(frozen=True)
class DeclaredColumn:
    """A column that a select or a mapping may fill.

    Attributes:
        name: of the column.
        type: Postgres's.
        comment: the sentence that psql, the reference page and the data dictionary show.
        default: SQL; a column that has one is never null.
        is_required: it is never null, and whoever makes a row gives it.
        is_mappable: a tenant's field mapping may fill it.
    """

    name: str
    type: str
    comment: str
    default: str | None = None
    is_required: bool = False
    is_mappable: bool = False


@dataclass(frozen=True)
class Generated:
    """A stored column that Postgres computes from the others."""

    name: str
    type: str
    expression: str
    comment: str
    is_key: bool = False  # indexed with the tenant


@dataclass(frozen=True)
class Link:
    """A column that refers to a row of another mart, in the same tenant and system.

    A select gives the other record's id as ``<name without _id>_remote_id``; the build finds its
    row, through merges. ``shows`` are columns that repeat one of that row: its name, and ours.
    A link that is not indexed has few rows to refer to; what refers to one is found by its tenant.
    """

    name: str
    mart: str
    comment: str
    remote_comment: str
    shows: tuple[tuple[str, DeclaredColumn], ...] = ()
    is_indexed: bool = True

    @property
    def remote_column(self) -> str:
        """The column that has the other record's id in its system, before any merge."""
        return f"{self.name.removesuffix('_id')}_remote_id"

    @property
    def columns(self) -> tuple[DeclaredColumn, ...]:
        """Every column that the link needs, in the order of the table."""
        return (
            DeclaredColumn(self.name, "uuid", self.comment),
            DeclaredColumn(self.remote_column, "text", self.remote_comment),
            *(column for _, column in self.shows),
        )


@dataclass(frozen=True)
class Mart:
    """One table of `crm`.

    Attributes:
        name: of the table, the asset and the select's file.
        grain: what a row is, as in "one row per tenant and …".
        of: who or what the rows are, in a sentence without its full stop.
        columns: those that a select or a mapping fills, in the order of the table.
        links: the columns that refer to other marts.
        generated: columns that Postgres computes.
        personal: columns in which an erasure looks for a person's e-mail address: texts, or lists
            of `{"value": …}`.
    """

    name: str
    grain: str
    of: str
    columns: tuple[DeclaredColumn, ...]
    links: tuple[Link, ...] = ()
    generated: tuple[Generated, ...] = ()
    personal: tuple[str, ...] = ()

    @property
    def table(self) -> tuple[str, str]:
        """Schema and table."""
        return SCHEMA, self.name

    @property
    def mappable(self) -> dict[str, str]:
        """The columns that a field mapping may fill, with their types."""
        return {column.name: column.type for column in self.columns if column.is_mappable}

    @property
    def all_columns(self) -> tuple[DeclaredColumn | Generated, ...]:
        """Every column of the table, in order."""
        linked = (column for link in self.links for column in link.columns)
        return (*KEYS, *linked, *self.columns, *COMMON, *self.generated, *STAMPS)


def text(name: str, comment: str, *, is_mappable: bool = False) -> DeclaredColumn:
    """A column of text."""
    return DeclaredColumn(name, "text", comment, is_mappable=is_mappable)


def number(name: str, comment: str, *, is_mappable: bool = False) -> DeclaredColumn:
    """A column of numbers with all their digits."""
    return DeclaredColumn(name, "numeric", comment, is_mappable=is_mappable)


def whole_number(name: str, comment: str, *, is_mappable: bool = False) -> DeclaredColumn:
    """A column of whole numbers of 64 bits."""
    return DeclaredColumn(name, "bigint", comment, is_mappable=is_mappable)


def boolean(name: str, comment: str) -> DeclaredColumn:
    """A column of true and false."""
    return DeclaredColumn(name, "boolean", comment)


def instant(name: str, comment: str) -> DeclaredColumn:
    """A column of times, in UTC."""
    return DeclaredColumn(name, "timestamptz", comment)


def texts(name: str, comment: str) -> DeclaredColumn:
    """A column of lists of text, empty by default."""
    return DeclaredColumn(name, "text[]", comment, default="'{}'")


def entries(name: str, comment: str) -> DeclaredColumn:
    """A column of lists of objects, empty by default."""
    return DeclaredColumn(name, "jsonb", comment, default="'[]'")


DELETION_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deleted": "it is gone from the source",
        "merged": "see merged_into_remote_id",
        "converted": "it became another kind of record",
        "invisible": "the connected user may not see it any more",
        "company_changed": "the tenant connected another account of the system",
    }
)

# Columns that every mart has, in the order of the table: KEYS, links and columns, COMMON, generated
# columns, STAMPS.
KEYS: Final = (
    DeclaredColumn(
        "id",
        "uuid",
        "Our id of the row; stays the same through full resyncs and reconnects.",
        default="gen_random_uuid()",
    ),
    DeclaredColumn("tenant_id", "text", "The tenant.", is_required=True),
    text("system", "The CRM that the row came from; empty for rows that the app made."),
    text("remote_id", "Id of the record in that system; empty for rows that the app made."),
    text(
        "former_remote_id",
        "Id of the record in an account of that system that the tenant was connected to before.",
    ),
)
COMMON: Final = (
    DeclaredColumn(
        "attributes",
        "jsonb",
        "Mapped custom fields that have no column of their own, by name.",
        default="'{}'",
    ),
    instant("remote_created_at", "When the record was made in the system."),
    instant("changed_at", "When the record was last changed in the system."),
    instant("synced_at", "When a sync last wrote this row."),
    instant(
        "deleted_at",
        "When it was seen to be gone from the source, or first read as deleted; empty while it is "
        "there.",
    ),
    text(
        "deletion_reason",
        "; ".join(f"{reason}: {meaning}" for reason, meaning in DELETION_REASONS.items()) + ".",
    ),
    text("merged_into_remote_id", "The remote_id that it was merged into."),
)
STAMPS: Final = (
    DeclaredColumn("created_at", "timestamptz", "When this row was made.", default="now()"),
    DeclaredColumn(
        "updated_at",
        "timestamptz",
        "When this row was last written; follow changes by it.",
        default="now()",
    ),
)

PIPEDRIVE_ID: Final = Generated(
    "pipedrive_id",
    "bigint",
    "case when system = 'pipedrive' and remote_id ~ '^[1-9][0-9]{0,17}$'"
    " then remote_id::bigint end",
    "Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.",
    is_key=True,
)
PIPEDRIVE_TIMES: Final = (
    Generated(
        "pipedrive_created_at",
        "timestamptz",
        "case when system = 'pipedrive' then remote_created_at end",
        "When the record was made in Pipedrive.",
    ),
    Generated(
        "pipedrive_synced_at",
        "timestamptz",
        "case when system = 'pipedrive' then synced_at end",
        "When a sync last wrote this row from Pipedrive.",
    ),
)


def _owner(record: str) -> Link:
    return Link(
        "owner_id",
        "users",
        f"The user (crm.users.id) who owns the {record}; empty where that user was never read.",
        f"Id in the system of the user who owns the {record}.",
        shows=(
            (
                "name",
                text("owner_name", "Name of that user, also of one who is gone at the source."),
            ),
        ),
        is_indexed=False,  # an index more is 2 % of a first build
    )


_LABELS: Final = texts(
    "labels",
    "Names of the labels, in the order of the source, also of labels that are gone; the id where "
    "no name was ever known.",
)

USERS: Final = Mart(
    "users",
    grain="user of the system",
    of="Colleagues who work in the tenant's CRM and own its records",
    columns=(
        text("name", "Name of the user."),
        text("email", "E-mail address that the user signs in with."),
        boolean("is_active", "Whether the user may sign in."),
        text("time_zone", "Time zone of the user, as the source names it."),
    ),
    generated=(PIPEDRIVE_ID,),
    personal=("email",),
)

CUSTOMERS: Final = Mart(
    "customers",
    grain="company in the system",
    of="Companies that a tenant does business with",
    columns=(
        text("name", "Name of the company."),
        text(
            "street",
            "Street and house number, from the parts of the address.",
            is_mappable=True,
        ),
        text("city", "City (locality), from the parts of the address.", is_mappable=True),
        text("postal_code", "Postal code, from the parts of the address.", is_mappable=True),
        text("region", "State or region, from the parts of the address.", is_mappable=True),
        text(
            "country",
            "Country as the source names it, from the parts of the address.",
            is_mappable=True,
        ),
        text(
            "address",
            "Address as it was typed; the only part that is filled when the source has no others.",
            is_mappable=True,
        ),
        text("phone", "Phone number; filled by a field mapping.", is_mappable=True),
        text("email", "E-mail address; filled by a field mapping.", is_mappable=True),
        text("website", "Website.", is_mappable=True),
        text(
            "customer_number",
            "The tenant's own number of the customer; filled by a field mapping.",
            is_mappable=True,
        ),
        text(
            "vat_id",
            "VAT identification number; filled by a field mapping.",
            is_mappable=True,
        ),
        text(
            "industry",
            "Industry by name; the option's id where its name is not known.",
            is_mappable=True,
        ),
        number(
            "annual_revenue",
            "Annual revenue, in the currency of the tenant's account.",
            is_mappable=True,
        ),
        whole_number("employee_count", "Number of employees.", is_mappable=True),
        _LABELS,
    ),
    links=(_owner("company"),),
    generated=(PIPEDRIVE_ID, *PIPEDRIVE_TIMES),
)

CONTACTS: Final = Mart(
    "contacts",
    grain="person in the system",
    of="People that a tenant knows",
    columns=(
        text("name", "Full name."),
        text("first_name", "First name.", is_mappable=True),
        text("last_name", "Last name.", is_mappable=True),
        text("email", "Primary e-mail address, else the first; as sent.", is_mappable=True),
        text("phone", "Primary phone number, else the first; as sent.", is_mappable=True),
        entries(
            "emails",
            'All e-mail addresses that are not empty: [{"value": "…", "primary": true, "label": '
            '"work"}]; an entry that was sent as text has its value only.',
        ),
        entries(
            "phones",
            'All phone numbers that are not empty: [{"value": "…", "primary": true, "label": '
            '"work"}]; an entry that was sent as text has its value only.',
        ),
        text("job_title", "Job title.", is_mappable=True),
        _LABELS,
    ),
    links=(
        Link(
            "customer_id",
            "customers",
            "The customer (crm.customers.id) that the person belongs to, or the one that it was "
            "merged into; empty where the person has none or it is not known.",
            "Id in the system of the company that the person belongs to.",
        ),
        _owner("person"),
    ),
    generated=(PIPEDRIVE_ID, *PIPEDRIVE_TIMES),
    personal=("email", "emails"),
)

MARTS: Final = (USERS, CUSTOMERS, CONTACTS)  # in the order of building: links point backwards


def mart(name: str) -> Mart:
    """Returns the mart of a name.

    Raises:
        KeyError: there is none.
    """
    return {declared.name: declared for declared in MARTS}[name]
