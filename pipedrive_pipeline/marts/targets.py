"""The targets: for each mart its table, its keys, and the columns that a build writes.

A column that is not listed here and that no mapping fills belongs to the app and is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from psycopg import sql

from pipedrive_pipeline.marts.fields.raw_fields import RawFields


@dataclass(frozen=True)
class Filling:
    """One source of a mapped column: its value, and the value converted to the column's type."""

    field_key: str
    source: str  # the key, and the part if one is named
    target: str  # column, or attributes.<name>
    value: sql.Composable
    converted: sql.Composable
    refusal: str | None  # why a value may not convert; None if each converts


@dataclass(frozen=True)
class Target:
    """One mart's table.

    A mapped expression may name the entity's raw table (``organizations.custom_fields``) and has
    the type of its column; it takes precedence over the select's own column of that name.
    """

    name: str  # of the files in sql/marts and sql/audits
    entity: str  # the raw table of the same grain, with the key `id`
    table: tuple[str, str]  # schema and table
    columns: Mapping[str, str]  # column of the select -> column of the table
    mapped: Mapping[str, sql.Composable] = field(
        default_factory=dict
    )  # column of the table -> value
    fillings: tuple[Filling, ...] = ()  # the sources of `mapped`
    unpacked: RawFields | None = None  # the raw fields that `mapped` reads
    tenant_key: str = "tenant_id"
    source_key: str = "pipedrive_id"
    deleted_at: str = "deleted_at"
    links: tuple[str, ...] = ()  # columns that refer to a row of another mart
    written_at: tuple[str, ...] = ("pipedrive_synced_at", "updated_at")

    @property
    def identifier(self) -> sql.Identifier:
        """The table, quoted."""
        return sql.Identifier(*self.table)

    @property
    def values(self) -> dict[str, sql.Composable]:
        """The value of each of our columns; ``mart`` is the select's row."""
        selected = {ours: sql.Identifier("mart", name) for name, ours in self.columns.items()}
        return {**selected, **self.mapped}

    @property
    def joins(self) -> sql.Composable:
        """The joins that `mapped` needs after the raw table in a `from` clause."""
        return self.unpacked.joins() if self.unpacked else sql.SQL("")

    def with_mapped(
        self,
        expressions: Mapping[str, sql.Composable],
        fillings: tuple[Filling, ...] = (),
        unpacked: RawFields | None = None,
    ) -> Target:
        """Returns the same target with columns that a field mapping fills."""
        mapped = MappingProxyType(dict(expressions))
        return replace(self, mapped=mapped, fillings=fillings, unpacked=unpacked)


def _same(*names: str) -> Mapping[str, str]:
    return MappingProxyType({name: name for name in names})


CUSTOMERS: Final = Target(
    name="customers",
    entity="organizations",
    table=("crm", "customers"),
    columns=_same(
        "name",
        "street",
        "city",
        "postal_code",
        "region",
        "country",
        "address",
        "website",
        "industry",
        "annual_revenue",
        "employee_count",
        "owner_id",
        "owner_name",
        "labels",
        "changed_at",
        "pipedrive_created_at",
        "deleted_at",
        "deletion_reason",
        "merged_into",
    ),
)

CONTACTS: Final = Target(
    name="contacts",
    entity="persons",
    table=("crm", "contacts"),
    columns=_same(
        "customer_id",
        "name",
        "first_name",
        "last_name",
        "email",
        "phone",
        "emails",
        "phones",
        "job_title",
        "owner_id",
        "owner_name",
        "labels",
        "changed_at",
        "pipedrive_created_at",
        "deleted_at",
        "deletion_reason",
        "merged_into",
    ),
    links=("customer_id",),
)

TARGETS: Final = (CUSTOMERS, CONTACTS)  # in build order, because contacts link to customers
