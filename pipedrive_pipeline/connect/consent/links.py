"""One-time links: a person without a key opens one and consents for its tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import psycopg

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.errors import LinkRefused
from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import Vault

LINK_MINUTES = 10
LINK_PATH = "/connect/"
LINK_PURPOSE = "connect-link"


@dataclass(frozen=True)
class OneTimeLink:
    """A new link; it is shown once, and only its hash is stored."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class LinkTarget:
    """The tenant and system that a link connects."""

    link_hash: str
    scope: Scope
    who: str


def make(vault: Vault, scope: Scope, *, who: str) -> OneTimeLink:
    """Makes a link that gives one consent, within ten minutes.

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
                    link_hash, tenant_id, system, created_by, expires_at
                )
                values (%s, %s, %s, %s, now() + make_interval(mins => %s))
                returning expires_at
                """,
                (signing.hashed(secret), scope.tenant.slug, scope.system, who, LINK_MINUTES),
            ).fetchone()
        except psycopg.errors.ForeignKeyViolation:
            raise UnknownTenant(scope.tenant.slug) from None
    if row is None:  # `returning` gives the row that was inserted
        raise AssertionError
    base = str(vault.settings.app_url).rstrip("/")
    return OneTimeLink(url=f"{base}{LINK_PATH}{quote(secret)}", expires_at=row[0])


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
            select connect_links.tenant_id, connect_links.system, connect_links.created_by
            from integration.connect_links
            where connect_links.link_hash = %s
                and connect_links.expires_at > now()
            """,
            (link_hash,),
        ).fetchone()
    if row is None:
        raise LinkRefused
    return LinkTarget(link_hash, Scope(Tenant(row[0]), row[1]), row[2])


def use_up(transaction: psycopg.Connection, link_hash: str) -> bool:
    """Deletes the link; False if another consent has used it before."""
    return bool(
        transaction.execute(
            "delete from integration.connect_links where link_hash = %s", (link_hash,)
        ).rowcount
    )
