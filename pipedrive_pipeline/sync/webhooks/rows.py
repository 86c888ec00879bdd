"""Reads and writes `integration.webhooks`: one row of each connected tenant and system."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

CHECKED_EVERY = timedelta(days=1)
RETRY_FIRST, RETRY_LATER = timedelta(minutes=1), timedelta(hours=1)
SECRET_BYTES = 32
WHO = "near real time"  # in the audit log and in requests for a sync

State = Literal["off", "making", "live", "failing"]


@dataclass(frozen=True)
class Webhook:
    """A connected tenant and system with its webhook; ``state`` is None before the first look."""

    tenant_id: str
    system: str
    source_url: str
    scopes: list[str]
    is_wanted: bool
    state: State | None
    reason: str | None
    app_url: str | None
    remote_id: str | None
    attempts: int

    @property
    def scope(self) -> Scope:
        """The tenant and system."""
        return Scope(Tenant(self.tenant_id), self.system)


@dataclass(frozen=True)
class Secrets:
    """The token of a webhook's address and its password; only digests are stored."""

    id: UUID = field(default_factory=uuid4)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)


@dataclass(frozen=True)
class Receiving:
    """A webhook whose events are received, and the company that they have to be of."""

    id: UUID
    tenant_id: str
    system: str
    token_hash: str
    password_hash: str
    company_id: str | None

    @property
    def scope(self) -> Scope:
        """The tenant and system."""
        return Scope(Tenant(self.tenant_id), self.system)

    def opens(self, password: str) -> bool:
        """True if this is the webhook's password, compared in constant time."""
        return hmac.compare_digest(hashed(password), self.password_hash)


def hashed(secret: str) -> str:
    """The digest that is stored. A secret has 256 bits, so that a plain digest is safe."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def receiving(warehouse: Warehouse, token_hashes: Iterable[str]) -> dict[str, Receiving]:
    """The webhooks whose addresses have these tokens, by the digest of the token."""
    with warehouse.connect() as connection:
        cursor = connection.cursor(row_factory=class_row(Receiving))
        found = cursor.execute(_RECEIVING, [list(token_hashes)]).fetchall()
    return {webhook.token_hash: webhook for webhook in found}


def due(warehouse: Warehouse, systems: Iterable[str], app_url: str, *, limit: int) -> list[Scope]:
    """The connected scopes whose webhook has to be looked at, the longest waiting first."""
    values = {"systems": list(systems), "app_url": app_url, "limit": limit}
    with warehouse.transaction() as connection:
        rows = connection.execute(_DUE, values).fetchall()
    return [Scope(Tenant(slug), system) for slug, system in rows]


def read(warehouse: Warehouse, scope: Scope) -> Webhook | None:
    """The webhook of a connected scope; None if the scope is not connected."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        cursor = connection.cursor(row_factory=class_row(Webhook))
        return cursor.execute(_READ, _names(scope)).fetchone()


def unknown_tokens(warehouse: Warehouse, tokens: Iterable[str]) -> set[str]:
    """Those of the tokens that belong to no webhook of this installation."""
    digests = {hashed(token): token for token in tokens}
    with warehouse.transaction() as connection:
        rows = connection.execute(_KNOWN, [list(digests)]).fetchall()
    return {token for digest, token in digests.items() if (digest,) not in rows}


def begin(warehouse: Warehouse, scope: Scope, app_url: str, fresh: Secrets) -> None:
    """Stores the digests of a webhook before the source is asked for it; deletes former ones.

    Committed first, so that a webhook that is made by a process which then dies is recognised: its
    token is known here, or it is a stray.
    """
    values = _names(scope) | {
        "id": fresh.id,
        "app_url": app_url,
        "token_hash": hashed(fresh.token),
        "password_hash": hashed(fresh.password),
    }
    with warehouse.transaction(tenant=scope.tenant) as connection:
        connection.execute(_BEGIN, values)


def made(
    warehouse: Warehouse,
    scope: Scope,
    fresh: Secrets,
    remote_id: str,
    *,
    gap_reason: str,
    is_proven: bool,
) -> bool:
    """Stores that the source has made the webhook; False if the tenant was disconnected meanwhile.

    What changed before the webhook was there is found by a sync, for ``gap_reason``. If it is not
    proven that the source can deliver, the webhook is looked at again soon.
    """
    values = _names(scope) | {
        "id": fresh.id,
        "remote_id": remote_id,
        "next_in": CHECKED_EVERY if is_proven else RETRY_LATER,
        "attempts": 0 if is_proven else 1,
        "gap_reason": gap_reason,
    }
    with warehouse.transaction(tenant=scope.tenant) as connection:
        is_stored = connection.execute(_MADE, values).rowcount == 1
        if is_stored:
            _note(connection, scope, "webhook.make", gap_reason)
    return is_stored


def checked(warehouse: Warehouse, scope: Scope) -> None:
    """Stores that the source has the webhook and delivers."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        connection.execute(_CHECKED, _names(scope) | {"next_in": CHECKED_EVERY})


def failed(
    warehouse: Warehouse,
    webhook: Webhook,
    app_url: str,
    reason: str,
    *,
    is_dead: bool,
    gap_reason: str | None = None,
) -> None:
    """Stores a look that failed, and when the next one is due.

    Args:
        warehouse: of the table.
        webhook: as it was read before.
        app_url: the Connect app's address.
        reason: why, in words.
        is_dead: events do not arrive, or no webhook can be made; False if only the look failed.
        gap_reason: why events may have been lost; None if none were.
    """
    later = min(RETRY_FIRST * 2 ** min(webhook.attempts, 10), RETRY_LATER)
    values = _names(webhook.scope) | {
        "is_dead": is_dead,
        "reason": reason,
        "next_in": later,
        "app_url": app_url,
        "gap_reason": gap_reason,
    }
    with warehouse.transaction(tenant=webhook.scope.tenant) as connection:
        connection.execute(_FAILED, values)
        if is_dead and webhook.state != "failing":
            _note(connection, webhook.scope, "webhook.fail", reason)


def switched_off(warehouse: Warehouse, webhook: Webhook, app_url: str, reason: str) -> None:
    """Stores that there is no webhook, and why; its address opens nothing any more."""
    values = _names(webhook.scope) | {
        "app_url": app_url,
        "reason": reason,
        "next_in": CHECKED_EVERY,
    }
    with warehouse.transaction(tenant=webhook.scope.tenant) as connection:
        connection.execute(_OFF, values)
        if webhook.state not in {None, "off"}:
            _note(connection, webhook.scope, "webhook.remove", reason)


def _note(connection: psycopg.Connection, scope: Scope, action: str, reason: str) -> None:
    audit_log.note(
        connection,
        scope.tenant,
        who=WHO,
        action=action,
        subject=scope.system,
        after={"reason": reason},
    )


def _names(scope: Scope) -> dict[str, object]:
    return {"tenant": scope.tenant.slug, "system": scope.system}


_RECEIVING = """
select
    webhooks.id,
    webhooks.tenant_id,
    webhooks.system,
    webhooks.token_hash,
    webhooks.password_hash,
    connections.company_id
from integration.webhooks
inner join integration.connections
    on connections.tenant_id = webhooks.tenant_id
    and connections.system = webhooks.system
where webhooks.token_hash = any(%s)
"""
# A webhook is also looked at when something that it depends on has changed since the last look.
_DUE = """
select
    connections.tenant_id,
    connections.system
from integration.connections
left join integration.webhooks
    on webhooks.tenant_id = connections.tenant_id
    and webhooks.system = connections.system
left join integration.sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
where connections.state = 'connected'
    and connections.system = any(%(systems)s)
    and (
        webhooks.tenant_id is null
        or webhooks.next_check_at <= now()
        or webhooks.app_url <> %(app_url)s
        or webhooks.checked_at < connections.connected_at
        or webhooks.checked_at < sync_settings.updated_at
    )
order by webhooks.next_check_at asc nulls first, connections.tenant_id asc
limit %(limit)s
"""
_READ = """
select
    connections.tenant_id,
    connections.system,
    coalesce(connections.api_domain, '') as source_url,
    coalesce(connections.scopes, '{}') as scopes,
    coalesce(sync_settings.near_real_time, true) as is_wanted,
    webhooks.state,
    webhooks.reason,
    webhooks.app_url,
    webhooks.remote_id,
    coalesce(webhooks.attempts, 0) as attempts
from integration.connections
left join integration.webhooks
    on webhooks.tenant_id = connections.tenant_id
    and webhooks.system = connections.system
left join integration.sync_settings
    on sync_settings.tenant_id = connections.tenant_id
    and sync_settings.system = connections.system
where connections.state = 'connected'
    and connections.tenant_id = %(tenant)s
    and connections.system = %(system)s
"""
_KNOWN = """
select webhooks.token_hash
from integration.webhooks
where webhooks.token_hash = any(%s)
"""
_BEGIN = """
insert into integration.webhooks (
    id, tenant_id, system, state, app_url, token_hash, password_hash
)
values (
    %(id)s, %(tenant)s, %(system)s, 'making', %(app_url)s, %(token_hash)s, %(password_hash)s
)
on conflict (tenant_id, system) do update
set id = excluded.id,
    state = excluded.state,
    reason = null,
    app_url = excluded.app_url,
    token_hash = excluded.token_hash,
    password_hash = excluded.password_hash,
    remote_id = null,
    made_at = null,
    checked_at = statement_timestamp()
"""
_MADE = """
update integration.webhooks
set state = 'live',
    reason = null,
    remote_id = %(remote_id)s,
    made_at = statement_timestamp(),
    checked_at = statement_timestamp(),
    next_check_at = statement_timestamp() + %(next_in)s,
    attempts = %(attempts)s,
    paused_until = null,
    gap_since = coalesce(webhooks.gap_since, statement_timestamp()),
    gap_reason = coalesce(webhooks.gap_reason, %(gap_reason)s)
where webhooks.tenant_id = %(tenant)s
    and webhooks.system = %(system)s
    and webhooks.id = %(id)s
"""
_CHECKED = """
update integration.webhooks
set state = 'live',
    reason = null,
    checked_at = statement_timestamp(),
    next_check_at = statement_timestamp() + %(next_in)s,
    attempts = 0,
    gap_since = case
        when webhooks.state = 'failing' then coalesce(webhooks.gap_since, statement_timestamp())
        else webhooks.gap_since
    end,
    gap_reason = case
        when webhooks.state = 'failing'
            then coalesce(webhooks.gap_reason, 'the source delivers events again')
        else webhooks.gap_reason
    end
where webhooks.tenant_id = %(tenant)s
    and webhooks.system = %(system)s
"""
_FAILED = """
insert into integration.webhooks as stored (
    tenant_id, system, state, reason, app_url, next_check_at, attempts
)
values (
    %(tenant)s,
    %(system)s,
    case when %(is_dead)s then 'failing' else 'making' end,
    %(reason)s,
    %(app_url)s,
    statement_timestamp() + %(next_in)s,
    1
)
on conflict (tenant_id, system) do update
set state = case when %(is_dead)s then 'failing' else stored.state end,
    reason = excluded.reason,
    checked_at = statement_timestamp(),
    next_check_at = excluded.next_check_at,
    attempts = stored.attempts + 1,
    gap_since = case
        when %(gap_reason)s::text is null then stored.gap_since
        else coalesce(stored.gap_since, statement_timestamp())
    end,
    gap_reason = coalesce(stored.gap_reason, %(gap_reason)s)
"""
_OFF = """
insert into integration.webhooks (tenant_id, system, state, reason, app_url, next_check_at)
values (
    %(tenant)s, %(system)s, 'off', %(reason)s, %(app_url)s, statement_timestamp() + %(next_in)s
)
on conflict (tenant_id, system) do update
set state = excluded.state,
    reason = excluded.reason,
    app_url = excluded.app_url,
    token_hash = null,
    password_hash = null,
    remote_id = null,
    made_at = null,
    checked_at = excluded.checked_at,
    next_check_at = excluded.next_check_at,
    attempts = 0,
    gap_since = null,
    gap_reason = null
"""
