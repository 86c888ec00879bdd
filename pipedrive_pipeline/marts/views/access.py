"""The roles `analyst_<tenant>` and `analyst_all`, which may read a tenant's views and nothing more.

An administrator creates logins and grants them a role (`docs/analysts.md`). Roles belong to the
whole server: if the engine may not create any, the views are published without grants, and an
administrator may create the roles.
"""

from __future__ import annotations

import logging
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.tenants import Tenant

log = logging.getLogger(__name__)

EVERY_TENANT: Final = "analyst_all"


def grant_to_analysts(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Lets the tenant's analysts, and those of all tenants, read the tenant's views."""
    for role in (tenant.analyst_role, EVERY_TENANT):
        if _is_there(connection, role) or _created(connection, role):
            schema, name = sql.Identifier(tenant.analytics_schema), sql.Identifier(role)
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, name))
            connection.execute(
                sql.SQL("grant select on all tables in schema {} to {}").format(schema, name)
            )


def drop_analyst_role(connection: psycopg.Connection, tenant: Tenant) -> bool:
    """Drops the role of the tenant's analysts; True if it is gone. Logins stay without rights.

    The role stays if it is still needed: another database of this server has a tenant of this name,
    the role has rights on other objects, or only an administrator may drop it.
    """
    try:
        with connection.transaction():
            role = sql.Identifier(tenant.analyst_role)
            connection.execute(sql.SQL("drop role if exists {}").format(role))
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectInUse,
    ):
        log.warning("%s: the role %s is needed or not ours; it stays", tenant, tenant.analyst_role)
        return False
    return True


def _is_there(connection: psycopg.Connection, role: str) -> bool:
    row = connection.execute(
        "select exists (select from pg_catalog.pg_roles where pg_roles.rolname = %s)", (role,)
    ).fetchone()
    return bool(row and row[0])


def _created(connection: psycopg.Connection, role: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege:
        return False
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return True  # another database of this server made it a moment ago
    return True
