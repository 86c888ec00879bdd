"""Drops roles of this installation that nothing uses any more."""

from __future__ import annotations

import logging

import psycopg
from psycopg import errors, sql

log = logging.getLogger(__name__)


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
