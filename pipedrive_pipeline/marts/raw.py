"""The raw tables as a build finds them.

Belongs here: a transaction over them, and what stands in for tables that were never loaded. Does
not belong here: loading them (`ingest/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

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
    """A transaction in which a tenant's raw tables go by their own names, and none is missing.

    Raises:
        Superseded: this is one run's warehouse, and another run has begun since.
    """
    schema = tenant.raw_schema(system)
    with warehouse.transaction(tenant, (schema, "pg_temp")) as connection:
        _stand_in_for_missing(connection, schema)
        yield connection


def _stand_in_for_missing(connection: psycopg.Connection, schema: str) -> None:
    """Empty temporary tables for those that ``schema`` lacks, gone with the transaction.

    A tenant without persons, or whose first load broke off after the organizations, has marts too.
    They are found because `pg_temp` stands behind the raw schema on the search_path.
    """
    found = connection.execute(
        "select pg_tables.tablename from pg_catalog.pg_tables where pg_tables.schemaname = %s",
        (schema,),
    )
    present = {row[0] for row in found}
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
