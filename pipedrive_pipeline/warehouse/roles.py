"""Rights of roles, and roles of this installation that nothing uses any more."""

from __future__ import annotations

import logging
from typing import Final

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.warehouse import locks

RIGHTS: Final = "rights"
log = logging.getLogger(__name__)


def lock_rights(connection: psycopg.Connection) -> None:
    """Waits until no other transaction changes rights, and keeps others from it until the end.

    Two that change those of the same schema or table end with "tuple concurrently updated", and an
    app's table is the same one for all tenants.
    """
    locks.prepare(connection, RIGHTS)
    locks.take(connection, RIGHTS)


def drop_role(connection: psycopg.Connection, name: str, *, is_with_rights: bool = False) -> bool:
    """Drops a role in the caller's transaction; True if it is gone, also if it never was there.

    A role that cannot be dropped stays, without a login: it has rights that somebody else gave, or
    that another database has, or only an administrator may drop it.

    Args:
        connection: the caller's.
        name: the role's name.
        is_with_rights: takes away its rights in this database first.
    """
    role = sql.Identifier(name)
    found = connection.execute("select from pg_catalog.pg_roles where rolname = %s", [name])
    if not found.rowcount:
        return True
    try:
        with connection.transaction():
            if is_with_rights:
                lock_rights(connection)
                connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))
    except (
        errors.DependentObjectsStillExist,
        errors.InsufficientPrivilege,
        errors.ObjectInUse,
    ):
        log.warning("the role %s has other rights, or is not ours to drop; it stays", name)
        return False
    return True
