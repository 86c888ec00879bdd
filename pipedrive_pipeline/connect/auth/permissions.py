"""Permissions, and the roles that name sets of them.

`ROLES` is the only declaration: a new permission is added to the sets of the roles that get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Permission(StrEnum):
    """One thing that a caller may do."""

    READ_RECORDS = "records:read"  # status, history, fields, mapping and settings, too
    WRITE_RECORDS = "records:write"
    DELETE_RECORDS = "records:delete"
    WRITE_MAPPING = "mapping:write"
    ASK_SYNC = "sync:ask"  # and test the connection
    MANAGE_CONNECTION = "connection:manage"  # connect, disconnect, sync settings
    MANAGE_KEYS = "keys:manage"
    MANAGE_WEBHOOKS = "webhooks:manage"  # where the changes of all records are sent
    READ_AUDIT = "audit:read"
    LEND_CREDENTIALS = "credentials:lend"


class Role(StrEnum):
    """A named set of permissions; a key has one role."""

    USER = "user"
    MANAGER = "manager"
    ADMIN = "admin"

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of a key with this role."""
        return ROLES[self]


ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.USER: frozenset({Permission.READ_RECORDS}),
    Role.MANAGER: frozenset(
        {
            Permission.READ_RECORDS,
            Permission.WRITE_RECORDS,
            Permission.WRITE_MAPPING,
            Permission.ASK_SYNC,
        }
    ),
    Role.ADMIN: frozenset(Permission),
}


def roles_with(permission: Permission) -> list[Role]:
    """The roles that have this permission, in the order of `Role`."""
    return [role for role, permissions in ROLES.items() if permission in permissions]
