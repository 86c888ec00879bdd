"""Custom fields for tests: definitions with made-up keys, and a session that reads the views."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from psycopg.rows import dict_row

from pipedrive_pipeline.marts import build, publish_views
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables
from pipedrive_pipeline_tests.warehouse.databases import ACME


def key_of(name: str) -> str:
    """A key of 40 digits, as the source makes them; the same for the same words."""
    return sha1(name.encode(), usedforsecurity=False).hexdigest()


def custom(
    name: str, kind: str = "varchar", labels: dict[int, str] | None = None, **facts: Any
) -> dict[str, Any]:
    """The definition of a custom field; ``key`` tells fields of one name apart."""
    key = facts.pop("key", name)
    return {
        "field_code": key_of(key),
        "field_name": name,
        "field_type": kind,
        "is_custom_field": True,
        "options": [{"id": number, "label": label} for number, label in (labels or {}).items()],
        **facts,
    }


def published(raw: RawTables, tenant: Tenant = ACME) -> None:
    """Marts built and views brought up to what raw holds."""
    build(raw.warehouse, Scope(tenant, SYSTEM))
    publish_views(raw.warehouse, tenant)


def shown(warehouse: Warehouse, view: str = "customers") -> list[dict[str, Any]]:
    """Rows of one of acme's views, by id in the source."""
    with warehouse.transaction() as connection:
        query = (
            f"select * from analytics_acme.{view} order by length(remote_id), remote_id".encode()
        )
        return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def columns(warehouse: Warehouse, view: str = "customers") -> dict[str, tuple[str, str]]:
    """Type and comment of a view's columns of custom fields, by name."""
    with warehouse.transaction() as connection:
        rows = connection.execute(
            """
            select
                attname,
                format_type(atttypid, atttypmod),
                col_description(attrelid, attnum)
            from pg_catalog.pg_attribute
            where attrelid = ('analytics_acme.' || %s)::regclass
                and attnum > 0
                and col_description(attrelid, attnum) like '%%(field %%'
            order by attnum
            """,
            (view,),
        ).fetchall()
    return {name: (kind, comment) for name, kind, comment in rows}
