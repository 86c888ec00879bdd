"""Reads rows of a mart and shows them as objects, within one transaction of the app.

The database decides which rows there are: the transaction has the role of the app and names the
tenant. Custom fields are in raw, which the app's role cannot read, so they are read afterwards,
with the login's own role, for the rows that were seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.connect.api.crm.ids import RemoteId, RowId, parsed
from pipedrive_pipeline.connect.api.crm.objects import Row, as_object, columns_of, resource_of
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.marts.declared import Link, Mart, mart
from pipedrive_pipeline.marts.views.custom_values import custom_values
from pipedrive_pipeline.marts.visibility import become_user
from pipedrive_pipeline.sync.writes.comparison import CUSTOM, version
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse, become_app

if TYPE_CHECKING:  # the command `keys` needs no FastAPI
    from pipedrive_pipeline.connect.auth.callers import Caller


@contextmanager
def as_caller(warehouse: Warehouse, caller: Caller) -> Iterator[psycopg.Connection]:
    """Yields a transaction that sees the rows that the caller may see."""
    with warehouse.connect() as connection:
        if caller.crm_user_id is not None:
            become_user(connection, caller.tenant, caller.crm_user_id)
        become_app(connection, caller.tenant)
        yield connection


def object_of(
    warehouse: Warehouse,
    caller: Caller,
    declared: Mart,
    id_text: str,
    *,
    links: Sequence[Link] = (),
    deleted: bool = False,
) -> dict[str, Any]:
    """Returns the object of one record; see `record_of`."""
    return record_of(warehouse, caller, declared, id_text, links=links, deleted=deleted)[0]


def record_of(
    warehouse: Warehouse,
    caller: Caller,
    declared: Mart,
    id_text: str,
    *,
    links: Sequence[Link] = (),
    deleted: bool = False,
) -> tuple[dict[str, Any], str]:
    """Returns the object of one record, and its version for an ETag.

    Args:
        warehouse: where it is.
        caller: who asks; sees its tenant's records.
        declared: the mart, which has an `ApiResource`.
        id_text: `deal_<uuid hex>` or `<system>:<remote id>`.
        links: whose records the object contains.
        deleted: also if it is gone at the source.

    Raises:
        NotFound: there is none, or it is gone and ``deleted`` is False.
    """
    with as_caller(warehouse, caller) as connection:
        row = row_of(connection, caller.tenant, declared, parsed(id_text, resource_of(declared)))
        if row is None:
            raise NotFound(f"Nothing of {resource_of(declared).path} has this id.")
        if row["deleted_at"] is not None and not deleted:
            raise NotFound(
                f"This record is gone since {row['deleted_at']:%Y-%m-%d}"
                f" ({row['deletion_reason']}); ask for it with deleted=true."
            )
        (shown,) = objects_of(connection, caller.tenant, declared, [row], links)
        return shown, version(declared.name, {**row, CUSTOM: shown["custom_fields"]})


def row_of(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, wanted: RowId | RemoteId
) -> Row | None:
    """Returns the row with this id, deleted or not; None if the connection's role sees none."""
    by_remote_id = "mart.system = %(system)s and mart.remote_id = %(remote_id)s"
    query = sql.SQL("{} where mart.tenant_id = %(tenant)s and {}").format(
        select(declared),
        sql.SQL("mart.id = %(id)s" if isinstance(wanted, RowId) else by_remote_id),
    )
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(query, {"tenant": tenant.slug, **asdict(wanted)}).fetchone()


def select(declared: Mart) -> sql.Composed:
    """Returns `select … from crm.<mart> as mart` with the columns that an object needs."""
    return sql.SQL("select {} from {} as mart").format(
        sql.SQL(", ").join(sql.Identifier("mart", name) for name in columns_of(declared)),
        sql.Identifier(*declared.table),
    )


def rows_of(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, row_ids: Collection[UUID]
) -> list[Row]:
    """Returns those of the rows that the connection's role may see, in the order of the ids."""
    query = sql.SQL("{} where mart.tenant_id = %(tenant)s and mart.id = any (%(ids)s)").format(
        select(declared)
    )
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(query, {"tenant": tenant.slug, "ids": list(row_ids)}).fetchall()
    by_id = {row["id"]: row for row in rows}
    return [by_id[row_id] for row_id in row_ids if row_id in by_id]


def objects_of(
    connection: psycopg.Connection,
    tenant: Tenant,
    declared: Mart,
    rows: Sequence[Row],
    links: Sequence[Link] = (),
) -> list[dict[str, Any]]:
    """Returns the objects of rows that were read in this transaction, in their order.

    The transaction has the login's own role afterwards.

    Args:
        connection: with the role of the app, which decides which linked records there are.
        tenant: whose.
        declared: the mart of the rows.
        rows: with the columns of `select`.
        links: whose records the objects contain, under the link's name without `_id`.
    """
    linked = _linked_rows(connection, tenant, rows, links)
    connection.execute("select set_config('role', 'none', true)")
    objects = _shown(connection, tenant, declared, rows)
    shown = {
        name: dict(
            zip(found, _shown(connection, tenant, mart(name), [*found.values()]), strict=True)
        )
        for name, found in linked.items()
    }
    for each, row in zip(objects, rows, strict=True):
        for link in links:
            each[included_name(declared, link)] = shown[link.mart].get(row[link.name])
    return objects


def included_name(declared: Mart, link: Link) -> str:
    """Returns the name under which an object contains the record of a link."""
    return resource_of(declared).name_of(link.name).removesuffix("_id")


def _linked_rows(
    connection: psycopg.Connection, tenant: Tenant, rows: Sequence[Row], links: Sequence[Link]
) -> dict[str, dict[UUID, Row]]:
    """Returns the linked rows by mart and id: one query for each mart."""
    ids: dict[str, dict[UUID, None]] = {}
    for link in links:
        wanted = ids.setdefault(link.mart, {})
        wanted.update({row[link.name]: None for row in rows if row[link.name] is not None})
    return {
        name: {row["id"]: row for row in rows_of(connection, tenant, mart(name), wanted)}
        for name, wanted in ids.items()
    }


def _shown(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """Returns the objects of rows, with their custom fields."""
    records: dict[str, list[str]] = {}
    for row in rows:
        if row["remote_id"] is not None:
            records.setdefault(row["system"], []).append(row["remote_id"])
    custom = custom_values(connection, tenant, declared, records)
    return [
        as_object(declared, row, custom.get((row["system"], row["remote_id"]), {})) for row in rows
    ]
