"""The vault: warehouse, settings and cipher in one object; a system's hosts and OAuth app."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.oauth import OAuthApp
from pipedrive_pipeline.errors import SettingsError, UsageError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings, load_settings, setting_name
from pipedrive_pipeline.vault.cipher import Cipher
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of


@dataclass(frozen=True)
class Vault:
    """The warehouse that stores tokens, and the cipher that decrypts them. Opening does no I/O."""

    warehouse: Warehouse
    settings: Settings

    def allowed_hosts(self, scope: Scope) -> AllowedHosts:
        """The hosts that the tokens of one tenant and system may be sent to.

        Raises:
            SettingsError: a setting of this system is malformed.
        """
        patterns = self.settings.system(scope.system, scope.tenant.slug).allowed_hosts
        return AllowedHosts(
            registry.system(scope.system).hosts if patterns is None else patterns,
            setting_name(scope.system, "ALLOWED_HOSTS"),
        )

    def oauth_app(self, scope: Scope) -> OAuthApp:
        """Our OAuth app at the system of this scope.

        Raises:
            SettingsError: the operator has not set the app's id or secret.
            UsageError: the system has no OAuth, or there is no such system.
        """
        declared = registry.system(scope.system)
        scheme = declared.auth_of("oauth")
        if scheme is None:
            raise UsageError(f"{declared.label} has no consent; connect with an API token.")
        given = self.settings.system(scope.system, scope.tenant.slug)
        if given.client_id is None or given.client_secret is None:
            name = setting_name(
                scope.system, "CLIENT_ID" if given.client_id is None else "CLIENT_SECRET"
            )
            raise SettingsError(
                f"{name} is not set; consent needs the id and secret of an app that is registered "
                f"with {declared.label}. An API token needs neither: `connect --api-token`."
            )
        return OAuthApp(
            system=scope.system,
            scheme=scheme,
            oauth_url=str(given.oauth_url or scheme.oauth_url).rstrip("/"),
            client_id=given.client_id,
            client_secret=given.client_secret,
            redirect_uri=self.settings.redirect_uri(scope.system),
            allowed_hosts=self.allowed_hosts(scope),
        )

    @cached_property
    def cipher(self) -> Cipher:
        """The cipher with the keys of `TOKEN_ENCRYPTION_KEYS`; the first one encrypts."""
        return Cipher(self.settings.encryption_keys())


def open_vault(warehouse: Warehouse | None = None, settings: Settings | None = None) -> Vault:
    """The vault of these settings; defaults come from the environment."""
    settings = settings or load_settings()
    return Vault(warehouse=warehouse or warehouse_of(settings), settings=settings)
