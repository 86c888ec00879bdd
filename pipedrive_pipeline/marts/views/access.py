"""Roles of analysts, which may read one tenant's views, or all tenants', and nothing more.

An administrator creates logins and grants them a role (`docs/analysts.md`). If the engine may not
create roles, the views are published without grants, and an administrator may create the roles.
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
    for kind in (tenant.analyst_role, EVERY_TENANT):
        if _ensured(connection, kind):
            schema, role = sql.Identifier(tenant.analytics_schema), _role(connection, kind)
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
            connection.execute(
                sql.SQL("grant select on all tables in schema {} to {}").format(schema, role)
            )


def drop_analyst_role(connection: psycopg.Connection, tenant: Tenant) -> bool:
    """Drops the role of the tenant's analysts; True if it is gone. Logins stay without rights.

    The role stays if it has rights on other objects, or only an administrator may drop it.
    """
    role = _role(connection, tenant.analyst_role)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("drop role if exists {}").format(role))
    except (
        psycopg.errors.DependentObjectsStillExist,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectInUse,
    ):
        log.warning("%s: the role %s is needed or not ours; it stays", tenant, role.as_string())
        return False
    return True


def _role(connection: psycopg.Connection, kind: str) -> sql.Identifier:
    """The role's name in this installation."""
    row = connection.execute("select integration.role_name(%s)", (kind,)).fetchone()
    assert row is not None  # noqa: S101 - it has no `from`
    return sql.Identifier(row[0])


def _ensured(connection: psycopg.Connection, kind: str) -> bool:
    """True if the role exists, or could be made."""
    try:
        with connection.transaction():
            connection.execute("select integration.ensure_role(%s)", (kind,))
    except psycopg.errors.InsufficientPrivilege:
        return False
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return True  # a run of another tenant made the role of all tenants a moment ago
    return True
