"""The views of `analytics_<tenant>`: made when they are new or defined otherwise, else left alone.

Belongs here: running the files of `sql/views` for one tenant, and the columns' comments.
Does not belong here: what a view shows (`sql/views`), who may read it.

A view reads with the rights of its owner, the engine's role; its own condition on the tenant is
what separates. Rests on https://www.postgresql.org/docs/current/rules-privileges.html.
"""

from __future__ import annotations

import hashlib
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import SqlFile, view_files

TENANT_SETTING: Final = "current_setting('pipeline.tenant_id')"
SCHEMA_COMMENT: Final = (
    "Customers and contacts of one tenant for reading; sync_status says how fresh they are."
)


def publish_views(warehouse: Warehouse, tenant: Tenant, system: str) -> None:
    """Bring the tenant's views up to date; those that are so already are not even locked.

    Raises:
        Contended: somebody reads a view for longer than the lock timeout; run it again.
    """
    files = view_files()
    fingerprint = hashlib.sha256("\0".join(file.text for file in files).encode()).hexdigest()
    with warehouse.transaction(tenant, (tenant.analytics_schema,)) as connection:
        if _is_published(connection, tenant, system, fingerprint, files):
            return
        _make_schema(connection, tenant.analytics_schema)
        for file in files:
            connection.execute(_for_tenant(file, tenant, connection))
            _comment_columns(connection, tenant.analytics_schema, file.name)
        _note(connection, tenant, system, fingerprint)


def _is_published(
    connection: psycopg.Connection,
    tenant: Tenant,
    system: str,
    fingerprint: str,
    files: tuple[SqlFile, ...],
) -> bool:
    """Whether these definitions were published and no view of them is missing since."""
    found = connection.execute(
        """
        select count(*)
        from pg_catalog.pg_views
        inner join integration.mart_state
            on mart_state.tenant_id = %s
            and mart_state.system = %s
            and mart_state.views_published = %s
        where pg_views.schemaname = %s
            and pg_views.viewname = any (%s)
        """,
        (tenant.slug, system, fingerprint, tenant.analytics_schema, [file.name for file in files]),
    ).fetchone()
    return found is not None and found[0] == len(files)


def _make_schema(connection: psycopg.Connection, schema: str) -> None:
    # Not `if not exists`: that wants the right to create even where there is nothing to.
    found = connection.execute(
        "select exists (select from pg_catalog.pg_namespace where pg_namespace.nspname = %s)",
        (schema,),
    ).fetchone()
    if not (found and found[0]):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        connection.execute(
            sql.SQL("comment on schema {} is {}").format(
                sql.Identifier(schema), sql.Literal(SCHEMA_COMMENT)
            )
        )


def _for_tenant(file: SqlFile, tenant: Tenant, connection: psycopg.Connection) -> bytes:
    """The file with the tenant's name, quoted by psycopg, in place of the setting."""
    literal = sql.Literal(tenant.slug).as_string(connection)
    return file.text.replace(TENANT_SETTING, literal).encode()


def _comment_columns(connection: psycopg.Connection, schema: str, view: str) -> None:
    """Give a column without a comment that of the column of `crm` that it shows."""
    uncommented = connection.execute(
        """
        select
            shown.attname,
            col_description(stored.attrelid, stored.attnum)
        from pg_catalog.pg_attribute as shown
        inner join pg_catalog.pg_attribute as stored
            on stored.attname = shown.attname
            and stored.attrelid = to_regclass('crm.' || regexp_replace(%(view)s, '_all$', ''))
        where shown.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(view)s::text))
            and shown.attnum > 0
            and col_description(shown.attrelid, shown.attnum) is null
        order by shown.attnum asc
        """,
        {"schema": schema, "view": view},
    ).fetchall()
    for column, comment in uncommented:
        connection.execute(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(schema, view, column), sql.Literal(comment)
            )
        )


def _note(connection: psycopg.Connection, tenant: Tenant, system: str, fingerprint: str) -> None:
    connection.execute(
        """
        insert into integration.mart_state as state (tenant_id, system, views_published)
        values (%s, %s, %s)
        on conflict (tenant_id, system) do update
        set views_published = excluded.views_published
        """,
        (tenant.slug, system, fingerprint),
    )
