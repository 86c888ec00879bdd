"""One-time links: whoever opens one begins a consent for its tenant, without a key.

Belongs here: making and opening them. Does not belong here: the consent itself
(`authorization.py`), or who may make one (`routes.py`, the command line).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import psycopg

from pipedrive_pipeline.connect import signing
from pipedrive_pipeline.connect.refusals import LinkRefused
from pipedrive_pipeline.errors import UnknownTenant
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.oauth_app import oauth_app
from pipedrive_pipeline.vault.vault import Vault

LINK_MINUTES = 10
LINK_PATH = "/connect/"
LINK_PURPOSE = "connect-link"


@dataclass(frozen=True)
class Link:
    """A link as its maker sees it, once; only its hash is stored."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Opened:
    """What an opened link stands for."""

    tenant: Tenant
    system: str
    who: str


def make(vault: Vault, tenant: Tenant, system: str, *, who: str) -> Link:
    """A link that works once, for ten minutes.

    Raises:
        SettingsError: the operator has not set the app's id or secret; the link would lead nowhere.
        UnknownTenant: no such tenant.
    """
    oauth_app(vault.settings, system)
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


def open_once(vault: Vault, secret: str) -> Opened:
    """What the link stands for; from now on it is gone.

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
    return Opened(Tenant(row[0]), row[1], row[2])
