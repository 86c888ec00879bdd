"""Roles of analysts, which may read one tenant's views, or all tenants', and nothing more.

An administrator creates logins and grants them a role (`docs/analysts.md`). If the engine may not
create roles, the views are published without grants, and an administrator may create the roles.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.roles import drop_role

EVERY_TENANT: Final = "analyst_all"


def grant_to_analysts(connection: psycopg.Connection, tenant: Tenant) -> None:
    """Lets the tenant's analysts, and those of all tenants, read the tenant's views."""
    for kind in (tenant.analyst_role, EVERY_TENANT):
        if _ensured(connection, kind):
            schema = sql.Identifier(tenant.analytics_schema)
            role = sql.Identifier(_role_name(connection, kind))
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
            connection.execute(
                sql.SQL("grant select on all tables in schema {} to {}").format(schema, role)
            )


def drop_analyst_role(connection: psycopg.Connection, tenant: Tenant) -> bool:
    """Drops the role of the tenant's analysts; True if it is gone. Logins stay without rights.

    The role stays if it has rights on other objects, or only an administrator may drop it.
    """
    return drop_role(connection, _role_name(connection, tenant.analyst_role))


def _role_name(connection: psycopg.Connection, kind: str) -> str:
    """The role's name in this installation."""
    row = connection.execute("select integration.role_name(%s)", (kind,)).fetchone()
    assert row is not None  # noqa: S101 - it has no `from`
    return str(row[0])


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
