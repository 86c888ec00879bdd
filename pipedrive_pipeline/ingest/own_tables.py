"""The tables of ours in a tenant's raw and staging schemas, next to those that dlt makes.

Each is declared by the module that uses it. A run makes those that are missing when it opens the
tenant's raw tables, so that no other code has to ask whether they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class OwnTable:
    """One table.

    Attributes:
        place: ``raw`` if it must be lost with the rows, ``staging`` if it may be lost alone.
        name: the same for each tenant.
        ddl: what makes it; ``{table}`` is its name, ``{staging}`` the tenant's staging schema.
    """

    place: Literal["raw", "staging"]
    name: str
    ddl: str

    def schema_of(self, scope: Scope) -> str:
        """Returns the schema in which a tenant has it."""
        return scope.raw_schema if self.place == "raw" else scope.staging_schema

    def of(self, scope: Scope) -> sql.Identifier:
        """Returns the full name of a tenant's table."""
        return sql.Identifier(self.schema_of(scope), self.name)


def prepare(warehouse: Warehouse, scope: Scope, tables: Sequence[OwnTable]) -> None:
    """Makes those of a tenant's tables that are missing, in their order."""
    places = {
        "schemas": [table.schema_of(scope) for table in tables],
        "names": [table.name for table in tables],
    }
    with warehouse.transaction() as connection:
        missing = {row[0] for row in connection.execute(_MISSING, places)}
        for table in tables:
            if table.name in missing:
                schema = sql.Identifier(table.schema_of(scope))
                connection.execute(sql.SQL("create schema if not exists {}").format(schema))
                staging = sql.Identifier(scope.staging_schema)
                ddl = sql.SQL(table.ddl).format(table=table.of(scope), staging=staging)
                connection.execute(ddl)


_MISSING = """
select own.name
from unnest(%(schemas)s::text[], %(names)s::text[]) as own (schema, name)
where to_regclass(format('%%I.%%I', own.schema, own.name)) is null
"""
