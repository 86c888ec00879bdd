"""Keeps `crm.contact_points` equal to the texts in customers and contacts, as a step of the build.

The stored texts are compared with those of the marts, so that a step that reads all rows repairs
all that differs. Only a text that is new, or was read by other rules, is read in Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.contact_points.values import READ, read_with
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.tenants import Tenant

TABLE: Final = ("crm", "contact_points")
CHUNK_ROWS: Final = 5_000  # texts in memory at once


@dataclass(frozen=True)
class _Changes:
    """Stored points that are gone, and the columns of new ones, as `_INSERT` takes them."""

    gone: Sequence[int] = ()
    new: Sequence[tuple[str | None, ...]] = ()


def update_points(
    connection: psycopg.Connection,
    tenant: Tenant,
    mart: Mart,
    *,
    system: str,
    ids: Sequence[str] | None,
) -> int:
    """Writes the contact points of a mart's rows that differ; returns how many texts were read.

    Args:
        connection: the build's own, after the mart's rows were written.
        tenant: whose rows.
        mart: one that has contact points.
        system: of the records.
        ids: remote ids of the records; None: every row of the tenant, also those that the app made.
    """
    rows = None if ids is None else _row_ids(connection, tenant, mart, system, ids)
    if rows is not None and not rows:
        return 0
    country = country_of(connection, tenant)
    parameters = {"tenant": tenant.slug, "rows": rows}
    parameters |= {f"read_{kind}": read_with(kind, country) for kind in READ}
    read, former = 0, _Changes()
    with (
        ThreadPoolExecutor(1) as thread,
        _streamed(connection, _differing(mart, is_whole=rows is None), parameters) as cursor,
    ):
        while chunk := cursor.fetchmany(CHUNK_ROWS):
            # Postgres stores the former chunk while this one is read, which takes as long.
            storing = thread.submit(_store, connection, tenant, mart, former)
            former = _changes(chunk, country)
            storing.result()
            read += len(former.new)
        _store(connection, tenant, mart, former)
    return read


def country_of(connection: psycopg.Connection, tenant: Tenant) -> str | None:
    """The country of the tenant's numbers without a country code; None if nobody said."""
    row = connection.execute("select integration.country_of(%s)", [tenant.slug]).fetchone()
    return row[0] if row else None


def link_column(mart: Mart) -> str:
    """The column of the contact points that refers to this mart, as links to it are named."""
    return f"{mart.name.removesuffix('s')}_id"


def _row_ids(
    connection: psycopg.Connection, tenant: Tenant, mart: Mart, system: str, ids: Sequence[str]
) -> list[UUID]:
    query = sql.SQL(
        "select id from {} where tenant_id = %s and system = %s and remote_id = any(%s::text[])"
    ).format(sql.Identifier(*mart.table))
    return [row[0] for row in connection.execute(query, [tenant.slug, system, list(ids)])]


@contextmanager
def _streamed(
    connection: psycopg.Connection, query: sql.Composed, parameters: Mapping[str, object]
) -> Iterator[psycopg.ServerCursor]:
    """Yields a cursor on the server; it sees the rows as they are now, not what is written then."""
    with connection.cursor(f"points_{uuid4().hex}") as cursor:
        cursor.execute(query, parameters)
        yield cursor


def _differing(mart: Mart, *, is_whole: bool) -> sql.Composed:
    """Returns the query of stored points to delete and of texts to read."""
    types = {column.name: column.type for column in mart.columns}
    return sql.SQL(_DIFFERING).format(
        mart=sql.Identifier(*mart.table),
        link=sql.Identifier(link_column(mart)),
        texts=sql.SQL(" union ").join(
            sql.SQL(_LISTED if types[column] == "jsonb" else _SINGLE).format(
                kind=sql.Literal(kind), column=sql.Identifier("mart", column)
            )
            for column, kind in mart.points
        ),
        read_with=sql.SQL(" ").join(
            sql.SQL("when {} then {}").format(sql.Literal(kind), sql.Placeholder(f"read_{kind}"))
            for kind in READ
        ),
        is_row=sql.SQL("true" if is_whole else "mart.id = any(%(rows)s::uuid[])"),
        is_stored=sql.SQL(
            "points.{link} is not null" if is_whole else "points.{link} = any(%(rows)s::uuid[])"
        ).format(link=sql.Identifier(link_column(mart))),
    )


def _changes(
    chunk: Sequence[tuple[int | None, str | None, str, str]], country: str | None
) -> _Changes:
    """Reads the texts of a chunk of `_DIFFERING`."""
    return _Changes(
        gone=[point_id for point_id, *_ in chunk if point_id is not None],
        new=[
            (
                row_id,
                kind,
                entered,
                text.value,
                text.extension,
                text.domain,
                read_with(kind, country),
            )
            for _, row_id, kind, entered in chunk
            if row_id is not None
            for text in [READ[kind](entered, country)]
        ],
    )


def _store(connection: psycopg.Connection, tenant: Tenant, mart: Mart, changes: _Changes) -> None:
    if changes.gone:
        connection.execute("delete from crm.contact_points where id = any(%s)", [changes.gone])
    if changes.new:
        # One JSON text: arrays of texts took psycopg as long as reading the numbers. Not by `copy`,
        # which row level security forbids to an owner that is no superuser.
        connection.execute(
            sql.SQL(_INSERT).format(link=sql.Identifier(link_column(mart))),
            [tenant.slug, json.dumps(changes.new)],
        )


_DIFFERING = """
select
    stored.id,
    expected.row_id::text,
    expected.kind,
    expected.entered
from (
    select
        mart.id as row_id,
        texts.kind,
        texts.entered,
        case texts.kind {read_with} end as read_with
    from {mart} as mart
    cross join lateral ({texts}) as texts (kind, entered)
    where mart.tenant_id = %(tenant)s
        and {is_row}
        and texts.entered ~ '\\S'
) as expected
full join (
    select
        points.id,
        points.{link} as row_id,
        points.kind,
        points.entered,
        points.read_with
    from crm.contact_points as points
    where points.tenant_id = %(tenant)s
        and {is_stored}
) as stored
    on stored.row_id = expected.row_id
    and stored.kind = expected.kind
    and stored.entered = expected.entered
    and stored.read_with = expected.read_with
where stored.id is null
    or expected.row_id is null
"""
_INSERT = """
insert into crm.contact_points (
    tenant_id, {link}, kind, entered, value, extension, domain, read_with
)
select
    %s,
    (point ->> 0)::uuid,
    point ->> 1,
    point ->> 2,
    point ->> 3,
    point ->> 4,
    point ->> 5,
    point ->> 6
from json_array_elements(%s::json) as points (point)
"""
_SINGLE = "select {kind}, {column}"
_LISTED = """select {kind}, entry.item ->> 'value'
        from jsonb_array_elements(
            case jsonb_typeof({column}) when 'array' then {column} else '[]' end
        ) as entry (item)"""
