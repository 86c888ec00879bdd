"""Reads rows of a mart and shows them as objects, within one transaction of the app.

The database decides which rows there are: the transaction has the role of the app and names the
tenant. Custom fields are in raw, which the app's role cannot read, so they are read afterwards,
with the login's own role, for the rows that were seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.connect.api.crm.ids import RemoteId, RowId, parsed
from pipedrive_pipeline.connect.api.crm.objects import Row, as_object, columns_of, resource_of
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.views.custom_values import custom_values
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse


@contextmanager
def as_caller(warehouse: Warehouse, caller: Caller) -> Iterator[psycopg.Connection]:
    """Yields a transaction that sees the rows that the caller may see."""
    with warehouse.as_app(caller.tenant) as connection:
        yield connection


def object_of(
    warehouse: Warehouse, caller: Caller, declared: Mart, id_text: str, *, deleted: bool = False
) -> dict[str, Any]:
    """Returns the object of one record.

    Args:
        warehouse: where it is.
        caller: who asks; sees its tenant's records.
        declared: the mart, which has an `ApiResource`.
        id_text: `deal_<uuid hex>` or `<system>:<remote id>`.
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
        return objects_of(connection, caller.tenant, declared, [row])[0]


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


def objects_of(
    connection: psycopg.Connection, tenant: Tenant, declared: Mart, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """Returns the objects of rows that were read in this transaction, in their order.

    The transaction has the login's own role afterwards.
    """
    records: dict[str, list[str]] = {}
    for row in rows:
        if row["remote_id"] is not None:
            records.setdefault(row["system"], []).append(row["remote_id"])
    connection.execute("select set_config('role', 'none', true)")
    custom = custom_values(connection, tenant, declared, records)
    return [
        as_object(declared, row, custom.get((row["system"], row["remote_id"]), {})) for row in rows
    ]
