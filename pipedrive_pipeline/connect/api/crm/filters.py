"""What a list may be filtered and sorted by, derived from a mart's declaration, and the conditions.

Each condition and each order has an index (`marts/api_ddl.py`), so that a list takes as long with a
million rows as with a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from pipedrive_pipeline.connect.api.crm.ids import RemoteId, RowId, parsed
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.marts.api_ddl import key_of, words_of
from pipedrive_pipeline.marts.declared import Link, Mart, mart
from pipedrive_pipeline.tenants import Tenant

Kind = Literal["link", "text", "boolean", "minimum", "maximum"]
CREATED: Final = {"remote_created_at": "created_at"}
OPERATORS: Final[Mapping[Kind, str]] = {
    "text": "=",
    "boolean": "=",
    "minimum": ">=",
    "maximum": "<=",
}


@dataclass(frozen=True)
class Filter:
    """One filter of a list: its name in the query, and the column or link that it compares."""

    name: str
    kind: Kind
    column: str
    link: Link | None = None


@cache
def filters_of(declared: Mart) -> tuple[Filter, ...]:
    """Returns the filters of a mart's list that compare a column."""
    resource = resource_of(declared)
    types = {column.name: column.type for column in declared.columns}
    links = [
        Filter(resource.name_of(link.name), "link", link.name, link)
        for link in declared.links
        if mart(link.mart).api and (link.is_indexed or link.name in resource.filters)
    ]
    columns = [
        Filter(resource.name_of(name), "boolean" if types[name] == "boolean" else "text", name)
        for name in resource.filters
        if name in types
    ]
    ranges = [
        limit
        for name in resource.ranges
        for limit in (
            Filter(f"{resource.name_of(name)}_min", "minimum", name),
            Filter(f"{resource.name_of(name)}_max", "maximum", name),
        )
    ]
    return (*links, *columns, *ranges)


@cache
def sorts_of(declared: Mart) -> Mapping[str, str]:
    """Returns the column of each name that a list may be sorted by."""
    resource = resource_of(declared)
    names = {CREATED.get(name, resource.name_of(name)): name for name in resource.sorts}
    return {"id": "id", "updated_at": "updated_at", **names}


def is_by_link(declared: Mart, asked: Mapping[str, Any]) -> bool:
    """True if only rows that are linked to some record are asked for."""
    return any(each.link and asked.get(each.name) is not None for each in filters_of(declared))


def key(declared: Mart, column: str) -> sql.Composed:
    """Returns the SQL of a column's key in the row ``mart``, as its index has it."""
    return sql.SQL(key_of(declared, column)).format(column=sql.Identifier("mart", column))


def search(tenant: Tenant, declared: Mart, searched: str) -> sql.Composed:
    """Returns the condition that the row ``mart`` has the words, as the index of words has it."""
    return sql.SQL("{} @@ pipeline.search_query({}, {})").format(
        sql.SQL(words_of(declared, resource_of(declared), "mart.")),
        sql.Literal(tenant.slug),
        sql.Literal(searched),
    )


def conditions(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, asked: Mapping[str, Any]
) -> Iterator[sql.Composable]:
    """Yields a condition on the row ``mart`` for each filter that is asked for.

    Args:
        connection: to find records that are named by the id of a system.
        tenant: whose.
        declared: the mart of the list.
        asked: values by the name of the filter.

    Raises:
        NotFound: a value is no id of its resource.
    """
    for each in filters_of(declared):
        value = asked.get(each.name)
        if value is None:
            continue
        if each.link is not None:
            yield _linked(connection, tenant, each.link, value)
        else:
            compared = sql.SQL(key_of(declared, each.column))
            yield sql.SQL("{} {} {}").format(
                key(declared, each.column),
                sql.SQL(OPERATORS[each.kind]),
                compared.format(column=sql.Literal(value)),
            )
    if asked.get("updated_since") is not None:
        since = sql.Literal(asked["updated_since"])
        yield sql.SQL("mart.updated_at >= {}").format(since)


def _linked(
    connection: psycopg.Connection, tenant: Tenant, link: Link, id_text: str
) -> sql.Composed:
    """Returns the condition that a row is linked to the record with this id."""
    target = mart(link.mart)
    wanted: RowId | RemoteId | None = parsed(id_text, resource_of(target))
    column = sql.Identifier("mart", link.name)
    if isinstance(wanted, RemoteId):
        query = sql.SQL(
            "select id from {} where tenant_id = %s and system = %s and remote_id = %s"
        ).format(sql.Identifier(*target.table))
        values = (tenant.slug, wanted.system, wanted.remote_id)
        row = connection.execute(query, values).fetchone()
        if row is None:  # a record that was never read: its links have no row of ours
            return sql.SQL("{} is null and mart.system = {} and {} = {}").format(
                column,
                sql.Literal(wanted.system),
                sql.Identifier("mart", link.remote_column),
                sql.Literal(wanted.remote_id),
            )
        return sql.SQL("{} = {}").format(column, sql.Literal(row[0]))
    assert isinstance(wanted, RowId)  # noqa: S101 - the other case
    return sql.SQL("{} = {}").format(column, sql.Literal(wanted.id))
