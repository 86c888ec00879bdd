"""One-time links: a person without a key opens one and consents for its tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import psycopg

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.errors import LinkRefused
from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.oauth_app import oauth_app
from pipedrive_pipeline.vault.vault import Vault

LINK_MINUTES = 10
LINK_PATH = "/connect/"
LINK_PURPOSE = "connect-link"


@dataclass(frozen=True)
class Link:
    """A new link; it is shown once, and only its hash is stored."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class LinkTarget:
    """The tenant and system that a link connects."""

    tenant: Tenant
    system: str
    who: str


def make(vault: Vault, tenant: Tenant, system: str, *, who: str) -> Link:
    """Makes a link that works once, for ten minutes.

    Raises:
        SettingsError: the operator has not set the app's id or secret; a link would be useless.
        UnknownTenant: no such tenant.
    """
    oauth_app(vault.settings_of(tenant), system)
    secret = signing.signed(vault.settings, LINK_PURPOSE, signing.fresh())
    with vault.warehouse.transaction() as transaction:
        transaction.execute("delete from integration.connect_links where expires_at < now()")
        try:
            row = transaction.execute(
                """
                insert into integration.connect_links (
                    link_hash, tenant_id, system, created_by, expires_at
                )
                values (%s, %s, %s, %s, now() + make_interval(mins => %s))
                returning expires_at
                """,
                (signing.hashed(secret), tenant.slug, system, who, LINK_MINUTES),
            ).fetchone()
        except psycopg.errors.ForeignKeyViolation:
            raise UnknownTenant(tenant.slug) from None
    if row is None:  # `returning` gives the row that was inserted
        raise AssertionError
    base = str(vault.settings.app_url).rstrip("/")
    return Link(url=f"{base}{LINK_PATH}{quote(secret)}", expires_at=row[0])


def open_once(vault: Vault, secret: str) -> LinkTarget:
    """Uses the link up and returns its target.

    Raises:
        LinkRefused: forged, opened before, or too old.
    """
    if not signing.is_ours(vault.settings, LINK_PURPOSE, secret):
        raise LinkRefused
    with vault.warehouse.transaction() as transaction:
        row = transaction.execute(
            """
            delete from integration.connect_links
            where link_hash = %s
            returning tenant_id, system, created_by, expires_at > now()
            """,
            (signing.hashed(secret),),
        ).fetchone()
    if row is None or not row[3]:
        raise LinkRefused
    return LinkTarget(Tenant(row[0]), row[1], row[2])
