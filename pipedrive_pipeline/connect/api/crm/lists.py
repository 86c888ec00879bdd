"""Lists of the CRM API: a page of objects, from the place where the page before ended.

A page takes two steps. The first chooses ids by the indexes, with the rights of the app's login,
because Postgres uses an index of words or numbers under a policy only if a superuser vouches for
the operator. The second reads those rows with the role of the app: its policies decide which there
are, regardless of what the first step chose.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from pipedrive_pipeline.connect.api.crm import filters, reading
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import Link, Mart
from pipedrive_pipeline.marts.visibility import become_user, is_restricted, visible_to_user
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.warehouse.database import become_app, set_local

PURPOSE: Final = "a place in a list"
# Of a search, or of a record's rows in another order than that of ids. Above it, reading a page's
# rows in order takes less than sorting all: with a million rows both take about 40 ms at it.
MATCHES_MAX: Final = 20_000


@dataclass(frozen=True)
class Place:
    """Where a page ended: the key and the id of its last row."""

    key: str
    id: UUID


@dataclass(frozen=True)
class ObjectPage:
    """Objects in order, and the cursor of the next page; None on the last one."""

    objects: list[dict[str, Any]]
    next_cursor: str | None


def page_of(
    services: Services,
    caller: Caller,
    declared: Mart,
    asked: Mapping[str, Any],
    links: Sequence[Link] = (),
) -> ObjectPage:
    """Returns one page of a list.

    Args:
        services: of the app.
        caller: who asks.
        declared: the mart of the list.
        asked: the filters by name, and ``sort``, ``limit``, ``cursor`` and ``deleted``.
        links: whose records the objects contain.

    Raises:
        BadInput: the cursor is not one of this list.
        NotFound: a filter's value is no id.
    """
    settings, sort, limit = services.vault.settings, asked["sort"], asked["limit"]
    list_name = f"{resource_of(declared).path} {sort}"
    place = decoded(settings, list_name, asked["cursor"]) if asked["cursor"] else None
    with services.warehouse.connect() as connection:
        if caller.crm_user_id:
            become_user(connection, caller.tenant, caller.crm_user_id)
        chosen = _chosen(connection, caller, declared, asked, place)
        become_app(connection, caller.tenant)
        page, is_more = chosen[:limit], len(chosen) > limit
        rows = reading.rows_of(connection, caller.tenant, declared, [row_id for row_id, _ in page])
        objects = reading.objects_of(connection, caller.tenant, declared, rows, links)
    last = Place(page[-1][1], page[-1][0]) if is_more else None
    return ObjectPage(objects, encoded(settings, list_name, last) if last else None)


def _chosen(
    connection: psycopg.Connection,
    caller: Caller,
    declared: Mart,
    asked: Mapping[str, Any],
    place: Place | None,
) -> list[tuple[UUID, str]]:
    """Returns id and key of the page's rows, and of one more if there are more."""
    name = asked["sort"].removeprefix("-")
    is_descending = asked["sort"].startswith("-")
    key = filters.key(declared, filters.sorts_of(declared)[name])
    wanted = [
        sql.SQL("mart.tenant_id = {}").format(sql.Literal(caller.tenant.slug)),
        sql.SQL("mart.deleted_at is not null" if asked["deleted"] else "mart.deleted_at is null"),
        *filters.conditions(connection, caller.tenant, declared, asked),
    ]
    if caller.crm_user_id and is_restricted(declared):
        wanted.append(sql.SQL("({})").format(sql.SQL(visible_to_user(declared, "mart"))))
    if place:
        wanted.append(
            sql.SQL("({}, mart.id) {} ({}, {})").format(
                key,
                sql.SQL("<" if is_descending else ">"),
                sql.Literal(place.key),
                sql.Literal(place.id),
            )
        )
    parts: dict[str, sql.Composable] = {
        "key": key,
        "table": sql.Identifier(*declared.table),
        "way": sql.SQL("desc" if is_descending else "asc"),
        "limit": sql.Literal(asked["limit"] + 1),
    }
    if asked.get("search") is not None:
        has_words = filters.search(caller.tenant, declared, asked["search"])
        set_local(connection, "max_parallel_workers_per_gather", "0")
        in_order = [*wanted, sql.SQL("({}) is true").format(has_words)]  # without its index
        wanted.append(has_words)
    elif name != "id" and filters.is_by_link(declared, asked):
        in_order = wanted
    else:
        return _in_order(connection, wanted, parts)
    rows = connection.execute(
        sql.SQL(_OF_MATCHES).format(
            wanted=sql.SQL(" and ").join(wanted),
            most=sql.Literal(MATCHES_MAX + 1),
            **parts,
        ),
        prepare=False,
    ).fetchall()
    if rows and rows[0][2] > MATCHES_MAX:
        # So many that going through the rows in order finds a page of them sooner.
        return _in_order(connection, in_order, parts)
    return [(row_id, row_key) for row_id, row_key, _ in rows]


def _in_order(
    connection: psycopg.Connection,
    wanted: Sequence[sql.Composable],
    parts: Mapping[str, sql.Composable],
) -> list[tuple[UUID, str]]:
    query = sql.SQL(_IN_ORDER).format(wanted=sql.SQL(" and ").join(wanted), **parts)
    return connection.execute(query, prepare=False).fetchall()


def encoded(settings: Settings, list_name: str, place: Place) -> str:
    """Returns the cursor of a place, signed, so that only our own come back."""
    text = json.dumps([list_name, place.key, place.id.hex], ensure_ascii=False)
    return signing.signed(settings, PURPOSE, base64.urlsafe_b64encode(text.encode()).decode())


def decoded(settings: Settings, list_name: str, cursor: str) -> Place:
    """Returns the place of a cursor.

    Raises:
        BadInput: it is not ours, or of a list with another order.
    """
    if signing.is_ours(settings, PURPOSE, cursor):
        of_list, key, row_id = json.loads(base64.urlsafe_b64decode(cursor.rpartition(".")[0]))
        if of_list == list_name:
            return Place(key, UUID(row_id))
    raise BadInput(
        "cursor: take it from `meta.pagination.next_cursor`, as it is, and keep the list's `sort`."
    )


_IN_ORDER: Final = """
select
    mart.id,
    ({key})::text
from {table} as mart
where {wanted}
order by
    {key} {way},
    mart.id {way}
limit {limit}
"""
# The matches come from the index of words or of a link, in no order. Else Postgres would go through
# the rows in order wherever it expects a match soon; but names and owners may depend on each other.
_OF_MATCHES: Final = """
with matches as materialized (
    select
        mart.id,
        {key} as key
    from {table} as mart
    where {wanted}
    limit {most}
)
select
    matches.id,
    matches.key::text,
    (select count(*) from matches)
from matches
order by
    matches.key {way},
    matches.id {way}
limit {limit}
"""
