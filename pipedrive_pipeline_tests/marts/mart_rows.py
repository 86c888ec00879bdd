"""Rows of the marts, written by hand, for views that read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM
from pipedrive_pipeline_tests.warehouse.databases import ACME


@dataclass
class MartRows:
    """One tenant's rows, in one open transaction."""

    connection: psycopg.Connection
    tenant: Tenant = ACME
    numbers: count[int] = field(default_factory=lambda: count(1))

    def add(self, mart: str, **values: Any) -> UUID:
        """Adds a row and returns its id; a value that is a list stays a Postgres array."""
        row = {
            "tenant_id": self.tenant.slug,
            "system": SYSTEM,
            "remote_id": str(next(self.numbers)),
            **values,
        }
        names = [sql.Identifier(name) for name in row]
        added = self.connection.execute(
            sql.SQL("insert into {} ({}) values ({}) returning id").format(
                sql.Identifier("crm", mart),
                sql.SQL(", ").join(names),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            ),
            list(row.values()),
        ).fetchone()
        assert added is not None
        return UUID(str(added[0]))

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query on the tenant's views."""
        self.connection.execute(
            sql.SQL("set local search_path to {}").format(
                sql.Identifier(self.tenant.analytics_schema)
            )
        )
        return self.connection.execute(query.encode()).fetchall()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Returns the rows of a query on the tenant's views, by column."""
        self.query("select")
        return self.connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()
