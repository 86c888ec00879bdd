"""Removes a tenant, with or without its data: revokes its grants, then drops and deletes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import BadInput, PersonMustAct
from pipedrive_pipeline.marts.contact_points.upkeep import TABLE as CONTACT_POINTS
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.sinks.writer import drop_functions
from pipedrive_pipeline.marts.views.access import drop_analyst_role
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.scratch import clear_scratch
from pipedrive_pipeline.sync.webhooks.lifecycle import disconnect
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import exported_rows
from pipedrive_pipeline.vault.connections import connections
from pipedrive_pipeline.vault.disconnect import Disconnected
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import fences
from pipedrive_pipeline.warehouse.catalog import added_objects
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.roles import drop_role
from pipedrive_pipeline.warehouse.sql_files import view_function_files

DEPENDENTS_SHOWN = 5


class RemovalRefused(PersonMustAct):
    """An object of the app depends on data to be erased; nothing was changed."""

    code = "removal_refused"

    def __init__(self, tenant: Tenant, cause: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"{tenant}: nothing was changed, and the connection works as before: {cause}. Remove "
            "or change that first, then run it again."
        )


def has_data(warehouse: Warehouse, tenant: Tenant) -> bool:
    """True if the tenant has stored data in addition to its registration."""
    schemas = [Scope(tenant, system).raw_schema for system in system_keys()] + [
        tenant.analytics_schema
    ]
    with warehouse.transaction(tenant=tenant) as connection:
        row = connection.execute(
            "select exists (select from pg_namespace where nspname = any(%s))", [schemas]
        ).fetchone()
        return bool(row and row[0]) or any(
            connection.execute(
                sql.SQL("select from {} where tenant_id = %s limit 1").format(
                    sql.Identifier(*mart.table)
                ),
                [tenant.slug],
            ).rowcount
            for mart in MARTS
        )


def end(vault: Vault, tenant: Tenant, *, is_erasing: bool, who: str) -> list[Disconnected]:
    """Revokes a tenant's grants, removes it, and returns the result for each grant.

    The caller holds the tenant's locks.

    Raises:
        BadInput: data exists and ``is_erasing`` is false; nothing was changed.
        RemovalRefused: an object of the app depends on the data; nothing was changed.
        WrongKey: a grant cannot be revoked without the key; nothing was changed.
    """
    require_removable(vault.warehouse, tenant, is_erasing=is_erasing)
    # A revoked grant cannot be restored, so the deletion is tried and rolled back first.
    with (
        _transaction(vault.warehouse, tenant) as connection,
        connection.transaction(force_rollback=True),
    ):
        _delete(connection, tenant)
    ended = [
        disconnect(vault, Scope(tenant, row.system), who=who) for row in connections(vault, tenant)
    ]
    remove(vault.warehouse, tenant, is_erasing=is_erasing, who=who)
    for system in system_keys():
        clear_scratch(vault.settings, vault.warehouse, Scope(tenant, system))
    return ended


def require_removable(warehouse: Warehouse, tenant: Tenant, *, is_erasing: bool) -> None:
    """Returns if the tenant may be removed.

    Raises:
        BadInput: data exists and ``is_erasing`` is false.
    """
    if not is_erasing and has_data(warehouse, tenant):
        raise BadInput(
            f"{tenant}: synced data exists; `tenants remove {tenant} --erase` drops it for good."
        )


def remove(warehouse: Warehouse, tenant: Tenant, *, is_erasing: bool, who: str) -> None:
    """Deletes a tenant's rows and schemas; the audit log stays.

    Raises:
        BadInput: data exists and ``is_erasing`` is false; nothing was changed.
        RemovalRefused: an object of the app depends on the data; nothing was changed.
    """
    require_removable(warehouse, tenant, is_erasing=is_erasing)
    with _transaction(warehouse, tenant) as connection:
        for role in _delete(connection, tenant):
            drop_role(connection, role, is_with_rights=True)
        drop_analyst_role(connection, tenant)
        connection.execute(
            "insert into integration.audit_log (who, tenant_id, action, subject)"
            " values (%s, %s, %s, %s)",
            [who, tenant.slug, "tenant.erase" if is_erasing else "tenant.remove", tenant.slug],
        )


@contextmanager
def _transaction(warehouse: Warehouse, tenant: Tenant) -> Iterator[psycopg.Connection]:
    """Yields a transaction whose errors name the dependent objects."""
    try:
        # With this search_path, Postgres names every object with its schema.
        with warehouse.transaction(tenant, ("pg_catalog",)) as connection:
            yield connection
    except psycopg.Error as error:
        raise RemovalRefused(tenant, _cause(warehouse, error)) from None


def _cause(warehouse: Warehouse, error: psycopg.Error) -> str:
    """Returns the dependent objects' names; Postgres's own message only if it quotes no row."""
    if isinstance(error, errors.DependentObjectsStillExist):
        return "; ".join((error.diag.message_detail or "").splitlines()[:DEPENDENTS_SHOWN])
    if isinstance(error, errors.InsufficientPrivilege):
        return str(error.diag.message_primary)
    table = ".".join(filter(None, (error.diag.schema_name, error.diag.table_name)))
    if isinstance(error, errors.IntegrityError) and table:
        return f"{table} refers to its rows ({error.diag.constraint_name})"
    return f"{_added(warehouse)} refuses it (SQLSTATE {error.sqlstate})"


def _added(warehouse: Warehouse) -> str:
    with warehouse.transaction() as connection:
        return ", ".join(added_objects(connection, _ROWS_OF_A_TENANT)) or "Postgres"


def _delete(connection: psycopg.Connection, tenant: Tenant) -> list[str]:
    """Drops and deletes a tenant's data, but no objects that depend on it.

    Returns:
        Roles that wrote for the tenant and own nothing any more.
    """
    # Before the tables: this waits for a late run's open transaction and prevents new ones.
    fences.end_all(connection, tenant.slug)
    # An insert of a row of the tenant waits now, and is refused; we wait for those under way.
    connection.execute(_LOCK_TENANT, [tenant.slug])
    _drop(connection, tenant.analytics_schema)
    for system in system_keys():
        exported_rows.end(connection, Scope(tenant, system))
        _drop(connection, Scope(tenant, system).raw_schema)
        _drop(connection, Scope(tenant, system).staging_schema)
    roles = drop_functions(connection, tenant)
    for table in _ROWS_OF_A_TENANT:
        whose = sql.SQL("from {} where tenant_id = %s").format(sql.Identifier(*table))
        connection.execute(sql.SQL("delete ") + whose, [tenant.slug])
        if connection.execute(sql.SQL("select ") + whose, [tenant.slug]).rowcount:
            added = ", ".join(added_objects(connection, [table])) or ".".join(table)
            raise RemovalRefused(tenant, f"{added} keeps rows from being deleted")
    connection.execute("delete from integration.tenants where slug = %s", [tenant.slug])
    connection.execute("set constraints all immediate")  # while an error can still name its object
    return roles


def _drop(connection: psycopg.Connection, schema: str) -> None:
    """Drops a schema with its tables, views and our functions; `cascade` would drop an app's."""
    relations = connection.execute(_RELATIONS, [schema]).fetchall()
    for kind, names in relations:
        tables = sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)
        connection.execute(sql.SQL("drop {} {}").format(sql.SQL(kind), tables))
    ours = [file.name for file in view_function_files()]
    for (function,) in connection.execute(_FUNCTIONS, [schema, ours]).fetchall():
        connection.execute(sql.SQL("drop function {}").format(sql.SQL(function)))
    connection.execute(sql.SQL("drop schema if exists {}").format(sql.Identifier(schema)))


_LOCK_TENANT = "select from integration.tenants where slug = %s for update"
_ROWS_OF_A_TENANT = (
    CONTACT_POINTS,
    *(mart.table for mart in reversed(MARTS)),
    ("integration", "sink_links"),
    ("integration", "sink_states"),
    ("integration", "sinks"),
    ("integration", "check_results"),
    ("integration", "mart_state"),
    ("integration", "rejected_values"),
    ("integration", "erased_records"),
    ("integration", "sync_requests"),
    ("integration", "webhook_events"),
    ("integration", "signals"),
    ("integration", "outbox"),
    ("integration", "links"),
    ("integration", "held_deletions"),
    ("integration", "webhooks"),
    ("integration", "run_entities"),
    ("integration", "run_marts"),
    ("integration", "runs"),
    ("integration", "sync_settings"),
    ("integration", "field_mappings"),
    ("integration", "api_usage"),
    ("integration", "budget_statements"),
    ("integration", "alerts"),
    ("integration", "idempotency_keys"),
    ("integration", "api_keys"),
    ("integration", "connections"),
)

# After the views that call them; their text names views, which makes them depend on none.
_FUNCTIONS = """
select pg_proc.oid::regprocedure::text
from pg_catalog.pg_proc
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_proc.pronamespace
where pg_namespace.nspname = %s
    and pg_proc.proname = any (%s)
"""
# Views before the tables that they read.
_RELATIONS = """
select kinds.kind, array_agg(pg_class.relname::text)
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
inner join (
    values
        ('v', 1, 'view'),
        ('m', 2, 'materialized view'),
        ('f', 3, 'foreign table'),
        ('r', 4, 'table'),
        ('p', 4, 'table')
) as kinds (code, place, kind) on kinds.code = pg_class.relkind::text
where pg_namespace.nspname = %s
    and not pg_class.relispartition
group by kinds.kind, kinds.place
order by kinds.place
"""
