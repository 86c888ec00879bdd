"""The tables that dlt stages a load in. They hold nothing of value, so lost ones are recreated."""

from __future__ import annotations

from psycopg import sql

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse

DLT_SCHEMAS = "_dlt_version"  # dlt's note of the tables that it made in a schema


def heal_staging(warehouse: Warehouse, scope: Scope) -> None:
    """Lets dlt make staging tables and columns that somebody dropped.

    dlt looks at the tables only where its own note of them is not the newest. Without one it makes
    what is missing; with one every load of the tenant would be refused from then on.
    """
    raw, staging = scope.raw_schema, scope.staging_schema
    with warehouse.transaction() as connection:
        if not is_there(connection, staging, DLT_SCHEMAS):
            return
        row = connection.execute(_IS_ANY_MISSING, {"raw": raw, "staging": staging}).fetchone()
        if row and row[0]:
            note = sql.Identifier(staging, DLT_SCHEMAS)
            connection.execute(sql.SQL("delete from {}").format(note))


# Of raw's own tables `deletions` is ours, and dlt's have no part in a load.
_IS_ANY_MISSING = """
select exists (
    select
    from information_schema.columns as raw
    left join information_schema.columns as staging
        on staging.table_schema = %(staging)s
        and staging.table_name = raw.table_name
        and staging.column_name = raw.column_name
    where raw.table_schema = %(raw)s
        and raw.table_name <> 'deletions'
        and raw.table_name !~ '^_dlt_'
        and staging.column_name is null
)
"""
