"""The columns that a mart's views have for every tenant, derived from the mart's declaration.

A view has every column of its table, the name of each linked row next to the link's id, and the
address of the record's page in its system. The view without `_all` leaves out the rows that are
gone at the source, and the columns that say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pipedrive_pipeline.marts.declared import Link, Mart, mart
from pipedrive_pipeline.marts.sources import record_pages
from pipedrive_pipeline.tenants import Tenant

TOMBSTONE_COLUMNS: Final = (
    "former_remote_id",
    "deleted_at",
    "deletion_reason",
    "merged_into_remote_id",
)
NAME: Final = "name"  # the column of a linked row that is shown next to its id
URL: Final = "url"


@dataclass(frozen=True)
class StandardColumn:
    """One column of a view: its comment, and its value in the query of `standard_rows`."""

    name: str
    comment: str
    value: sql.Composable


def standard_columns(declared: Mart) -> tuple[StandardColumn, ...]:
    """Returns the columns of the view with tombstones, in order."""
    names = {
        link.remote_column: StandardColumn(
            name,
            f"Name of the row of {link.mart} that {link.name} refers to.",
            sql.SQL("{}.{}").format(_alias(link), sql.Identifier(NAME)),
        )
        for name, link in linked_names(declared).items()
    }
    columns: list[StandardColumn] = []
    for column in declared.all_columns:
        columns.append(
            StandardColumn(column.name, column.comment, sql.Identifier("mart", column.name))
        )
        if column.name in names:
            columns.append(names[column.name])
    pages = record_pages(declared)
    if pages:
        columns.insert([column.name for column in columns].index("remote_id") + 1, _url(pages))
    return tuple(columns)


def _url(pages: Mapping[str, str]) -> StandardColumn:
    """Returns the column with the address of a record's page, from the templates by system."""
    return StandardColumn(
        URL,
        "Address of the record's page in its system; empty where it is not known.",
        sql.SQL("case mart.system {} end").format(
            sql.SQL(" ").join(
                sql.SQL("when {} then {}").format(sql.Literal(system), _filled(template))
                for system, template in pages.items()
            )
        ),
    )


def _filled(template: str) -> sql.Composable:
    """Returns the SQL of a page's address: the template with the values of a row of the view."""
    values = {
        "{company_domain}": sql.SQL("nullif(connection.company_domain, '')"),
        "{id}": sql.SQL("mart.remote_id"),
    }
    parts = re.split(r"(\{\w+\})", template)
    return sql.SQL(" || ").join(values.get(part, sql.Literal(part)) for part in parts if part)


def standard_rows(declared: Mart, tenant: Tenant, *, has_tombstones: bool) -> sql.Composed:
    """Returns the `from` clause of a view: the tenant's rows as ``mart``, and the linked rows.

    The tenant is a literal, because a reader of the view has not set `pipeline.tenant_id`.
    """
    # Not `*`: the view would prevent the app from dropping a column of its own.
    rows = sql.SQL(
        "(select {columns} from {table} as stored where stored.tenant_id = {tenant}"
    ).format(
        columns=sql.SQL(", ").join(
            sql.Identifier("stored", column.name) for column in declared.all_columns
        ),
        table=sql.Identifier(*declared.table),
        tenant=sql.Literal(tenant.slug),
    )
    rows += sql.SQL(") as mart" if has_tombstones else " and stored.deleted_at is null) as mart")
    for link in linked_names(declared).values():
        # By tenant too, which is part of the index.
        rows += sql.SQL(
            " left join {table} as {alias} on {alias}.tenant_id = mart.tenant_id"
            " and {alias}.id = mart.{link}"
        ).format(
            table=sql.Identifier(*mart(link.mart).table),
            alias=_alias(link),
            link=sql.Identifier(link.name),
        )
    # One row at most, and no join at all if the address is not selected.
    return rows + sql.SQL(
        " left join integration.connections as connection"
        " on connection.tenant_id = mart.tenant_id and connection.system = mart.system"
    )


def linked_names(declared: Mart) -> dict[str, Link]:
    """Returns the link of each column with the name of a linked row, by the column's name.

    Links whose name the table itself repeats have none.
    """
    return {
        f"{_stem(link)}_{NAME}": link
        for link in declared.links
        if NAME not in dict(link.shows)
        and any(column.name == NAME for column in mart(link.mart).columns)
    }


def _stem(link: Link) -> str:
    return link.name.removesuffix("_id")


def _alias(link: Link) -> sql.Identifier:
    return sql.Identifier(f"linked_{_stem(link)}")
