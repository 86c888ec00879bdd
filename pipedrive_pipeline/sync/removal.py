"""A tenant forgotten, with or without its data.

Belongs here: what is revoked, dropped and deleted with a tenant, and in which order. Does not
belong here: how a grant is revoked (`vault/ending.py`), Dagster's records (`defs/forgetting.py`).
"""

from __future__ import annotations

import shutil

from psycopg import sql

from pipedrive_pipeline.connectors.registry import SYSTEMS
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.access import forget_analysts
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connections import connections
from pipedrive_pipeline.vault.ending import Ended, disconnect
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import fences
from pipedrive_pipeline.warehouse.database import Warehouse


def has_data(warehouse: Warehouse, tenant: Tenant) -> bool:
    """Whether anything of this tenant is stored beside its registration."""
    schemas = [tenant.raw_schema(system) for system in SYSTEMS] + [tenant.analytics_schema]
    with warehouse.transaction(tenant=tenant) as connection:
        row = connection.execute(_HAS_DATA, [schemas, tenant.slug, tenant.slug]).fetchone()
    return bool(row and row[0])


def end(vault: Vault, tenant: Tenant, *, is_erasing: bool, who: str) -> list[Ended]:
    """Forgets a tenant, its grants revoked first; what became of each. The caller holds its locks.

    Raises:
        BadInput: data exists and ``is_erasing`` is false; nothing was changed.
        WrongKey: a grant cannot be revoked without the key; nothing was changed.
    """
    require_removable(vault.warehouse, tenant, is_erasing=is_erasing)
    ended = [disconnect(vault, tenant, held.system, who=who) for held in connections(vault, tenant)]
    remove(vault.warehouse, tenant, is_erasing=is_erasing, who=who)
    for system in SYSTEMS:
        scratch = tenant.scratch_directory(vault.settings.pipeline_home, system)
        shutil.rmtree(scratch, ignore_errors=True)
    return ended


def require_removable(warehouse: Warehouse, tenant: Tenant, *, is_erasing: bool) -> None:
    """Returns if the tenant may be forgotten.

    Raises:
        BadInput: data exists and ``is_erasing`` is false.
    """
    if not is_erasing and has_data(warehouse, tenant):
        raise BadInput(
            f"{tenant}: synced data exists; `tenants remove {tenant} --erase` drops it for good."
        )


def remove(warehouse: Warehouse, tenant: Tenant, *, is_erasing: bool, who: str) -> None:
    """Deletes what the database holds of a tenant; the audit log stays.

    Raises:
        BadInput: data exists and ``is_erasing`` is false; nothing was changed.
    """
    require_removable(warehouse, tenant, is_erasing=is_erasing)
    with warehouse.transaction(tenant=tenant) as connection:
        # Before the tables: a late run's open transaction is waited for, and no new one begins.
        fences.end_all(connection, tenant.slug)
        for system in SYSTEMS:
            for schema in (tenant.raw_schema(system), tenant.staging_schema(system)):
                connection.execute(_drop(schema))
        connection.execute(_drop(tenant.analytics_schema))
        for table in _ROWS_OF_A_TENANT:
            connection.execute(
                sql.SQL("delete from {} where tenant_id = %s").format(sql.Identifier(*table)),
                [tenant.slug],
            )
        connection.execute("delete from integration.tenants where slug = %s", [tenant.slug])
        forget_analysts(connection, tenant)
        connection.execute(
            "insert into integration.audit_log (who, tenant_id, action, subject)"
            " values (%s, %s, %s, %s)",
            [who, tenant.slug, "tenant.erase" if is_erasing else "tenant.remove", tenant.slug],
        )


def _drop(schema: str) -> sql.Composed:
    return sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema))


_ROWS_OF_A_TENANT = (
    ("crm", "contacts"),
    ("crm", "customers"),
    ("integration", "mart_state"),
    ("integration", "rejected_values"),
    ("integration", "erased_records"),
    ("integration", "sync_requests"),
    ("integration", "sync_logs"),
    ("integration", "sync_settings"),
    ("integration", "field_mappings"),
    ("integration", "api_usage"),
    ("integration", "budget_statements"),
    ("integration", "alerts"),
    ("integration", "idempotency_keys"),
    ("integration", "api_keys"),
    ("integration", "connections"),
)

_HAS_DATA = """
select exists (select from pg_namespace where nspname = any(%s))
    or exists (select from crm.customers where tenant_id = %s)
    or exists (select from crm.contacts where tenant_id = %s)
"""
