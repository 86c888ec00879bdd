"""The marts: each table of `crm` with its columns and links, declared once.

The tables are made from these declarations by files of `sql/schema` (`marts/schema_changes.py`),
and the build, the mapping, the views, the assets and the reference page read them. A mart's rows
come from one select per system, `sql/marts/<system>/<mart>.sql` (`marts/sources.py`); a mart whose
file a system lacks has no rows of that system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        is_required: it is never null, and given with each new row.
        is_mappable: a tenant's field mapping may fill it.
        currency: of an amount of money: the target of a mapping that has its currency.
    """

    name: str
    type: str
    comment: str
    default: str | None = None
    is_required: bool = False
    is_mappable: bool = False
    currency: str | None = None


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
    ``is_often_unknown`` says that a record without its row is normal: it may have been gone before
    it was first read.
    """

    name: str
    mart: str
    comment: str
    remote_comment: str
    shows: tuple[tuple[str, DeclaredColumn], ...] = ()
    is_indexed: bool = True
    is_often_unknown: bool = False

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
class Index:
    """An index for a view over all rows of a tenant, which reads it and not the table.

    Attributes:
        name: of what it has, in the index's name.
        columns: after the tenant, in order.
        where: condition on the rows that it has.
    """

    name: str
    columns: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class ApiResource:
    """The resource of the CRM API that shows a mart.

    Attributes:
        path: of the resource under `/api/crm/v1`, such as ``deals``.
        id_prefix: begins the ids of its records, as in ``deal_<uuid hex>``.
        noun: one of its records in the types of events, as in ``deal.updated``.
        outcomes: a column, and those of its values that have a type of events of their own:
            ``status`` with ``won`` for `deal.won`.
        names: the API's name of a column or link by its name in the mart.
        fractions: columns in percent that the API shows as fractions: 25 as 0.25.
        percent_or_amount: of a column whose unit is in another column, that column: where it says
            ``percent`` the API shows a fraction under the column's name, else an amount under
            ``<name>_amount``.
        entries: columns of lists of ``{"value": …}``: the API shows their values as texts under the
            column's name, and the full entries under ``<singular>_entries``.
        parts: columns that are parts of a text, by the text's column: the API shows them under
            ``<name>_parts``, and the text joined from them where it is empty itself.
        times: names of times of day (HH:MM, UTC) by the column of the instant.
        sorts: columns that lists may be sorted by, besides ``id`` and ``updated_at``; each has an
            index.
        filters: columns and links that lists are filtered by, each with an index; a link with an
            index of its own is a filter by itself.
        ranges: columns among ``sorts`` with the filters ``<name>_min`` and ``<name>_max``.
        searched: columns of texts, or of lists of ``{"value": …}``, whose words `search` finds.
        numbers: such columns of telephone numbers, whose digits it finds.
        nested: last part of the path under another resource, by the link to it: ``products`` for
            `/deals/{id}/products`.
    """

    path: str
    id_prefix: str
    noun: str
    outcomes: tuple[str, tuple[str, ...]] | None = None
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    fractions: tuple[str, ...] = ()
    percent_or_amount: Mapping[str, str] = field(default_factory=dict, hash=False)
    entries: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    times: Mapping[str, str] = field(default_factory=dict, hash=False)
    sorts: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    nested: Mapping[str, str] = field(default_factory=dict, hash=False)

    def name_of(self, column: str) -> str:
        """Returns the API's name of a column or link."""
        return self.names.get(column, column)


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
        points: columns with phone numbers, e-mail addresses or websites, by which rows are looked
            up, each with its kind (`marts/contact_points`): texts, or lists of `{"value": …}`.
        part_of: name of the link to the record that a row is a part of, where a system's select
            gives several rows per record.
        owned_by: name of the link to the user who owns a row.
        visible_with: names of links: a user who may see only some records sees a row if it is
            theirs, or if they may see each record that it is linked to. A mart with neither, and
            without ``visible_to``, is seen by everybody.
        api: how the CRM API shows it; None: it does not.
        indexes: besides those of keys and links.
    """

    name: str
    grain: str
    of: str
    columns: tuple[DeclaredColumn, ...]
    links: tuple[Link, ...] = ()
    generated: tuple[Generated, ...] = ()
    personal: tuple[str, ...] = ()
    points: tuple[tuple[str, str], ...] = ()
    part_of: str | None = None
    owned_by: str | None = None
    visible_with: tuple[str, ...] = ()
    api: ApiResource | None = None
    indexes: tuple[Index, ...] = ()

    @property
    def table(self) -> tuple[str, str]:
        """Schema and table."""
        return SCHEMA, self.name

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns by which a build finds rows and links them."""
        linked = (name for link in self.links for name in (link.name, link.remote_column))
        return ("tenant_id", "system", "remote_id", *linked)

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types of the events of its rows; empty if the API does not show them."""
        if self.api is None:
            return ()
        outcomes = self.api.outcomes[1] if self.api.outcomes else ()
        verbs = ("created", "updated", *outcomes, "deleted")
        return tuple(f"{self.api.noun}.{verb}" for verb in verbs)

    @property
    def part_of_column(self) -> str | None:
        """The column with the remote id of the record that a row is a part of."""
        columns = {link.name: link.remote_column for link in self.links}
        return None if self.part_of is None else columns[self.part_of]

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


def money(
    name: str, comment: str, *, is_mappable: bool = False, currency: str = "currency"
) -> DeclaredColumn:
    """A column of amounts; ``currency`` is the column or attribute with the currency of each."""
    return DeclaredColumn(name, "numeric", comment, is_mappable=is_mappable, currency=currency)


def whole_number(name: str, comment: str, *, is_mappable: bool = False) -> DeclaredColumn:
    """A column of whole numbers of 64 bits."""
    return DeclaredColumn(name, "bigint", comment, is_mappable=is_mappable)


def boolean(name: str, comment: str) -> DeclaredColumn:
    """A column of true and false."""
    return DeclaredColumn(name, "boolean", comment)


def instant(name: str, comment: str) -> DeclaredColumn:
    """A column of times, in UTC."""
    return DeclaredColumn(name, "timestamptz", comment)


def day(name: str, comment: str, *, is_mappable: bool = False) -> DeclaredColumn:
    """A column of days of the calendar."""
    return DeclaredColumn(name, "date", comment, is_mappable=is_mappable)


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


def _link(
    name: str, mart: str, what: str, *, is_indexed: bool = True, is_often_unknown: bool = False
) -> Link:
    """Returns a link with its two comments; ``what`` says which record it is."""
    return Link(
        name,
        mart,
        f"The row of crm.{mart} of {what}, or of the one that it was merged into; empty where there"
        " is none or it is not known.",
        f"Id in the system of {what}.",
        is_indexed=is_indexed,
        is_often_unknown=is_often_unknown,
    )


def _user(name: str, what: str) -> Link:
    """Returns a link to one of the users, who are few and may be gone."""
    return _link(name, "users", what, is_indexed=False, is_often_unknown=True)


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
        is_often_unknown=True,
    )


_LABELS: Final = texts(
    "labels",
    "Names of the labels, in the order of the source, also of labels that are gone; the id where "
    "no name was ever known.",
)

_VISIBLE_TO: Final = text(
    "visible_to",
    "Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: "
    "everybody, or the owner's visibility group where the plan has groups, 5: that group and those "
    "below it, 7: everybody.",
)
_CURRENCY: Final = text(
    "currency", "Currency of the amounts of this row, ISO 4217; never add up two currencies."
)
_IS_ARCHIVED: Final = boolean(
    "is_archived", "Whether it is archived; an archived record is not deleted."
)
_ARCHIVED_AT: Final = instant("archived_at", "When it was archived; empty if it is not.")
_SORT: Final = whole_number("sort", "Place in the order of the source, ascending; has gaps.")
_BILLING_FREQUENCY: Final = text(
    "billing_frequency", "How often it is billed, as the source names it, such as monthly."
)
_BILLING_CYCLES: Final = whole_number(
    "billing_cycles", "How many times it is billed; empty: once, or without an end."
)

USERS: Final = Mart(
    "users",
    grain="user of the system",
    of="Colleagues who work in the tenant's CRM and own its records",
    columns=(
        text("name", "Name of the user."),
        text("email", "E-mail address that the user signs in with."),
        boolean("is_active", "Whether the user may sign in."),
        boolean("is_admin", "Whether the user is an administrator of the account."),
        text(
            "role",
            "Role that decides what the user sees, by name, or by its id where the source gives no "
            "name; in Pipedrive the visibility group.",
        ),
        text("team", "Team of the user, by name or id."),
        text("time_zone", "Time zone of the user, as the source names it."),
    ),
    generated=(PIPEDRIVE_ID,),
    personal=("email",),
    api=ApiResource(
        "users",
        "usr",
        "user",
        names={"is_active": "active"},
        sorts=("name",),
        searched=("name", "email"),
    ),
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
        money(
            "annual_revenue",
            "Annual revenue, in the currency of the tenant's account.",
            is_mappable=True,
            currency="attributes.annual_revenue_currency",
        ),
        whole_number("employee_count", "Number of employees.", is_mappable=True),
        _LABELS,
        _VISIBLE_TO,
    ),
    links=(_owner("company"),),
    generated=(PIPEDRIVE_ID, *PIPEDRIVE_TIMES),
    owned_by="owner_id",
    api=ApiResource(
        "organizations",
        "org",
        "organization",
        sorts=("name", "remote_created_at"),
        filters=("owner_id",),
        searched=("name", "email", "website"),
        numbers=("phone",),
        parts={"address": ("street", "postal_code", "city", "region", "country")},
    ),
    points=(("phone", "phone"), ("email", "email"), ("website", "website")),
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
        _VISIBLE_TO,
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
    owned_by="owner_id",
    api=ApiResource(
        "persons",
        "per",
        "person",
        names={"customer_id": "org_id"},
        entries=("emails", "phones"),
        sorts=("name", "remote_created_at"),
        filters=("owner_id",),
        searched=("name", "email", "emails"),
        numbers=("phone", "phones"),
    ),
    points=(("phone", "phone"), ("phones", "phone"), ("email", "email"), ("emails", "email")),
)

PIPELINES: Final = Mart(
    "pipelines",
    grain="pipeline in the system",
    of="Sales processes, each a row of stages",
    columns=(
        text("name", "Name of the pipeline; the last one known where it is gone."),
        _SORT,
        boolean("probability_used", "Whether the probabilities of its deals and stages count."),
    ),
    generated=(PIPEDRIVE_ID,),
    api=ApiResource(
        "pipelines", "pip", "pipeline", names={"sort": "order"}, sorts=("sort", "name")
    ),
)

STAGES: Final = Mart(
    "stages",
    grain="stage of a pipeline in the system",
    of="Stages of the pipelines",
    columns=(
        text("name", "Name of the stage; the last one known where it is gone."),
        _SORT,
        number("probability", "Chance in percent that a deal in this stage is won."),
        boolean(
            "is_closed",
            "Whether a deal in this stage is closed; false in a system such as Pipedrive, where "
            "the status of a deal says so, not its stage.",
        ),
        boolean("is_won", "Whether a deal in this stage is won; false in such a system."),
        whole_number(
            "rotten_after_days",
            "Days after which a deal in this stage without activity counts as rotten; empty: "
            "never.",
        ),
    ),
    links=(_link("pipeline_id", "pipelines", "the pipeline", is_indexed=False),),
    generated=(PIPEDRIVE_ID,),
    api=ApiResource(
        "stages",
        "stg",
        "stage",
        names={"sort": "order"},
        sorts=("sort", "name"),
        filters=("pipeline_id",),
        fractions=("probability",),
        nested={"pipeline_id": "stages"},
    ),
)

PRODUCTS: Final = Mart(
    "products",
    grain="product in the system",
    of="Products that a tenant sells; their prices are in crm.product_prices",
    columns=(
        text("name", "Name of the product."),
        text("code", "Code or number of the product.", is_mappable=True),
        text("description", "Description.", is_mappable=True),
        text("unit", "Unit in which it is sold.", is_mappable=True),
        number("tax", "Tax in percent.", is_mappable=True),
        text(
            "category",
            "Category by name; the option's id where its name is not known.",
            is_mappable=True,
        ),
        boolean("is_active", "Whether it can be added to deals."),
        _BILLING_FREQUENCY,
        _BILLING_CYCLES,
        _VISIBLE_TO,
    ),
    links=(_user("owner_id", "the user who owns the product"),),
    generated=(PIPEDRIVE_ID,),
    owned_by="owner_id",
    api=ApiResource(
        "products",
        "prod",
        "product",
        names={"is_active": "active"},
        sorts=("name", "remote_created_at"),
        filters=("owner_id", "is_active"),
        searched=("name", "code"),
    ),
)

PRODUCT_PRICES: Final = Mart(
    "product_prices",
    grain="product, variation and currency in the system",
    of="Prices of products and of their variations",
    columns=(
        text(
            "variation_remote_id",
            "Id in the system of the variation; empty for a price of the product itself.",
        ),
        text("variation_name", "Name of the variation."),
        replace(_CURRENCY, comment="Currency of the amounts of this row, ISO 4217."),
        money("price", "Price of one unit."),
        money("cost", "Cost of one unit."),
        money("direct_cost", "Direct cost of one unit; earlier called overhead in Pipedrive."),
        money("overhead", "Overhead of one unit, where the system has both."),
        text("comments", "Comments on the price."),
    ),
    links=(_link("product_id", "products", "the product"),),
    part_of="product_id",
    visible_with=("product_id",),
)

LEADS: Final = Mart(
    "leads",
    grain="lead in the system",
    of="Leads: possible deals that nobody works on yet",
    columns=(
        text("name", "Title of the lead."),
        text("status", "Status as the source names it; empty where leads have none."),
        text("source", "Where the lead came from, as the source names it.", is_mappable=True),
        text("channel", "Marketing channel, by name or id.", is_mappable=True),
        text(
            "person_name",
            "Name of the person, where the lead itself has it.",
            is_mappable=True,
        ),
        text(
            "company_name",
            "Name of the company, where the lead itself has it.",
            is_mappable=True,
        ),
        text("email", "E-mail address, where the lead itself has one.", is_mappable=True),
        text("phone", "Phone number, where the lead itself has one.", is_mappable=True),
        money("amount", "Expected value, in the currency of this row.", is_mappable=True),
        replace(_CURRENCY, is_mappable=True),
        day("expected_close_date", "Day on which it should be decided.", is_mappable=True),
        _IS_ARCHIVED,
        _ARCHIVED_AT,
        instant("converted_at", "When it became a deal; empty if it did not."),
        _LABELS,
        _VISIBLE_TO,
    ),
    links=(
        _link("customer_id", "customers", "the company of the lead"),
        _link("contact_id", "contacts", "the person of the lead"),
        _user("owner_id", "the user who owns the lead"),
        _user("creator_id", "the user who made the lead"),
        _link("converted_deal_id", "deals", "the deal that the lead became", is_often_unknown=True),
        _link(
            "source_deal_id",
            "deals",
            "the deal that was turned into this lead",
            is_often_unknown=True,
        ),
    ),
    personal=("name", "email"),
    owned_by="owner_id",
    api=ApiResource(
        "leads",
        "lead",
        "lead",
        sorts=("amount", "remote_created_at"),
        filters=("owner_id",),
        ranges=("amount",),
        searched=("name", "person_name", "company_name", "email"),
        numbers=("phone",),
        names={
            "name": "title",
            "amount": "value",
            "customer_id": "org_id",
            "contact_id": "person_id",
        },
    ),
)

DEALS: Final = Mart(
    "deals",
    grain="deal in the system",
    of="Deals: possible and closed sales",
    columns=(
        text("name", "Title of the deal."),
        text(
            "status",
            "open, won or lost; independent of the stage in Pipedrive, where a won deal stays in "
            "its stage. A value that is none of them is shown as it was sent.",
        ),
        money("amount", "Value of the deal, in the currency of this row.", is_mappable=True),
        replace(_CURRENCY, is_mappable=True),
        number(
            "probability",
            "Chance in percent that the deal is won, where it has its own; empty: that of its "
            "stage counts.",
            is_mappable=True,
        ),
        money("mrr", "Monthly recurring revenue, in the currency of this row."),
        money("arr", "Annual recurring revenue, in the currency of this row."),
        money("acv", "Annual contract value, in the currency of this row."),
        day("expected_close_date", "Day on which it should be decided.", is_mappable=True),
        instant("stage_changed_at", "When it came into its stage; empty if it never moved."),
        instant("closed_at", "When it was last won or lost; empty while it is open."),
        instant("won_at", "When it was won; empty unless it is won now."),
        instant("lost_at", "When it was lost; empty unless it is lost now."),
        instant("first_won_at", "When it was won for the first time; stays after a reopening."),
        text("lost_reason", "Why it was lost.", is_mappable=True),
        text(
            "forecast_category",
            "Category in the sales forecast, where the system has one.",
            is_mappable=True,
        ),
        text("source", "Where the deal came from, as the source names it.", is_mappable=True),
        text("channel", "Marketing channel by name; the id where no name is known."),
        _IS_ARCHIVED,
        _ARCHIVED_AT,
        _LABELS,
        _VISIBLE_TO,
    ),
    links=(
        _link("customer_id", "customers", "the company of the deal"),
        _link("contact_id", "contacts", "the main person of the deal"),
        _user("owner_id", "the user who owns the deal"),
        _user("creator_id", "the user who made the deal"),
        _link("pipeline_id", "pipelines", "the pipeline", is_indexed=False),
        _link("stage_id", "stages", "the stage", is_indexed=False),
        _link("lead_id", "leads", "the lead that became this deal", is_often_unknown=True),
        _link(
            "converted_lead_id",
            "leads",
            "the lead that the deal was turned into",
            is_often_unknown=True,
        ),
    ),
    generated=(PIPEDRIVE_ID,),
    personal=("name",),
    owned_by="owner_id",
    api=ApiResource(
        "deals",
        "deal",
        "deal",
        outcomes=("status", ("won", "lost")),
        sorts=("amount", "expected_close_date", "remote_created_at"),
        filters=("owner_id", "stage_id", "status"),
        ranges=("amount",),
        searched=("name",),
        names={
            "name": "title",
            "amount": "value",
            "customer_id": "org_id",
            "contact_id": "person_id",
        },
        fractions=("probability",),
    ),
)

DEAL_CONTACTS: Final = Mart(
    "deal_contacts",
    grain="deal and person in the system",
    of="People who take part in a deal; the main person of each deal is always there, the others "
    "where the participants of deals are read",
    columns=(
        text("role", "Role of the person in the deal, where the system has one."),
        boolean("is_primary", "Whether it is the main person of the deal."),
        instant("added_at", "When the person was added, where the source says so."),
    ),
    links=(
        _link("deal_id", "deals", "the deal"),
        _link("contact_id", "contacts", "the person"),
    ),
    part_of="deal_id",
    visible_with=("deal_id",),
)

DEAL_STAGE_HISTORY: Final = Mart(
    "deal_stage_history",
    grain="deal and visit of a stage",
    of="Visits of deals to stages: a deal that comes back to a stage has two rows; winning, losing "
    "and reopening a deal are in the row of the stage that it was in",
    columns=(
        instant(
            "entered_at",
            "When the deal came into the stage; where entered_at_is_exact is false, the latest "
            "possible time.",
        ),
        instant(
            "left_at",
            "When it left the stage: the next entered_at; empty while it is there, also if it is "
            "closed.",
        ),
        boolean("entered_at_is_exact", "Whether the source itself gives entered_at."),
        boolean(
            "left_at_is_exact",
            "Whether left_at is the time of leaving. False where the deal is known to have been "
            "elsewhere before the next visit (it came back to this stage between two reads), or "
            "where the next entered_at is not exact: then it left at left_at or earlier. Empty "
            "while it is in the stage.",
        ),
        whole_number(
            "open_seconds",
            "Seconds of the visit in which the deal was open; empty while it is open and in the "
            "stage. A visit in which it was closed all the time has 0.",
        ),
        entries(
            "statuses",
            'Statuses during the visit in order: [{"status": "open", "at": "…", "is_exact": true, '
            '"is_change": false}, {"status": "won", …}]; the first is the one that the deal came '
            "with, and is no change. They tell the status at any time, and each entry that is a "
            "change to won is a win: also where a deal was won, reopened and won again in one "
            "stage. View won_lost_monthly counts them by month.",
        ),
        text(
            "last_status",
            "Status of the deal when it left the stage; while it is there, its status now.",
        ),
        boolean(
            "is_last_in_stage",
            "Whether it is the deal's last visit of this stage; these rows count each deal once in "
            "each of its stages.",
        ),
        whole_number(
            "stage_open_seconds",
            "In the deal's last visit of the stage: seconds in which it was open there, all its "
            "visits together; empty in the others, and while it is open and in the stage.",
        ),
        texts(
            "stages_visited",
            "In the deal's last visit of all: the remote ids of the stages that it was in, each "
            "once, sorted; empty in the others.",
        ),
        instant(
            "won_at",
            "When it was last won during this visit; stays when it is reopened, while deals.won_at "
            "is empty then. Every win is in statuses.",
        ),
        instant("lost_at", "When it was last lost during this visit; stays when it is reopened."),
        instant(
            "reopened_at",
            "When it was last reopened during this visit; the latest possible time unless the "
            "entry in statuses is exact.",
        ),
        number(
            "amount",
            "Value of the deal when it came into the stage; where the system's own history is not "
            "read, when the visit was first read.",
        ),
        _CURRENCY,
        number(
            "probability",
            "Chance in percent that the deal is won, when it came into the stage; only where the "
            "system's own history has it.",
        ),
        text(
            "origin",
            "How the visit is known. seeded: from the first read of the deal, and what was before "
            "is not known unless entered_at is when the deal was made. diff: from the difference "
            "between two reads, so moves in between are not known. webhook: from a message of the "
            "source. source_history: from the source's own history, which has every move.",
        ),
    ),
    links=(
        _link("deal_id", "deals", "the deal"),
        _link("stage_id", "stages", "the stage", is_often_unknown=True),
        _link(
            "pipeline_id",
            "pipelines",
            "the pipeline in which the stage was then",
            is_indexed=False,
            is_often_unknown=True,
        ),
        _user("changed_by_id", "the user who moved the deal to the stage, where it is known"),
    ),
    generated=(
        Generated(
            "seconds",
            "bigint",
            "extract(epoch from left_at - entered_at)::bigint",
            "Seconds from entered_at to left_at; empty while the deal is in the stage.",
        ),
    ),
    part_of="deal_id",
    indexes=(
        Index(
            "durations",
            ("stage_id", "stage_open_seconds"),
            "is_last_in_stage and deleted_at is null and stage_id is not null",
        ),
        Index(
            "ways",
            ("system", "stages_visited", "last_status"),
            "left_at is null and deleted_at is null",
        ),
        Index(
            "closings",
            ("deal_id", "pipeline_id", "won_at", "lost_at", "reopened_at"),
            "(won_at is not null or lost_at is not null) and deleted_at is null",
        ),
    ),
    visible_with=("deal_id",),
)

DEAL_PRODUCTS: Final = Mart(
    "deal_products",
    grain="line of a deal in the system",
    of="Products on deals: the lines of a deal",
    columns=(
        text("name", "Name of the product on this line; may differ from the product's name."),
        text("variation_remote_id", "Id in the system of the variation of the product."),
        number("quantity", "How many are sold."),
        money("unit_price", "Price of one, in the currency of this row."),
        _CURRENCY,
        number("discount", "Discount on the line: a percentage or an amount, see discount_type."),
        text("discount_type", "percent or amount."),
        number("tax", "Tax in percent."),
        text("tax_method", "exclusive, inclusive or none, as the source names it."),
        money(
            "total",
            "Sum of the line after its discount, and with tax where the tax is exclusive, in the "
            "currency of this row.",
        ),
        _BILLING_FREQUENCY,
        _BILLING_CYCLES,
        day("starts_on", "First day of billing."),
        boolean("is_enabled", "Whether the line counts into the value of the deal."),
        _SORT,
        text("comments", "Comments on the line."),
    ),
    links=(
        _link("deal_id", "deals", "the deal"),
        _link("product_id", "products", "the product"),
    ),
    generated=(PIPEDRIVE_ID,),
    visible_with=("deal_id",),
    api=ApiResource(
        "deal-products",
        "dpr",
        "deal_product",
        names={"sort": "order"},
        sorts=("sort",),
        percent_or_amount={"discount": "discount_type"},
        nested={"deal_id": "products"},
    ),
)

ACTIVITIES: Final = Mart(
    "activities",
    grain="activity in the system",
    of="Meetings, calls, tasks, e-mails and deadlines, done or planned",
    columns=(
        text("kind", "meeting, call, task, email, deadline or other; made from remote_kind."),
        text("remote_kind", "Type of the activity in the system, by its key."),
        text("subject", "Subject."),
        text("body", "Notes on the activity, HTML as sent."),
        text("location", "Where it takes place.", is_mappable=True),
        day("due_date", "Day on which it is due; in UTC where it has a time."),
        instant("starts_at", "When it begins; empty if only a day was given."),
        instant("ends_at", "When it ends; empty if no time or no duration was given."),
        DeclaredColumn("duration", "interval", "How long it takes."),
        boolean("all_day", "Whether a day without a time was given."),
        boolean("done", "Whether it is done."),
        instant("done_at", "When it was marked as done."),
        text("outcome", "Outcome by name; the option's id where its name is not known."),
        text("priority", "Priority by name; the option's id where its name is not known."),
        boolean("busy", "Whether the owner is busy during it."),
        text("conference_url", "Address of the online meeting."),
        text("calendar_event_id", "Id of the event in the calendar, where the source gives it."),
    ),
    links=(
        _link("customer_id", "customers", "the company", is_often_unknown=True),
        _link("contact_id", "contacts", "the main person", is_often_unknown=True),
        _link("deal_id", "deals", "the deal", is_often_unknown=True),
        _link("lead_id", "leads", "the lead", is_often_unknown=True),
        _user("owner_id", "the user who owns the activity"),
        _user("creator_id", "the user who made the activity"),
    ),
    generated=(PIPEDRIVE_ID,),
    personal=("subject", "body"),
    owned_by="owner_id",
    visible_with=("customer_id", "contact_id", "deal_id", "lead_id"),
    api=ApiResource(
        "activities",
        "act",
        "activity",
        sorts=("due_date",),
        filters=("owner_id", "done"),
        searched=("subject",),
        names={
            "kind": "type",
            "remote_kind": "system_type",
            "body": "note",
            "customer_id": "org_id",
            "contact_id": "person_id",
        },
        times={"starts_at": "due_time"},
    ),
)

NOTES: Final = Mart(
    "notes",
    grain="note in the system",
    of="Notes on deals, leads, people and companies; a note is one row, whatever it is linked to",
    columns=(
        text("body", "Text of the note, HTML as sent."),
        text("body_text", "Text of the note without HTML."),
        text(
            "noted_on",
            "Kind of record that the note was made for: the first of deal, lead, contact, customer "
            "that it is linked to. In Pipedrive a note on a deal has the deal's person and company "
            "too.",
        ),
        texts("pinned_to", "Kinds of record that it is pinned to: deal, lead, contact, customer."),
    ),
    links=(
        _link("customer_id", "customers", "the company", is_often_unknown=True),
        _link("contact_id", "contacts", "the person", is_often_unknown=True),
        _link("deal_id", "deals", "the deal", is_often_unknown=True),
        _link("lead_id", "leads", "the lead", is_often_unknown=True),
        _user("author_id", "the user who wrote the note"),
    ),
    generated=(PIPEDRIVE_ID,),
    personal=("body",),
    owned_by="author_id",
    visible_with=("customer_id", "contact_id", "deal_id", "lead_id"),
    api=ApiResource(
        "notes",
        "note",
        "note",
        filters=("author_id",),
        names={
            "body": "content",
            "body_text": "text",
            "customer_id": "org_id",
            "contact_id": "person_id",
        },
    ),
)

# In the order of building. Where links do not point backwards they are set after all rows.
MARTS: Final = (
    USERS,
    CUSTOMERS,
    CONTACTS,
    PIPELINES,
    STAGES,
    PRODUCTS,
    PRODUCT_PRICES,
    LEADS,
    DEALS,
    DEAL_CONTACTS,
    DEAL_STAGE_HISTORY,
    DEAL_PRODUCTS,
    ACTIVITIES,
    NOTES,
)


def mart(name: str) -> Mart:
    """Returns the mart of a name.

    Raises:
        KeyError: there is none.
    """
    return {declared.name: declared for declared in MARTS}[name]
