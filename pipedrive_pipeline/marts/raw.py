"""A transaction over a tenant's raw tables, with empty tables for those never loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

RECORD_COLUMNS: Final = (
    ("id", "bigint"),
    ("name", "text"),
    ("owner_id", "bigint"),
    ("label_ids", "jsonb"),
    ("custom_fields", "jsonb"),
    ("extra", "jsonb"),
    ("is_deleted", "boolean"),
    ("add_time", "timestamptz"),
    ("update_time", "timestamptz"),
    ("_dlt_load_id", "text"),
)
FIELD_COLUMNS: Final = (
    ("field_code", "text"),
    ("field_name", "text"),
    ("field_type", "text"),
    ("is_custom_field", "boolean"),
    ("options", "jsonb"),
)
TABLES: Final = {
    "organizations": (
        *RECORD_COLUMNS,
        ("address", "jsonb"),
        ("website", "text"),
        ("industry", "bigint"),
        ("annual_revenue", "numeric"),
        ("employee_count", "bigint"),
    ),
    "persons": (
        *RECORD_COLUMNS,
        ("first_name", "text"),
        ("last_name", "text"),
        ("org_id", "bigint"),
        ("emails", "jsonb"),
        ("phones", "jsonb"),
        ("job_title", "text"),
    ),
    "users": (("id", "bigint"), ("name", "text")),
    "organization_fields": FIELD_COLUMNS,
    "person_fields": FIELD_COLUMNS,
    "deletions": (
        ("entity", "text"),
        ("id", "text"),
        ("reason", "text"),
        ("merged_into", "text"),
        ("seen_at", "timestamptz"),
        ("_dlt_load_id", "text"),
    ),
}


@contextmanager
def raw_transaction(
    warehouse: Warehouse, tenant: Tenant, system: str
) -> Iterator[psycopg.Connection]:
    """Yields a transaction with the tenant's raw tables on the search_path, none missing.

    Raises:
        Superseded: the warehouse belongs to one run, and another run has begun since.
    """
    schema = Scope(tenant, system).raw_schema
    with warehouse.transaction(tenant, (schema, "pg_temp")) as connection:
        _create_missing(connection, schema)
        yield connection


def _create_missing(connection: psycopg.Connection, schema: str) -> None:
    """Creates empty temporary tables for those that ``schema`` lacks, dropped on commit.

    A tenant without persons, or whose first load failed after the organizations, has marts too.
    The tables are found because `pg_temp` follows the raw schema on the search_path.
    """
    rows = connection.execute(
        "select pg_tables.tablename from pg_catalog.pg_tables where pg_tables.schemaname = %s",
        (schema,),
    )
    present = {row[0] for row in rows}
    for name, columns in TABLES.items():
        if name not in present:
            connection.execute(
                sql.SQL("create temporary table {} ({}) on commit drop").format(
                    sql.Identifier("pg_temp", name),
                    sql.SQL(", ").join(
                        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
                        for column, kind in columns
                    ),
                )
            )
