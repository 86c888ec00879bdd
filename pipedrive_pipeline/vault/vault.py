"""The vault: warehouse, settings and cipher in one object, and the check of its keys at start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.oauth import OAuthApp
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.vault.cipher import Cipher
from pipedrive_pipeline.vault.errors import WrongKey
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of


@dataclass(frozen=True)
class Vault:
    """The warehouse that stores tokens, and the cipher that decrypts them. Opening does no I/O."""

    warehouse: Warehouse
    settings: Settings

    def allowed_hosts(self, scope: Scope) -> AllowedHosts:
        """The hosts that the tokens of one tenant and system may be sent to."""
        return registry.allowed_hosts(self.settings, scope)

    def oauth_app(self, scope: Scope) -> OAuthApp:
        """Our OAuth app at one system; raises as `registry.oauth_app`."""
        return registry.oauth_app(self.settings, scope)

    @cached_property
    def cipher(self) -> Cipher:
        """The cipher with the keys of `TOKEN_ENCRYPTION_KEYS`; the first one encrypts."""
        return Cipher(self.settings.encryption_keys())


def open_vault(warehouse: Warehouse | None = None, settings: Settings | None = None) -> Vault:
    """The vault of these settings; defaults come from the environment."""
    settings = settings or load_settings()
    return Vault(warehouse=warehouse or warehouse_of(settings), settings=settings)


def check_keys(vault: Vault) -> int:
    """The number of stored secrets, if each is sealed with a key of the list.

    Only key ids are compared, so that this is cheap at each start; a secret that was altered is
    detected when it is lent, and stops that connection only.

    Raises:
        WrongKey: a key is missing; the operator must put it back. Nothing is overwritten.
    """
    with vault.warehouse.transaction() as transaction:
        rows = transaction.execute(
            """
            select left(secrets.sealed, 8) as key_id, count(*) as secrets_count
            from (
                select connections.access_token as sealed from integration.connections
                union all
                select connections.refresh_token as sealed from integration.connections
                union all
                select pending_grants.access_token as sealed from integration.pending_grants
                union all
                select pending_grants.refresh_token as sealed from integration.pending_grants
                union all
                select sync_settings.alert_urls as sealed from integration.sync_settings
                union all
                select app_webhooks.secret as sealed from integration.app_webhooks
                union all
                select app_webhooks.former_secret as sealed from integration.app_webhooks
            ) as secrets
            where secrets.sealed ~ '^[0-9a-f]{8}[.]'
            group by left(secrets.sealed, 8)
            """
        ).fetchall()
    missing = vault.cipher.missing_keys([key_id for key_id, _ in rows])
    if missing:
        raise WrongKey(missing)
    return sum(count for _, count in rows)
