"""API keys: add, list, revoke, look up. The table is `integration.api_keys`.

A key names its tenant, `key_acme.SECRET`. It is looked up with the role of the app, among that
tenant's keys only, so that signing in needs no session that sees every tenant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.errors import BadInput, BadSlug, UnknownTenant
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log

START = "key_"
KEY_MAX_CHARACTERS = 128  # ours have at most 80
SHOWN_CHARACTERS = 6  # of the secret's 43; the rest cannot be guessed from them
NAME_MAX_CHARACTERS = 100


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: UUID
    name: str
    role: Role
    prefix: str  # its first characters, shown in lists
    created_at: datetime
    created_by: str | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    crm_user_id: UUID | None = None  # sees what this user of the CRM may see; None: everything

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))


@dataclass(frozen=True)
class NewKey:
    """A new key with its secret, which is shown once."""

    key: Key
    text: str


def add(
    connection: psycopg.Connection,
    tenant: Tenant,
    role: Role,
    name: str,
    *,
    who: str,
    expires_at: datetime | None = None,
    crm_user_id: UUID | None = None,
) -> NewKey:
    """Adds a key of this tenant; only its hash is stored. Without ``expires_at`` it never expires.

    A key with a ``crm_user_id`` opens the CRM API only, and sees what that user may see.

    Raises:
        BadInput: the name is empty, too long or unprintable, or the key would have expired already.
        UnknownTenant: no such tenant.
    """
    if not name.strip() or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise BadInput(f"a key's name has 1 to {NAME_MAX_CHARACTERS} printable characters.")
    if expires_at is not None and expires_at <= datetime.now(expires_at.tzinfo):
        raise BadInput("a key must expire in the future.")
    start, secret = f"{START}{tenant}.", signing.fresh()
    prefix = start + secret[:SHOWN_CHARACTERS]
    key_hash = signing.hashed(start + secret)
    values = [tenant.slug, name, role, key_hash, prefix, who, expires_at, crm_user_id]
    try:
        key = connection.cursor(row_factory=class_row(Key)).execute(_ADD, values).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise UnknownTenant(tenant.slug) from None
    assert key is not None  # noqa: S101 - `returning` of an insert
    facts = {"name": name, "role": role, "expires_at": expires_at and expires_at.isoformat()}
    if crm_user_id is not None:
        facts["crm_user_id"] = str(crm_user_id)
    audit_log.note(connection, tenant, who=who, action="key.add", subject=prefix, after=facts)
    return NewKey(key, start + secret)


def of_tenant(
    connection: psycopg.Connection,
    tenant: Tenant,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int | None = None,
) -> list[Key]:
    """Keys of the tenant, revoked and expired ones too, oldest first.

    Args:
        connection: as the app.
        tenant: whose keys.
        after: when the last key of the page before was made, and its id.
        limit: at most as many; None gives all.
    """
    at, key_id = after or (None, None)
    values = {"tenant": tenant.slug, "at": at, "id": key_id, "limit": limit}
    return connection.cursor(row_factory=class_row(Key)).execute(_ALL, values).fetchall()


def revoke(connection: psycopg.Connection, tenant: Tenant, key_id: UUID, *, who: str) -> Key:
    """Revokes the key and ends its browser sessions; revoking it twice changes nothing.

    Raises:
        NotFound: this tenant has no such key.
    """
    cursor = connection.cursor(row_factory=class_row(Key))
    former = cursor.execute(_BY_ID, [tenant.slug, key_id]).fetchone()
    if former is None:
        raise NotFound
    if former.revoked_at is None:
        cursor.execute(_REVOKE, [tenant.slug, key_id])
        connection.execute(_END_SESSIONS, [tenant.slug, key_id])
        facts = {"name": former.name, "role": former.role}
        audit_log.note(
            connection, tenant, who=who, action="key.revoke", subject=former.prefix, before=facts
        )
    key = cursor.execute(_BY_ID, [tenant.slug, key_id]).fetchone()
    assert key is not None  # noqa: S101 - rows of this table are not deleted
    return key


def tenant_named_in(text: str) -> Tenant | None:
    """The tenant that a key names; None if the text has not the form of a key."""
    start, _, secret = text.partition(".")
    if len(text) > KEY_MAX_CHARACTERS or not start.startswith(START) or not secret:
        return None
    try:
        return Tenant(start.removeprefix(START))
    except BadSlug:
        return None


def by_text(connection: psycopg.Connection, tenant: Tenant, text: str) -> Key | None:
    """The key with this text, unless it is revoked or expired. Its use is recorded once an hour."""
    cursor = connection.cursor(row_factory=class_row(Key))
    key = cursor.execute(_BY_HASH, [tenant.slug, signing.hashed(text)]).fetchone()
    if key:
        _record_use(connection, tenant, key)
    return key


def _record_use(connection: psycopg.Connection, tenant: Tenant, key: Key) -> None:
    now = datetime.now(key.created_at.tzinfo)
    if key.last_used_at is None or (now - key.last_used_at).total_seconds() >= 3_600:
        connection.execute(_USED, [tenant.slug, key.id])


_COLUMNS = """
    api_keys.id,
    api_keys.name,
    api_keys.role,
    api_keys.key_prefix as prefix,
    api_keys.created_at,
    api_keys.created_by,
    api_keys.last_used_at,
    api_keys.expires_at,
    api_keys.revoked_at,
    api_keys.crm_user_id
"""
IS_VALID = """
    api_keys.revoked_at is null
    and (api_keys.expires_at is null or api_keys.expires_at > clock_timestamp())
"""
_ADD = f"""
insert into integration.api_keys (
    tenant_id, name, role, key_hash, key_prefix, created_by, expires_at, crm_user_id
)
values (%s, %s, %s, %s, %s, %s, %s, %s)
returning {_COLUMNS}
"""
_ALL = f"""
select {_COLUMNS}
from integration.api_keys
where api_keys.tenant_id = %(tenant)s
    and (
        %(at)s::timestamptz is null
        or (api_keys.created_at, api_keys.id) > (%(at)s::timestamptz, %(id)s::uuid)
    )
order by api_keys.created_at asc, api_keys.id asc
limit %(limit)s::integer
"""
_BY_ID = f"""
select {_COLUMNS}
from integration.api_keys
where api_keys.tenant_id = %s
    and api_keys.id = %s
"""
_BY_HASH = f"""
select {_COLUMNS}
from integration.api_keys
where api_keys.tenant_id = %s
    and api_keys.key_hash = %s
    and {IS_VALID}
"""
_REVOKE = """
update integration.api_keys
set revoked_at = clock_timestamp()
where api_keys.tenant_id = %s
    and api_keys.id = %s
"""
_USED = """
update integration.api_keys
set last_used_at = clock_timestamp()
where api_keys.tenant_id = %s
    and api_keys.id = %s
"""
_END_SESSIONS = """
delete from integration.browser_sessions
where browser_sessions.tenant_id = %s
    and browser_sessions.key_id = %s
"""
