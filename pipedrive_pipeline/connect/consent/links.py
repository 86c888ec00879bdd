"""One-time links: a person without a key opens one and consents for its tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.errors import LinkRefused, NotFound
from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import audit_log

LINK_MINUTES = 10  # for somebody who is waiting for it
LINK_MINUTES_MAX = 7 * 24 * 60  # for somebody who gets it by e-mail
LINK_PATH = "/connect/"
LINK_PURPOSE = "connect-link"


@dataclass(frozen=True)
class OneTimeLink:
    """A new link; it is shown once, and only its hash is stored."""

    id: UUID
    url: str
    expires_at: datetime


@dataclass(frozen=True)
class OpenLink:
    """A link that still works, without its secret."""

    id: UUID
    system: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    reconnects_only: bool


@dataclass(frozen=True)
class LinkTarget:
    """The tenant and system that a link connects, and what it allows."""

    link_hash: str
    scope: Scope
    who: str  # made it
    expires_at: datetime
    reconnects_only: bool


@dataclass(frozen=True)
class UsedLink:
    """What a link that was used up allows."""

    reconnects_only: bool


def make(
    vault: Vault,
    scope: Scope,
    *,
    who: str,
    valid_minutes: int = LINK_MINUTES,
    reconnects_only: bool = False,
) -> OneTimeLink:
    """Makes a link that gives one consent within ``valid_minutes``.

    With ``reconnects_only`` the consent must be for the company that the tenant has rows of.

    Raises:
        SettingsError: the operator has not set the app's id or secret; a link would be useless.
        UnknownTenant: no such tenant.
    """
    vault.oauth_app(scope)
    secret = signing.signed(vault.settings, LINK_PURPOSE, signing.fresh())
    with vault.warehouse.transaction() as transaction:
        # A consent that the link began just before its end may still come back.
        transaction.execute(
            "delete from integration.connect_links"
            " where expires_at < now() - make_interval(mins => %s)",
            (LINK_MINUTES,),
        )
        try:
            row = transaction.execute(
                """
                insert into integration.connect_links (
                    link_hash, tenant_id, system, created_by, expires_at, reconnects_only
                )
                values (%s, %s, %s, %s, now() + make_interval(mins => %s), %s)
                returning id, expires_at
                """,
                (
                    signing.hashed(secret),
                    scope.tenant.slug,
                    scope.system,
                    who,
                    valid_minutes,
                    reconnects_only,
                ),
            ).fetchone()
        except psycopg.errors.ForeignKeyViolation:
            raise UnknownTenant(scope.tenant.slug) from None
        if row is None:  # `returning` gives the row that was inserted
            raise AssertionError
        facts = {"expires_at": row[1].isoformat(), "reconnects_only": reconnects_only}
        audit_log.note(
            transaction,
            scope.tenant,
            who=who,
            action="link.add",
            subject=scope.system,
            after=facts,
        )
    base = str(vault.settings.app_url).rstrip("/")
    return OneTimeLink(id=row[0], url=f"{base}{LINK_PATH}{quote(secret)}", expires_at=row[1])


def of_tenant(connection: psycopg.Connection, tenant: Tenant) -> list[OpenLink]:
    """The tenant's links that still work, newest first; as the app."""
    cursor = connection.cursor(row_factory=class_row(OpenLink))
    return cursor.execute(_OPEN, (tenant.slug,)).fetchall()


def withdraw(connection: psycopg.Connection, scope: Scope, link_id: UUID, *, who: str) -> None:
    """Deletes a link; a consent that it began cannot be finished any more.

    Raises:
        NotFound: the tenant has no such link to this system, or it was used.
    """
    values = (scope.tenant.slug, scope.system, link_id)
    if not connection.execute(_WITHDRAW, values).rowcount:
        raise NotFound("There is no such link, or it was used already.")
    audit_log.note(connection, scope.tenant, who=who, action="link.withdraw", subject=scope.system)


def target(vault: Vault, secret: str) -> LinkTarget:
    """The target of a link, which stays usable until `use_up`.

    Raises:
        LinkRefused: forged, used, or expired.
    """
    if not signing.is_ours(vault.settings, LINK_PURPOSE, secret):
        raise LinkRefused
    link_hash = signing.hashed(secret)
    with vault.warehouse.transaction() as transaction:
        row = transaction.execute(
            """
            update integration.connect_links
            set opened_at = coalesce(connect_links.opened_at, now())
            where connect_links.link_hash = %s
                and connect_links.expires_at > now()
            returning
                connect_links.tenant_id,
                connect_links.system,
                connect_links.created_by,
                connect_links.expires_at,
                connect_links.reconnects_only
            """,
            (link_hash,),
        ).fetchone()
    if row is None:
        raise LinkRefused
    return LinkTarget(link_hash, Scope(Tenant(row[0]), row[1]), *row[2:])


def use_up(transaction: psycopg.Connection, link_hash: str) -> UsedLink | None:
    """Deletes the link and returns it; None if another consent has used it before."""
    row = transaction.execute(
        "delete from integration.connect_links where link_hash = %s returning reconnects_only",
        (link_hash,),
    ).fetchone()
    return UsedLink(reconnects_only=row[0]) if row else None


_OPEN = """
select
    connect_links.id,
    connect_links.system,
    connect_links.created_by,
    connect_links.created_at,
    connect_links.expires_at,
    connect_links.opened_at,
    connect_links.reconnects_only
from integration.connect_links
where connect_links.tenant_id = %s
    and connect_links.expires_at > now()
order by connect_links.created_at desc, connect_links.id desc
"""
_WITHDRAW = """
delete from integration.connect_links
where connect_links.tenant_id = %s
    and connect_links.system = %s
    and connect_links.id = %s
"""
